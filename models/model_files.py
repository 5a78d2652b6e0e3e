"""A model file as a module: ``.pt2`` of ``torch.export.save``, or ``.onnx``. Both are data."""

from collections.abc import Callable, Mapping
from pathlib import Path

from .errors import PipelineError
from .exported_program import ProgramModule, open_program
from .onnx_module import OnnxModule, open_onnx

FileModule = ProgramModule | OnnxModule
"""A module that was made of a file."""
_OPEN: Mapping[str, Callable[[Path], FileModule]] = {".pt2": open_program, ".onnx": open_onnx}
SUFFIXES = tuple(_OPEN)


def open_model_file(file: Path) -> FileModule:
    """Open a model file by its suffix.

    Raises:
        PipelineError: the file is none that can be used.
    """
    found = _OPEN.get(file.suffix)
    if found is None:
        raise PipelineError(f"{file} is not a model file; give one that ends in {' or '.join(SUFFIXES)}")
    return found(file)
