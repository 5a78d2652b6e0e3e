"""Checkpoints: what is written is read back, and whatever else is brought is refused in one line."""

import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from mien.models.appraisal.checkpoint import (
    CONFIG,
    REFERENCE,
    WEIGHTS,
    Checkpoint,
    Config,
    load_checkpoint,
    save_checkpoint,
)
from mien.models.errors import CheckpointError

Tensors = dict[str, Tensor]


@pytest.fixture(scope="module")
def fresh() -> Checkpoint:
    """A checkpoint of other weights than the shipped one."""
    torch.manual_seed(5)
    return Checkpoint(Config("fresh")).eval()


@pytest.fixture
def folder(fresh: Checkpoint, tmp_path: Path) -> Path:
    save_checkpoint(fresh, tmp_path / "made")
    return tmp_path / "made"


def named(checkpoint: Checkpoint) -> Tensors:
    return {k: t for k, t in checkpoint.state_dict().items() if not k.endswith("num_batches_tracked")}


def rewrite(folder: Path, change: Callable[[Tensors], Tensors]) -> None:
    save_file(change(load_file(folder / WEIGHTS)), folder / WEIGHTS)


def refused(path: Path) -> str:
    """Load what must not load, and return the one line that says why."""
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) > 20
    return message


def test_whoever_may_read_the_config_may_read_the_weights(folder: Path):
    assert (folder / WEIGHTS).stat().st_mode == (folder / CONFIG).stat().st_mode


def test_a_round_trip_keeps_every_byte(fresh: Checkpoint, folder: Path, tmp_path: Path):
    loaded = load_checkpoint(folder)
    assert not loaded.training
    assert loaded.config == fresh.config
    before, after = named(fresh), named(loaded)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    save_checkpoint(loaded, tmp_path / "again")
    for name in (CONFIG, WEIGHTS):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()


def test_the_shipped_checkpoint_loads_and_is_small():
    assert load_checkpoint(REFERENCE).config.name
    # Git and wheels carry it: 12 MB in all, card and config included.
    assert sum(file.stat().st_size for file in REFERENCE.iterdir()) <= 12_000_000


def test_a_pt_file_of_plain_tensors_loads(fresh: Checkpoint, tmp_path: Path):
    torch.save(fresh.state_dict(), tmp_path / "own.pt")
    loaded = load_checkpoint(tmp_path / "own.pt")
    assert loaded.config == Config("own")
    assert all(torch.equal(t, named(loaded)[name]) for name, t in named(fresh).items())


def test_a_missing_tensor_is_named(folder: Path):
    rewrite(folder, lambda tensors: {k: t for k, t in tensors.items() if k != "detector.stem.bias"})
    assert "lacks tensor detector.stem.bias" in refused(folder)


def test_a_foreign_tensor_is_named(folder: Path):
    rewrite(folder, lambda tensors: tensors | {"stowaway": torch.zeros(1)})
    assert "foreign tensor stowaway" in refused(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_refused(folder: Path, value: float):
    def poison(tensors: Tensors) -> Tensors:
        tensors["appraisal.student.stem.0.weight"].view(-1)[7] = value
        return tensors

    rewrite(folder, poison)
    assert "appraisal.student.stem.0.weight has values that are not finite" in refused(folder)


def test_another_shape_is_refused_even_where_it_would_broadcast(folder: Path):
    rewrite(folder, lambda tensors: tensors | {"appraisal.tolerated_evidence": torch.ones(())})
    assert "shape (), expected (1,)" in refused(folder)


class _Trap:
    """Touches a file when unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.target,))


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")  # of the bare one; torch writes another
def test_a_pickled_object_is_refused_and_not_executed(tmp_path: Path):
    sprung = tmp_path / "sprung"
    torch.save({"detector.stem.bias": _Trap(sprung)}, tmp_path / "trap.pt")
    (tmp_path / "bare.pt").write_bytes(pickle.dumps(_Trap(sprung)))
    for name in ("trap.pt", "bare.pt"):
        assert "not a file of plain tensors" in refused(tmp_path / name)
    assert not sprung.exists()
    # The trap is a real one: what trusts the file springs it.
    pickle.loads((tmp_path / "bare.pt").read_bytes())  # noqa: S301
    assert sprung.exists()


def test_a_pickle_named_safetensors_is_refused_and_not_executed(folder: Path, tmp_path: Path):
    (folder / WEIGHTS).write_bytes(pickle.dumps(_Trap(tmp_path / "sprung")))
    assert "not a safetensors file" in refused(folder)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    "content",
    [[torch.zeros(1)], {"state_dict": {"a": torch.zeros(1)}}, {1: torch.zeros(1)}, torch.zeros(1)],
    ids=["list", "nested", "unnamed", "tensor"],
)
def test_a_pt_file_that_is_no_dictionary_of_named_tensors_is_refused(tmp_path: Path, content: object):
    torch.save(content, tmp_path / "own.pt")
    assert "expected a dictionary of tensors" in refused(tmp_path / "own.pt")


@pytest.mark.parametrize("content", [b"", b"not weights", b"PK\x03\x04 cut short"])
def test_a_foreign_file_is_refused(tmp_path: Path, content: bytes):
    (tmp_path / "own.pt").write_bytes(content)
    assert "not a file of plain tensors" in refused(tmp_path / "own.pt")


def test_what_does_not_exist_is_named(tmp_path: Path):
    assert "does not exist" in refused(tmp_path / "nowhere")


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS])
def test_an_incomplete_folder_is_refused(folder: Path, name: str):
    (folder / name).unlink()
    assert f"has no {name}" in refused(folder)


def test_truncated_weights_are_refused(folder: Path):
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-100])
    assert "not a safetensors file" in refused(folder)


@pytest.mark.parametrize(("name", "size"), [(CONFIG, (1 << 16) + 1), (WEIGHTS, (256 << 20) + 1)])
def test_an_oversized_file_is_refused_before_it_is_read(folder: Path, name: str, size: int):
    with (folder / name).open("r+b") as file:
        file.truncate(size)  # sparse: takes no space on disk
    assert f"has {size} bytes" in refused(folder)


def test_an_oversized_pt_file_is_refused_before_it_is_read(tmp_path: Path):
    with (tmp_path / "own.pt").open("wb") as file:
        file.truncate((256 << 20) + 1)
    assert "at most" in refused(tmp_path / "own.pt")


def _drop(values: dict[str, Any]) -> None:
    del values["alignment"]["overlap"]


BAD_CONFIGS: dict[str, Callable[[dict[str, Any]], object]] = {
    "unknown key": lambda v: v.update(surprise=1),
    "unknown key of the alignment": lambda v: v["alignment"].update(surprise=1),
    "missing key": lambda v: v.pop("name"),
    "missing key of the alignment": _drop,
    "a number where a record should be": lambda v: v.update(appraisal=3),
    "text where a number should be": lambda v: v["appraisal"].update(mask_from="0.1"),
    "a number where a pair should be": lambda v: v["appraisal"].update(region_centre=128.0),
    "a triple where a pair should be": lambda v: v["appraisal"].update(region_radii=[1.0, 2.0, 3.0]),
    "text among the template": lambda v: v["alignment"].update(template=[["a", "b"]] * 4),
    "three points of a template": lambda v: v["alignment"].update(template=[[1.0, 2.0]] * 3),
    "a size that no net here takes": lambda v: v["alignment"].update(size=1 << 20),
    "a number where the name should be": lambda v: v.update(name=7),
    "an even window": lambda v: v["appraisal"].update(mask_growth=4),
    "a ramp that falls": lambda v: v["appraisal"].update(mask_from=0.5, mask_to=0.4),
    "not a number": lambda v: v["appraisal"].update(mask_to=float("nan")),
}


@pytest.mark.parametrize("case", BAD_CONFIGS)
def test_a_config_of_other_keys_or_types_is_refused(folder: Path, case: str):
    values = json.loads((folder / CONFIG).read_text())
    BAD_CONFIGS[case](values)
    (folder / CONFIG).write_text(json.dumps(values))
    assert CONFIG in refused(folder)


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_an_unknown_format_is_named(folder: Path, version: object):
    values = json.loads((folder / CONFIG).read_text())
    values["format"] = version
    (folder / CONFIG).write_text(json.dumps(values))
    assert f"format {version!r} is unknown" in refused(folder)


BAD_TEXTS = {
    "empty": b"",
    "no json": b"no json",
    "list": b"[]",
    "null": b"null",
    "number": b"3",
    "deep": b"[" * 60_000,
    "no utf-8": b"\xff",
    "format alone": b'{"format": 1}',
}


@pytest.mark.parametrize("case", BAD_TEXTS)
def test_a_config_that_is_no_config_is_refused(folder: Path, case: str):
    (folder / CONFIG).write_bytes(BAD_TEXTS[case])
    assert CONFIG in refused(folder)


def test_a_config_survives_its_own_text():
    config = Config("own")
    changed = replace(config, appraisal=replace(config.appraisal, mask_from=0.2, region_radii=(60.0, 80.0)))
    assert Config.from_json(changed.to_json()) == changed
    assert changed.to_json() != config.to_json()
