"""How far two sets of outputs are apart, and what the source model gives.

Source models run in ONNX Runtime (``.onnx``) or PyTorch (``.pt2``, an exported program); both are
imported only when asked for.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from mien.mobile_reference.errors import UsageError

from .program import Array, ArrayFeature, Feature, Function, ImageFeature, Interface, TensorType


@dataclass(frozen=True)
class Difference:
    """One output compared with its reference.

    Attributes:
        output: name of the output in the package.
        largest: largest absolute difference.
        relative: ``largest`` over the largest absolute value of the reference.
        snr: power of the reference over that of the difference, in dB; None where there is none.
    """

    output: str
    largest: float
    relative: float
    snr: float | None


def difference(name: str, got: Any, expected: Any) -> Difference:
    """Compare one output; shapes must agree up to axes of size one."""
    have, want = np.asarray(got, dtype=np.float64), np.asarray(expected, dtype=np.float64)
    if have.size != want.size:
        raise UsageError(f"output '{name}' has shape {have.shape}, the reference {want.shape}")
    gap = have.reshape(-1) - want.reshape(-1)
    if not np.isfinite(gap).all():
        return Difference(name, float("inf"), float("inf"), None)
    largest = float(np.abs(gap).max(initial=0.0))
    scale = float(np.abs(want).max(initial=0.0))
    noise, power = float((gap**2).sum()), float((want**2).sum())
    snr = 10 * float(np.log10(power / noise)) if noise and power else None
    return Difference(name, largest, largest / scale if scale else largest, snr)


def sample_inputs(function: Function, interface: Interface | None, seed: int) -> dict[str, Array]:
    """Random inputs as an app would give them: pixels, or numbers from [0, 1)."""
    generator = np.random.default_rng(seed)
    features = {f.name: f for f in interface.inputs} if interface else {}
    return {
        named.name: _sample(features.get(named.name), named.name, named.type, generator)
        for named in function.inputs
    }


def _sample(feature: Feature | None, name: str, kind: Any, generator: np.random.Generator) -> Array:
    form = feature.kind if feature else None
    if isinstance(form, ImageFeature):
        shape: tuple[int, ...] = form.sizes[0] + ((3,) if form.colour.channels == 3 else ())
        return generator.integers(0, 256, shape, dtype=np.uint8)
    if not isinstance(kind, TensorType):
        raise UsageError(f"input '{name}' is not a tensor; give --input {name}=FILE.npy")
    declared = kind.shape or ()
    known = tuple(n for n in declared if n is not None)
    default = form.shapes[0] if isinstance(form, ArrayFeature) and form.shapes[0] else known
    if len(default) != len(declared):
        raise UsageError(f"input '{name}' has no default shape; give --input {name}=FILE.npy")
    return generator.random(default, dtype=np.float32).astype(kind.kind.dtype)


def reference_outputs(path: Path, inputs: Mapping[str, Array]) -> list[Array]:
    """Outputs of a source model, in its own order.

    Args:
        path: an ``.onnx`` or ``.pt2`` file.
        inputs: by the package's names; they are matched by name where the source model has the same
            names and by order otherwise. Float inputs arrive as float32, pixels as float32
            (1, channels, height, width).
    """
    runners = {".onnx": _run_onnx, ".pt2": _run_exported}
    if path.suffix not in runners:
        raise UsageError(f"'{path.name}' is neither .onnx nor .pt2; export the source model to one")
    values = {name: _for_source(array) for name, array in inputs.items()}
    try:
        return runners[path.suffix](path, values)
    except UsageError:
        raise
    except Exception as error:  # what a foreign runtime raises has no common type
        reason = str(error).partition("\n")[0]
        raise UsageError(f"'{path.name}' cannot be executed on these inputs: {reason}") from error


def _for_source(array: Array) -> Array:
    if array.dtype == np.uint8:
        planes = array[np.newaxis] if array.ndim == 2 else array.transpose(2, 0, 1)
        return np.ascontiguousarray(planes[np.newaxis], dtype=np.float32)
    return array.astype(np.float32) if array.dtype.kind == "f" else array


def _run_onnx(path: Path, values: Mapping[str, Array]) -> list[Array]:
    try:
        onnxruntime: Any = import_module("onnxruntime")
    except ImportError as error:
        raise UsageError("comparing with .onnx needs onnxruntime: pip install onnxruntime") from error
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_inputs()]
    outputs: list[Array] = session.run(None, _matched(names, values))
    return outputs


def _matched(names: list[str], values: Mapping[str, Array]) -> dict[str, Array]:
    if len(names) != len(values):
        raise UsageError(f"the source model has inputs {names}, the package {sorted(values)}")
    if set(names) == set(values):
        return dict(values)
    return dict(zip(names, values.values(), strict=True))


def _run_exported(path: Path, values: Mapping[str, Array]) -> list[Array]:
    try:
        import torch
    except ImportError as error:
        raise UsageError("comparing with .pt2 needs torch: pip install 'mien[export]'") from error
    module: Any = torch.export.load(path).module()
    with torch.no_grad():
        result = module(*(torch.from_numpy(np.array(value)) for value in values.values()))
    results = result if isinstance(result, tuple | list) else (result,)
    return [tensor.numpy() for tensor in results]
