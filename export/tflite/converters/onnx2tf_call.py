"""Calling onnx2tf, with a guard for each trap that both of its back ends share.

- It rewrites the file it is given: it gets a copy, on which shared tensors are shielded (``onnx_graph``).
- It runs the program ``onnxsim`` three times, and goes on without where there is none, to a model that cannot
  be loaded. Here onnxsim is called as a library, until it finds nothing more to change.
- It takes a map of up to eight columns for one whose channels lie last, whatever it knows of it, and then
  splits and joins along the wrong axis: that guess is left out.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest import mock

import onnx

from mien.export.errors import ConversionError

from .onnx_graph import shield_shared
from .unsupported import naming_operations

_TIMES = 3
_UNKNOWN = r"not supported by flatbuffer_direct: (\w+)"
_GUESS = "sanitize_probable_nhwc_axis_sensitive_ops"
_GUESSING = {
    "onnx2tf.tflite_builder.lower_from_onnx2tf": f"_{_GUESS}_pass",
    "onnx2tf.tflite_builder.passes.terminal_slice_concat_recovery_orchestration": _GUESS,
    "onnx2tf.tflite_builder.passes.terminal_affine_concat_split_recovery_orchestration": _GUESS,
}
"""Modules that guess layouts by shapes, and what they call the function."""
_NOTHING = {
    "sanitized_probable_nhwc_axis_sensitive_ops": 0,
    "inserted_probable_nhwc_terminal_transposes": 0,
}


def run_onnx2tf(source: Path, made: Path, **options: Any) -> Path:
    """Convert the ONNX file ``source``, which stays as it is; returns the float32 file that onnx2tf wrote.

    Raises:
        ConversionError: onnxsim is missing, an operation is not converted, or no file was written.
    """
    import onnx2tf

    copy = made.with_suffix(".copy.onnx")
    model = onnx.load(str(source))
    shield_shared(model)
    onnx.save(_simplified(model), str(copy))
    with naming_operations("onnx2tf", _UNKNOWN), _without_guesses():
        onnx2tf.convert(
            input_onnx_file_path=str(copy),
            output_folder_path=str(made),
            non_verbose=True,
            not_use_onnxsim=True,
            **options,
        )
    written = made / f"{copy.stem}_float32.tflite"
    if not written.is_file():
        raise ConversionError(f"onnx2tf ended without an error and wrote no {written.name}")
    return written


@contextmanager
def _without_guesses() -> Iterator[None]:
    """Let no layout be guessed: what was not guessed is turned by our own pass (``layout``)."""
    with ExitStack() as stack:
        for module, name in _GUESSING.items():
            stack.enter_context(mock.patch.object(import_module(module), name, return_value=_NOTHING))
        yield


def _simplified(model: onnx.ModelProto) -> onnx.ModelProto:
    """Simplify a graph as often as onnx2tf would, but not where that changes nothing."""
    try:
        from onnxsim import simplify
    except ImportError as error:
        raise ConversionError(
            "onnxsim, without which onnx2tf makes models that cannot be loaded, is not installed; "
            "pip install onnxsim"
        ) from error
    for _ in range(_TIMES):
        before = model.SerializeToString(deterministic=True)
        model, _ = simplify(model)
        if model.SerializeToString(deterministic=True) == before:
            break
    return model
