"""Checkpoints: what is written is read back, and whatever else is brought is refused in one line."""

import json
import pickle
import zipfile
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
from mien.models.appraisal.pipeline import appraisal
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
    [[torch.zeros(1)], {"weights": {"a": torch.zeros(1)}}, {1: torch.zeros(1)}, torch.zeros(1)],
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


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {f"module.{name}": tensor for name, tensor in state.items()},
        lambda state: {f"_orig_mod.{name}": tensor for name, tensor in state.items()},
        lambda state: {f"module._orig_mod.{name}": tensor for name, tensor in state.items()},
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model_state_dict": state, "optimizer_state_dict": {"lr": 0.1}},
        lambda state: {
            "state_dict": {f"model.{name}": tensor for name, tensor in state.items()},
            "pytorch-lightning_version": "2.5",
            "hyper_parameters": {"width": 3},
        },
    ],
    ids=["DataParallel", "compiled", "both", "state_dict", "tutorial", "Lightning"],
)
def test_a_well_known_wrapper_is_taken_off(fresh: Checkpoint, tmp_path: Path, wrap: Callable[[Tensors], Any]):
    torch.save(wrap(fresh.state_dict()), tmp_path / "own.pt")
    loaded = load_checkpoint(tmp_path / "own.pt")
    assert all(torch.equal(tensor, named(loaded)[name]) for name, tensor in named(fresh).items())


def test_names_that_do_not_fit_are_shown(tmp_path: Path):
    torch.save({"encoder.weight": torch.zeros(1), "head\x1b[31m.bias": torch.zeros(1)}, tmp_path / "own.pt")
    message = refused(tmp_path / "own.pt")
    assert "It has 2 tensors: encoder.weight, head\\x1b[31m.bias" in message


NAME = "appraisal.student.stem.0.weight"
KINDS: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "fp8": (lambda t: t.to(torch.float8_e4m3fn), "is torch.float8_e4m3fn"),
    "integers": (lambda t: t.to(torch.int32), "is torch.int32"),
    "complex": (lambda t: t.to(torch.complex64), "is torch.complex64"),
    "sparse": (lambda t: t.to_sparse(), "is sparse"),
    "meta": (lambda t: t.to("meta"), "is without values (meta)"),
    "quantised": (lambda t: torch.quantize_per_tensor(t, 0.1, 0, torch.qint8), "is quantised"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_tensor_of_another_kind_is_named_with_it(fresh: Checkpoint, tmp_path: Path, kind: str):
    change, said = KINDS[kind]
    state = dict(fresh.state_dict())
    torch.save(state | {NAME: change(state[NAME])}, tmp_path / "own.pt")
    assert f"tensor {NAME} {said}" in refused(tmp_path / "own.pt")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_another_float_is_loaded_as_float32_and_said(
    fresh: Checkpoint, tmp_path: Path, capsys: Any, dtype: torch.dtype
):
    stored = {name: t.to(dtype) if t.is_floating_point() else t for name, t in fresh.state_dict().items()}
    torch.save(stored, tmp_path / "own.pt")
    loaded = load_checkpoint(tmp_path / "own.pt")
    name = str(dtype).removeprefix("torch.")
    assert capsys.readouterr().err == f"mien: {tmp_path / 'own.pt'} stores {name}; loaded as float32\n"
    assert loaded.stored_as == (name,)
    assert appraisal(loaded).record["weights_stored_as"] == [name]
    assert torch.equal(named(loaded)[NAME], stored[NAME].float())


def test_float32_is_loaded_without_a_word(folder: Path, capsys: Any):
    assert load_checkpoint(folder).stored_as == ()
    assert "weights_stored_as" not in appraisal(load_checkpoint(folder)).record
    assert capsys.readouterr().err == ""


def test_values_that_only_float64_can_hold_are_refused(fresh: Checkpoint, tmp_path: Path):
    state = dict(fresh.state_dict())
    torch.save(state | {NAME: state[NAME].double() * 1e300}, tmp_path / "own.pt")
    assert f"{NAME} has values that are not finite in float32" in refused(tmp_path / "own.pt")


def test_a_negative_variance_is_refused(folder: Path):
    (name, *_) = sorted(name for name in load_file(folder / WEIGHTS) if name.endswith("running_var"))
    rewrite(folder, lambda tensors: tensors | {name: tensors[name] - 100})
    assert f"{name} has negative values" in refused(folder)


def test_a_tolerated_evidence_below_zero_is_refused(folder: Path):
    name = "appraisal.tolerated_evidence"
    rewrite(folder, lambda tensors: tensors | {name: -tensors[name].abs() - 1})
    assert "expected a number above 0" in refused(folder)


def test_a_file_that_unpacks_to_gigabytes_is_refused_before_it_is_opened(tmp_path: Path):
    torch.save({NAME: torch.zeros(1 << 20)}, tmp_path / "plain.pt")
    with (
        zipfile.ZipFile(tmp_path / "plain.pt") as plain,
        zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for entry in plain.infolist():
            bomb.writestr(entry.filename, plain.read(entry))
        with bomb.open("archive/data/9", "w") as stored:
            for _ in range(300):
                stored.write(bytes(1 << 20))
    assert (tmp_path / "bomb.pt").stat().st_size < 1 << 20
    assert "unpacks to" in refused(tmp_path / "bomb.pt")


def test_a_view_that_repeats_its_values_is_refused_before_it_is_made(tmp_path: Path):
    torch.save({NAME: torch.zeros(1).expand(1 << 36)}, tmp_path / "own.pt")
    assert (tmp_path / "own.pt").stat().st_size < 10_000
    assert "has 68719476736 values, at most" in refused(tmp_path / "own.pt")


def test_the_old_format_without_an_archive_is_refused(fresh: Checkpoint, tmp_path: Path):
    torch.save(fresh.state_dict(), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    assert "as PyTorch writes since 1.6" in refused(tmp_path / "old.pt")


CONFIGS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "radius of zero": (lambda c: c["appraisal"].update(region_radii=[70, 0]), "region_radii are [70, 0]"),
    "gain beyond float32": (lambda c: c["appraisal"].update(change_gain=1e308), "change_gain is 1e+308"),
    "gain of 400 digits": (lambda c: c["appraisal"].update(change_gain=10**400), "a number of 401 digits"),
    "gain of no number": (
        lambda c: c["appraisal"].update(change_gain=float("nan")),
        "holds nan at",
    ),
    "template of one point": (lambda c: c["alignment"].update(template=[[1, 1]] * 4), "fall together"),
    "template far away": (lambda c: c["alignment"]["template"][0].__setitem__(0, 1e30), "template"),
    "second look of nothing": (lambda c: c["alignment"].update(second_look=1e-300), "second_look"),
    "overlap above 1": (lambda c: c["alignment"].update(overlap=1.5), "overlap"),
    "score of zero": (lambda c: c["alignment"].update(score=0), "score"),
}


@pytest.mark.parametrize("case", CONFIGS)
def test_a_config_that_the_networks_or_a_manifest_cannot_take_is_refused(folder: Path, case: str):
    change, said = CONFIGS[case]
    config = json.loads((folder / CONFIG).read_text())
    change(config)
    (folder / CONFIG).write_text(json.dumps(config))
    assert said in refused(folder)
