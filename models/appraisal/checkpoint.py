"""Checkpoints: a folder with ``config.json`` and ``model.safetensors``. Nothing in it is ever unpickled."""

from collections.abc import Iterator, Mapping, Set
from dataclasses import asdict, dataclass, field, fields
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

import click
import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn

from mien.mobile_reference.bundle.reader import rule_problems
from mien.mobile_reference.output.folder import Kind
from mien.mobile_reference.output.json_text import json_text, parse_json
from mien.mobile_reference.output.text import shown
from mien.models.errors import CheckpointError
from mien.models.stored_tensors import MAX_WEIGHTS_BYTES, StoredTensors, read_pt, read_safetensors

from .alignment import AlignmentRule
from .networks.appraisal import FACE_SIZE, AppraisalNet, AppraisalRule
from .networks.detector import BlazeFace
from .networks.student import HEAT_SIZE

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
FORMAT = 1
CHECKPOINT = Kind("checkpoint")
REFERENCE = Path(__file__).parent / "reference"
"""The checkpoint that ships with mien."""
TEMPLATE = ((90.0, 100.0), (166.0, 100.0), (128.0, 139.0), (128.0, 179.0))
"""Eyes, nose tip and mouth of the training faces' average, scaled to eyes 76 pixels apart."""
_MAX_CONFIG_BYTES = 1 << 16
_NEVER_NEGATIVE = "running_var"
_TOLERATED = "tolerated_evidence"


@dataclass(frozen=True)
class ScoreFit:
    """The record of a fit of the score's scale to people's ratings.

    ``checkpoint`` is the hash of the one before, ``ratings`` that of the file; ``severe`` and ``typical``
    are the ends of the raters' scale. Errors are root mean squares in points of score, the ones
    ``left_out`` of people by whom the scale was not fitted.
    """

    checkpoint: str = ""
    ratings: str = ""
    severe: float = 0.0
    typical: float = 100.0
    photographs: int = 0
    people: int = 0
    raters: int = 0
    folds: int = 0
    tolerated_before: float = 0.0
    tolerated_evidence: float = 0.0
    error_before: float = 0.0
    error_left_out: float = 0.0
    pearson_before: float = 0.0
    pearson_left_out: float = 0.0


@dataclass(frozen=True)
class Config:
    """What a checkpoint says beside its weights; ``score_fit`` if people's ratings set its scale."""

    name: str
    alignment: AlignmentRule = field(default_factory=lambda: AlignmentRule(FACE_SIZE, TEMPLATE))
    appraisal: AppraisalRule = field(default_factory=AppraisalRule)
    score_fit: ScoreFit | None = None

    def to_json(self) -> str:
        """Write the config as JSON text; without a fit there is no key for it."""
        values = asdict(self)
        if self.score_fit is None:
            del values["score_fit"]
        return json_text({"format": FORMAT, **values}, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what ``to_json`` wrote; unknown or missing keys and values of another kind are errors."""
        try:
            values = parse_json(text.encode())
            version = values.pop("format")
            if version != FORMAT:
                raise CheckpointError(
                    f"checkpoint format {version!r} is unknown, expected {FORMAT}; update mien or train anew"
                )
            config = cls(
                name=values.pop("name"),
                alignment=_record(AlignmentRule, values.pop("alignment")),
                appraisal=_record(AppraisalRule, values.pop("appraisal")),
                score_fit=_record(ScoreFit, values.pop("score_fit")) if "score_fit" in values else None,
                **values,
            )
            _check_values(config)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise CheckpointError(f"{CONFIG} is not a checkpoint's config: {error}") from error
        return config


def _record(kind: type[Any], values: dict[str, Any]) -> Any:
    """Build a frozen record, lists becoming tuples and every field being required."""
    missing = {f.name for f in fields(kind)} - values.keys()
    if missing:
        raise KeyError(f"{kind.__name__} lacks {', '.join(sorted(missing))}")
    return kind(**{key: _frozen(value) for key, value in values.items()})


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value


def _check_values(config: Config) -> None:
    """Refuse values of another kind than the defaults', and those that the networks cannot take."""
    default = Config("default", score_fit=ScoreFit())
    for part in ("alignment", "appraisal", "score_fit"):
        pattern, record = getattr(default, part), getattr(config, part) or ScoreFit()
        for key, example in asdict(pattern).items():
            value = getattr(record, key)
            if not _alike(value, example):
                raise ValueError(f"{key} is {value!r:.60}, expected something like {example!r}")
    for fault in _faults(config):
        raise ValueError(fault)


def _faults(config: Config) -> Iterator[str]:
    """Say in one line each what the networks, or a bundle's manifest, cannot take."""
    rule, alignment = config.appraisal, asdict(config.alignment)
    if not isinstance(config.name, str):
        yield f"name is {config.name!r:.60}, expected text"
    if config.alignment.size != FACE_SIZE:
        yield f"size is {config.alignment.size}, expected {FACE_SIZE}"
    yield from rule_problems(alignment | {"template": [list(point) for point in config.alignment.template]})
    if not min(rule.region_radii) > 0:
        yield f"region_radii are {list(rule.region_radii)}, expected numbers above 0"
    if not rule.mask_from < rule.mask_to:
        yield f"mask_from {rule.mask_from} is not below mask_to {rule.mask_to}"
    if rule.mask_growth not in range(1, HEAT_SIZE, 2):
        yield f"mask_growth is {rule.mask_growth}, expected an odd number below {HEAT_SIZE}"


def _alike(value: Any, example: Any) -> bool:
    """Tell whether both are finite numbers, or the same type, or tuples that are alike item by item."""
    if isinstance(example, tuple):
        same_length = isinstance(value, tuple) and len(value) == len(example)
        return same_length and all(map(_alike, value, example))
    if isinstance(example, float):
        # The networks compute in float32.
        return type(value) in (int, float) and abs(value) <= float(np.finfo(np.float32).max)
    return type(value) is type(example)


class Checkpoint(nn.Module):
    """The float pipeline: a detector that frames a face, and the net that appraises it."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.detector = BlazeFace()
        self.appraisal = AppraisalNet(config.appraisal)
        self.stored_as: tuple[str, ...] = ()
        """The types beside float32 that the weights were stored in, by PyTorch's names."""


def checkpoint_hash(checkpoint: Checkpoint) -> str:
    """Hash a checkpoint's config and tensors, however they are stored."""
    state = sha256(checkpoint.config.to_json().encode())
    for name, tensor in sorted(checkpoint.state_dict().items()):
        state.update(name.encode())
        state.update(np.ascontiguousarray(tensor.numpy()).tobytes())
    return state.hexdigest()


def save_checkpoint(checkpoint: Checkpoint, folder: Path) -> None:
    """Write a checkpoint into ``folder``, which is made if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.contiguous() for name, tensor in checkpoint.state_dict().items()}
    counters = [name for name in tensors if name.endswith("num_batches_tracked")]
    weights = {name: tensors[name] for name in sorted(tensors.keys() - set(counters))}
    # The library's save_file makes a file that only its owner can read.
    (folder / WEIGHTS).write_bytes(save(weights))
    (folder / CONFIG).write_text(checkpoint.config.to_json())


def load_checkpoint(path: Path) -> Checkpoint:
    """Load a checkpoint folder, or a ``.pt`` file of the same tensors with the default config.

    The result is in evaluation mode.

    Raises:
        CheckpointError: the path is not a checkpoint, is a pickle with more than tensors in it, or its
            tensors do not fit: one is missing, foreign, of another shape, or not finite.
    """
    if path.suffix == ".py":
        raise CheckpointError(
            f"{path} is a file of Python; train and fit-score take checkpoints alone, whose parts are "
            "mien's own"
        )
    config, stored = _read_folder(path) if path.is_dir() else _read_pt(path)
    checkpoint = Checkpoint(config)
    expected = checkpoint.state_dict()
    counters = {name for name in expected if name.endswith("num_batches_tracked")}
    _check_names(stored.tensors, expected.keys() - counters)
    tensors = {name: _cast(name, tensor, expected[name]) for name, tensor in stored.tensors.items()}
    checkpoint.load_state_dict(tensors, strict=False)
    checkpoint.stored_as = stored.types
    if stored.types:
        click.echo(f"mien: {path} stores {', '.join(stored.types)}; loaded as float32", err=True)
    return checkpoint.eval()


def _read_folder(folder: Path) -> tuple[Config, StoredTensors]:
    for name, limit in ((CONFIG, _MAX_CONFIG_BYTES), (WEIGHTS, MAX_WEIGHTS_BYTES)):
        file = folder / name
        if not file.is_file():
            raise CheckpointError(f"{folder} has no {name}; a checkpoint holds {CONFIG} and {WEIGHTS}")
        if file.stat().st_size > limit:
            raise CheckpointError(f"{file} has {file.stat().st_size} bytes, at most {limit} are read")
    text = (folder / CONFIG).read_text(encoding="utf-8", errors="replace")
    return Config.from_json(text), read_safetensors(folder / WEIGHTS)


def _read_pt(file: Path) -> tuple[Config, StoredTensors]:
    if not file.is_file():
        raise CheckpointError(f"{file} does not exist; give a checkpoint folder or a .pt file of tensors")
    if file.stat().st_size > MAX_WEIGHTS_BYTES:
        raise CheckpointError(f"{file} has {file.stat().st_size} bytes, at most {MAX_WEIGHTS_BYTES} are read")
    return Config(name=file.stem), read_pt(file)


def _check_names(tensors: Mapping[str, Tensor], expected: Set[str]) -> None:
    """Refuse tensors that are not exactly those that the pipeline has."""
    for kind, names in (
        ("lacks", expected - tensors.keys()),
        ("has a foreign", tensors.keys() - expected),
    ):
        if names:
            found = shown(", ".join(sorted(tensors)))
            raise CheckpointError(
                f"the checkpoint {kind} tensor {shown(min(names)):.100} ({len(names)} in all); was it "
                f"made for this pipeline? It has {len(tensors)} tensors: {found:.200}"
            )


def _cast(name: str, tensor: Tensor, expected: Tensor) -> Tensor:
    """Return a tensor as float32, or refuse what the pipeline could not compute with."""
    if tensor.shape != expected.shape:
        raise CheckpointError(
            f"tensor {name} has shape {tuple(tensor.shape)}, expected {tuple(expected.shape)}"
        )
    cast = tensor.to(expected.dtype)
    if not torch.isfinite(cast).all():
        raise CheckpointError(
            f"tensor {name} has values that are not finite in float32; train or save it again"
        )
    if name.endswith(_NEVER_NEGATIVE) and bool((cast < 0).any()):
        raise CheckpointError(f"tensor {name} has negative values, which it cannot have; save it again")
    if name.endswith(_TOLERATED) and not bool((cast > 0).all()):
        raise CheckpointError(f"tensor {name} is {cast.tolist()}, expected a number above 0; save it again")
    return cast
