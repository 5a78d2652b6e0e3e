"""Calling onnx2tf, with a guard for each trap that both of its back ends share.

- It rewrites the file it is given: it gets a copy, on which shared tensors are shielded (``onnx_graph``).
- Its LSTMs are off: they are written out (``unroll_lstm``), or refused. An RNN's last states are taken from
  its steps (``onnx_graph``).
- It runs the program ``onnxsim`` three times, and goes on without where there is none, to a model that cannot
  be loaded. Here onnxsim is called as a library, until it finds nothing more to change.
"""

from pathlib import Path
from typing import Any

import onnx

from mien.export.errors import ConversionError

from .onnx_graph import shield_shared, take_last_steps
from .unroll_lstm import unroll_lstms
from .unsupported import naming_operations, unsupported

_TIMES = 3
_UNKNOWN = r"not supported by flatbuffer_direct: (\w+)"


def run_onnx2tf(source: Path, made: Path, **options: Any) -> Path:
    """Convert the ONNX file ``source``, which stays as it is; returns the float32 file that onnx2tf wrote.

    Raises:
        ConversionError: onnxsim is missing, an operation is not converted, or no file was written.
    """
    import onnx2tf

    copy = made.with_suffix(".copy.onnx")
    model = onnx.load(str(source))
    if _has_lstm(model):
        # A graph that was simplified knows its shapes, and stores its states and weights.
        model = _simplified(model)
        unroll_lstms(model)
        if _has_lstm(model):
            raise unsupported("onnx2tf", "LSTM")
    take_last_steps(model)
    shield_shared(model)
    onnx.save(_simplified(model), str(copy))
    with naming_operations("onnx2tf", _UNKNOWN):
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


def _has_lstm(model: onnx.ModelProto) -> bool:
    return any(node.op_type == "LSTM" for node in model.graph.node)


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
