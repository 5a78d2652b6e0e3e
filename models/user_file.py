"""A user's own file of Python that defines ``pipeline``: executed, and its errors shown as they help."""

import importlib.util
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from .errors import PipelineError

_NAME = "pipeline"
_MOST_FRAMES = 6
RAISED = (Exception, SystemExit)
"""What a user's code raises where it fails; ``sys.exit`` in it must not end mien as if all were well."""


def read_user_file(file: Path) -> Any:
    """Execute a file of Python, its folder on the path, and return what it calls ``pipeline``.

    Raises:
        PipelineError: it cannot be read, raises, or defines no ``pipeline``.
    """
    if not file.is_file():
        raise PipelineError(f"{file} does not exist; give a file of Python that defines a pipeline")
    module = _executed(file.resolve())
    if not hasattr(module, _NAME):
        raise PipelineError(f"{file} defines no {_NAME}; end it with '{_NAME} = Pipeline(...)'")
    return getattr(module, _NAME)


def _executed(file: Path) -> ModuleType:
    name = _module_name(file)
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise PipelineError(f"{file} is not a file of Python; give one that ends in .py")
    module = importlib.util.module_from_spec(spec)
    if str(file.parent) not in sys.path:
        sys.path.insert(0, str(file.parent))
    # Dataclasses and pickles look a module up by its name while it is executed.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except PipelineError as error:
        raise PipelineError(f"{file}: {error}") from error
    except RAISED as error:
        del sys.modules[name]
        raise PipelineError(shortened(file, error)) from error
    return module


def _module_name(file: Path) -> str:
    """Name the module as the file is called, unless another module has that name."""
    taken = sys.modules.get(file.stem)
    if taken is None:
        found = importlib.util.find_spec(file.stem) if file.stem.isidentifier() else None
        own = found is None or found.origin == str(file)
    else:
        own = getattr(taken, "__file__", None) == str(file)
    return file.stem if own else f"mien_user_{file.stem}"


def raised(error: BaseException) -> str:
    """Name what a user's code raised, on one line; the error's own text may be code that raises."""
    try:
        text = " ".join(str(error).split())[:400]
    except RAISED:
        text = ""
    return type(error).__name__ + (f": {text}" if text else "")


def number_of(what: str, function: Callable[..., float], *given: Any) -> float:
    """Call a function of the user's, which ``what`` names.

    Raises:
        PipelineError: it raises, or returns no number.
    """
    try:
        return float(function(*given))
    except RAISED as error:
        raise PipelineError(f"{what} raised {raised(error)}; let it return one number") from error


def shortened(file: Path, error: BaseException) -> str:
    """Say on one line what a user's code raised, and each of its own places, the innermost last."""
    folder = file.resolve().parent
    said = f"{file.name} raised {raised(error)}"
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).is_relative_to(folder) and "site-packages" not in frame.filename
    ]
    places = [f"{f.filename}, line {f.lineno}, in {f.name}: {f.line}" for f in frames[-_MOST_FRAMES:]]
    if isinstance(error, SyntaxError) and error.lineno is not None:
        places = [f"{error.filename}, line {error.lineno}: {(error.text or '').strip()}"]
    return "; ".join([said, *places])
