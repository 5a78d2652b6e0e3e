"""Calling onnx2tf, with a guard for each trap that both of its back ends share.

- It rewrites the file it is given: it gets a copy, on which shared tensors are shielded (``onnx_graph``).
- It calls the program ``onnxsim`` from PATH, and without it makes a model that cannot be loaded: the
  environment's programs go on PATH, and without the program nothing is converted.
"""

import os
import shutil
import sysconfig
from pathlib import Path
from typing import Any

import onnx

from mien.export.errors import ConversionError

from .onnx_graph import shield_shared
from .unsupported import naming_operations

_SIMPLIFIER = "onnxsim"
_UNKNOWN = r"not supported by flatbuffer_direct: (\w+)"


def run_onnx2tf(source: Path, made: Path, **options: Any) -> Path:
    """Convert the ONNX file ``source``, which stays as it is; returns the float32 file that onnx2tf wrote.

    Meant for a process of its own: PATH is changed.

    Raises:
        ConversionError: onnxsim is missing, an operation is not converted, or no file was written.
    """
    import onnx2tf

    _find_simplifier()
    copy = made.with_suffix(".copy.onnx")
    model = onnx.load(str(source))
    shield_shared(model)
    onnx.save(model, str(copy))
    with naming_operations("onnx2tf", _UNKNOWN):
        onnx2tf.convert(
            input_onnx_file_path=str(copy), output_folder_path=str(made), non_verbose=True, **options
        )
    written = made / f"{copy.stem}_float32.tflite"
    if not written.is_file():
        raise ConversionError(f"onnx2tf ended without an error and wrote no {written.name}")
    return written


def _find_simplifier() -> None:
    os.environ["PATH"] = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")])
    if shutil.which(_SIMPLIFIER) is None:
        raise ConversionError(
            f"the program {_SIMPLIFIER}, which onnx2tf calls, was found neither beside Python nor on PATH; "
            f"pip install {_SIMPLIFIER}"
        )
