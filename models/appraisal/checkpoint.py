"""Checkpoints: a folder with ``config.json`` and ``model.safetensors``. Nothing in it is ever unpickled."""

import json
import math
from dataclasses import asdict, dataclass, field, fields
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from mien.mobile_reference.output.folder import Kind
from mien.mobile_reference.output.json_text import json_text
from mien.models.errors import CheckpointError

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
_MAX_WEIGHTS_BYTES = 256 << 20


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
            values = json.loads(text)
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
    rule = config.appraisal
    if not isinstance(config.name, str):
        raise ValueError(f"name is {config.name!r:.60}, expected text")
    if config.alignment.size != FACE_SIZE:
        raise ValueError(f"size is {config.alignment.size}, expected {FACE_SIZE}")
    if not rule.mask_from < rule.mask_to:
        raise ValueError(f"mask_from {rule.mask_from} is not below mask_to {rule.mask_to}")
    if rule.mask_growth not in range(1, HEAT_SIZE, 2):
        raise ValueError(f"mask_growth is {rule.mask_growth}, expected an odd number below {HEAT_SIZE}")


def _alike(value: Any, example: Any) -> bool:
    """Tell whether both are finite numbers, or the same type, or tuples that are alike item by item."""
    if isinstance(example, tuple):
        same_length = isinstance(value, tuple) and len(value) == len(example)
        return same_length and all(map(_alike, value, example))
    if isinstance(example, float):
        return type(value) in (int, float) and math.isfinite(value)
    return type(value) is type(example)


class Checkpoint(nn.Module):
    """The float pipeline: a detector that frames a face, and the net that appraises it."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.detector = BlazeFace()
        self.appraisal = AppraisalNet(config.appraisal)


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
    config, tensors = _read_folder(path) if path.is_dir() else _read_pt(path)
    checkpoint = Checkpoint(config)
    expected = checkpoint.state_dict()
    counters = {name for name in expected if name.endswith("num_batches_tracked")}
    _check(tensors, {name: tensor for name, tensor in expected.items() if name not in counters})
    checkpoint.load_state_dict(tensors, strict=False)
    return checkpoint.eval()


def _read_folder(folder: Path) -> tuple[Config, dict[str, Tensor]]:
    for name, limit in ((CONFIG, _MAX_CONFIG_BYTES), (WEIGHTS, _MAX_WEIGHTS_BYTES)):
        file = folder / name
        if not file.is_file():
            raise CheckpointError(f"{folder} has no {name}; a checkpoint holds {CONFIG} and {WEIGHTS}")
        if file.stat().st_size > limit:
            raise CheckpointError(f"{file} has {file.stat().st_size} bytes, at most {limit} are read")
    try:
        tensors = load_file(folder / WEIGHTS)
    except SafetensorError as error:
        raise CheckpointError(
            f"{folder / WEIGHTS} is not a safetensors file ({error}); pickled weights are not read from here"
        ) from error
    return Config.from_json((folder / CONFIG).read_text(encoding="utf-8", errors="replace")), tensors


def _read_pt(file: Path) -> tuple[Config, dict[str, Tensor]]:
    if not file.is_file():
        raise CheckpointError(f"{file} does not exist; give a checkpoint folder or a .pt file of tensors")
    if file.stat().st_size > _MAX_WEIGHTS_BYTES:
        raise CheckpointError(
            f"{file} has {file.stat().st_size} bytes, at most {_MAX_WEIGHTS_BYTES} are read"
        )
    try:
        tensors = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a foreign file
        raise CheckpointError(
            f"{file} is not a file of plain tensors; save it with torch.save(model.state_dict(), ...)"
        ) from error
    if not _is_state(tensors):
        raise CheckpointError(
            f"{file} holds {type(tensors).__name__}, expected a dictionary of tensors by name; "
            "save it with torch.save(model.state_dict(), ...)"
        )
    named = {name: t for name, t in tensors.items() if not name.endswith("num_batches_tracked")}
    return Config(name=file.stem), named


def _is_state(value: object) -> bool:
    return isinstance(value, dict) and all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in value.items()
    )


def _check(tensors: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Refuse tensors that are not exactly what the pipeline needs."""
    for kind, names in (
        ("lacks", expected.keys() - tensors.keys()),
        ("has a foreign", tensors.keys() - expected.keys()),
    ):
        if names:
            first = min(names)
            raise CheckpointError(
                f"the checkpoint {kind} tensor {first} ({len(names)} in all); was it made for this pipeline?"
            )
    for name, tensor in tensors.items():
        if tensor.shape != expected[name].shape:
            raise CheckpointError(
                f"tensor {name} has shape {tuple(tensor.shape)}, expected {tuple(expected[name].shape)}"
            )
        if not torch.isfinite(tensor).all():
            raise CheckpointError(f"tensor {name} has values that are not finite; train or save it again")
