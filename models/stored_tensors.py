"""Tensors by name from ``.safetensors`` and ``.pt`` files, which may be anybody's. Nothing is unpickled.

A ``.pt`` file is opened in a child process: PyTorch's reader is native code that allocates what a file says.
"""

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from mien.mobile_reference.output.text import shown
from mien.mobile_reference.run.child import Limits, in_child

from .errors import CheckpointError

Arrays = dict[str, NDArray[np.float32]]
MAX_WEIGHTS_BYTES = 256 << 20
_REAL = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
"""Types that are loaded, all as float32."""
_COUNTER = "num_batches_tracked"
_STATES = ("state_dict", "model_state_dict", "model")
"""Where checkpoints of training programs keep the tensors, such as Lightning's."""
_PREFIXES = ("module.", "model.")
"""What wrappers put before every name: DataParallel, LightningModule."""
_COMPILED = "_orig_mod."
"""What ``torch.compile`` puts before the names of the module that it wraps."""
_LIMITS = Limits(memory=4 << 30)


@dataclass(frozen=True)
class StoredTensors:
    """Tensors by name, all as float32, and the other types that some were stored in, by PyTorch's names."""

    tensors: Mapping[str, Tensor]
    types: tuple[str, ...]


def read_safetensors(file: Path) -> StoredTensors:
    """Read a ``.safetensors`` file.

    Raises:
        CheckpointError: the file is none, or a tensor is of a type that is not loaded.
    """
    try:
        tensors = load_file(file)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{file} is not a safetensors file ({shown(str(error)):.200}); pickled weights are not read "
            "from here"
        ) from error
    arrays, types = _plain(file, tensors)
    return StoredTensors({name: torch.from_numpy(array) for name, array in arrays.items()}, types)


def read_pt(file: Path) -> StoredTensors:
    """Read a ``.pt`` file as ``torch.save`` writes it: a state dictionary, or one in a well-known wrapper.

    Raises:
        CheckpointError: the file is none, holds other than tensors by name, or more than is read.
    """
    _check_archive(file)
    arrays, types = in_child(partial(_load, file), _LIMITS, file)
    return StoredTensors({name: torch.from_numpy(array) for name, array in arrays.items()}, types)


def _check_archive(file: Path) -> None:
    """Refuse a file that would unpack to more than is read, before PyTorch opens it."""
    try:
        with zipfile.ZipFile(file) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise CheckpointError(
            f"{file} is not a file of plain tensors as PyTorch writes since 1.6; save it with "
            "torch.save(model.state_dict(), ...)"
        ) from error
    if size > MAX_WEIGHTS_BYTES:
        raise CheckpointError(f"{file} unpacks to {size} bytes, at most {MAX_WEIGHTS_BYTES} are read")


def _load(file: Path) -> tuple[Arrays, tuple[str, ...]]:
    torch.set_num_threads(1)  # reading needs no more, and each takes of the memory that is allowed
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # torch raises many kinds for a foreign file
        raise CheckpointError(
            f"{file} is not a file of plain tensors; save it with torch.save(model.state_dict(), ...)"
        ) from error
    return _plain(file, _without_prefixes(_state(file, content)))


def _state(file: Path, content: Any) -> dict[str, Tensor]:
    """Find the dictionary of tensors in what a file holds."""
    for key in _STATES:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not _is_state(content):
        keys = f"with {', '.join(map(repr, content))}" if isinstance(content, dict) else ""
        raise CheckpointError(
            f"{file} holds {type(content).__name__} {shown(keys):.200}, expected a dictionary of tensors "
            "by name; save it with torch.save(model.state_dict(), ...)"
        )
    return dict(content)


def _is_state(value: object) -> bool:
    return isinstance(value, dict) and all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in value.items()
    )


def _without_prefixes(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    plain = {name.replace(_COMPILED, ""): tensor for name, tensor in tensors.items()}
    for prefix in _PREFIXES:
        if plain and all(name.startswith(prefix) for name in plain):
            plain = {name.removeprefix(prefix): tensor for name, tensor in plain.items()}
    return plain if len(plain) == len(tensors) else tensors


def _plain(file: Path, tensors: Mapping[str, Tensor]) -> tuple[Arrays, tuple[str, ...]]:
    kept = {name: tensor for name, tensor in tensors.items() if not name.endswith(_COUNTER)}
    for name, tensor in kept.items():
        if kind := _foreign_kind(tensor):
            raise CheckpointError(
                f"{file}: tensor {shown(name):.100} is {kind}; save it as dense float32 with tensor.float()"
            )
    # A view may repeat few stored values a thousand times.
    values = sum(tensor.numel() for tensor in kept.values())
    if values * 4 > MAX_WEIGHTS_BYTES:
        raise CheckpointError(f"{file} has {values} values, at most {MAX_WEIGHTS_BYTES // 4} are read")
    types = {str(tensor.dtype).removeprefix("torch.") for tensor in kept.values()} - {"float32"}
    return {name: t.detach().float().contiguous().numpy() for name, t in kept.items()}, tuple(sorted(types))


def _foreign_kind(tensor: Tensor) -> str:
    """Say what a tensor is that is not loaded; empty for a dense one of real numbers."""
    if tensor.is_meta:
        return "without values (meta)"
    if tensor.is_quantized:
        return "quantised"
    if tensor.layout != torch.strided:
        return f"sparse ({tensor.layout})"
    if tensor.dtype not in _REAL:
        return str(tensor.dtype)
    return ""
