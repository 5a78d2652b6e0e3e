"""What a package was converted from: an ONNX file or a program that PyTorch exported.

They run in ONNX Runtime (``.onnx``) or PyTorch (``.pt2``); both are imported only when asked for.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from threading import Event, Thread
from typing import Any, Protocol

import numpy as np

from mien.mobile_reference.errors import ChildError, UsageError
from mien.mobile_reference.installed import entry_points

from .program import Array

PROGRAMS = "mien.programs"
"""Who opens exported programs, which may be anybody's, so that nothing in them is executed."""
LEAST_SECONDS = 60.0
"""What a source may always take, in seconds of processor time."""
_POLL_S = 0.2


@dataclass(frozen=True)
class SourceInput:
    """An input of a source model: name, numpy's name of its type, and shape; None where it is free."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]


class Source(Protocol):
    """A source model: its inputs in order, and its outputs for given ones, in its own order."""

    inputs: tuple[SourceInput, ...]

    def run(self, values: Sequence[Array], seconds: float) -> list[Array]:
        """Compute the outputs for ``values``, which have the types of the inputs.

        What could go on for ever ends after so many ``seconds`` of processor time, by a ``ChildError``.
        """


class SourceModel:
    """A source model that takes what its package takes.

    Args:
        path: an ``.onnx`` or ``.pt2`` file.

    Raises:
        UsageError: the file is of another kind, or cannot be read.
    """

    def __init__(self, path: Path) -> None:
        openers: dict[str, Callable[[Path], Source]] = {".onnx": _Onnx, ".pt2": _Exported}
        if path.suffix not in openers:
            raise UsageError(f"'{path.name}' is neither .onnx nor .pt2; export the source model to one")
        self._name = path.name
        try:
            self._source = openers[path.suffix](path)
        except Exception as error:  # what a foreign runtime raises has no common type
            if hasattr(error, "exit_code"):
                raise
            raise UsageError(f"'{path.name}' cannot be executed: {_reason(error)}") from error

    def takes(self, names: Sequence[str]) -> dict[str, SourceInput]:
        """Return the source's input for each of the package's: by name if all agree, else by order.

        Raises:
            UsageError: they are not as many.
        """
        inputs = self._source.inputs
        if len(inputs) != len(names):
            had = [one.name for one in inputs]
            raise UsageError(f"the source model has inputs {had}, the package {sorted(names)}")
        by_name = {one.name: one for one in inputs}
        return by_name if set(by_name) == set(names) else dict(zip(names, inputs, strict=True))

    def __call__(self, given: Mapping[str, Array], seconds: float = LEAST_SECONDS) -> list[Array]:
        """Compute the outputs for a package's inputs: arrays, and uint8 pictures [H, W, 3] or [H, W].

        Raises:
            UsageError: the source refuses them.
            ChildError: it takes more than so many ``seconds`` of processor time.
        """
        taken = self.takes(list(given))
        values = {one.name: _as_source_has_it(given[name], one) for name, one in taken.items()}
        try:
            return self._source.run([values[one.name] for one in self._source.inputs], seconds)
        except ChildError as error:
            raise ChildError(
                f"'{self._name}' {error}; with --input it may take ten times what the package does"
            ) from error
        except Exception as error:  # what a foreign runtime raises has no common type
            reason = _reason(error)
            raise UsageError(f"'{self._name}' cannot be executed on these inputs: {reason}") from error


def _reason(error: Exception) -> str:
    """The first line of what a runtime says, or the kind of its error where it says nothing."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


def _as_source_has_it(array: Array, one: SourceInput) -> Array:
    value = _planes(array, one.shape) if array.dtype == np.uint8 else array
    if value.dtype.kind == "f" and one.dtype[0] in "iub" and not np.array_equal(value, np.rint(value)):
        raise UsageError(f"input '{one.name}' of the source model takes {one.dtype}; give whole numbers")
    return np.ascontiguousarray(value, dtype=one.dtype)


def _planes(picture: Array, shape: tuple[int | None, ...]) -> Array:
    """Give a picture the axes that the source has: channels second, or last where its shape says so."""
    pixels = picture if picture.ndim == 3 else picture[..., np.newaxis]
    last = shape == (1, *pixels.shape)
    return pixels[np.newaxis] if last else pixels.transpose(2, 0, 1)[np.newaxis]


_ONNX_TYPES = {"float": "float32", "double": "float64"}


class _Onnx:
    """A model in ONNX Runtime, on the CPU."""

    def __init__(self, path: Path) -> None:
        try:
            onnxruntime: Any = import_module("onnxruntime")
        except ImportError as error:
            raise UsageError("comparing with .onnx needs onnxruntime: pip install onnxruntime") from error
        self._options = onnxruntime.RunOptions()
        self._session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        self.inputs = tuple(self._described(entry) for entry in self._session.get_inputs())

    def _described(self, entry: Any) -> SourceInput:
        dtype = entry.type.removeprefix("tensor(").removesuffix(")")
        shape = tuple(size if isinstance(size, int) else None for size in entry.shape)
        return SourceInput(entry.name, _ONNX_TYPES.get(dtype, dtype), shape)

    def run(self, values: Sequence[Array], seconds: float) -> list[Array]:
        """Compute the outputs; a graph may have loops."""
        names = (one.name for one in self.inputs)
        given = dict(zip(names, values, strict=True))
        with _ended_after(seconds, self._end):
            outputs: list[Array] = self._session.run(None, given, self._options)
        return outputs

    def _end(self) -> None:
        self._options.terminate = True


@contextmanager
def _ended_after(seconds: float, end: Callable[[], None]) -> Iterator[None]:
    """Call ``end`` when what is done here has taken so many seconds of processor time.

    Raises:
        ChildError: it was called.
    """
    most, done, ended = time.process_time() + seconds, Event(), Event()

    def watch() -> None:
        while not done.wait(_POLL_S):
            if time.process_time() > most:
                ended.set()
                end()
                return

    watcher = Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    except Exception as error:
        if ended.is_set():
            raise ChildError(f"took more than {seconds:.3g} s of processor time") from error
        raise
    finally:
        done.set()
        watcher.join()


class _Exported:
    """A program of ``torch.export``, opened by the room that opens models of others."""

    def __init__(self, path: Path) -> None:
        try:
            import torch
        except ImportError as error:
            raise UsageError(
                "comparing with .pt2 needs torch: pip install '.[export]' in a clone of mien"
            ) from error
        torch.set_num_threads(1)  # sums in one order, however many cores there are
        (entry,) = entry_points(group=PROGRAMS, name="pt2")
        self._torch, self._module = torch, entry.load()(path)
        self._types = [getattr(torch, dtype) for _, _, dtype in self._module.inputs]
        self.inputs = tuple(
            SourceInput(name, dtype.replace("bfloat16", "float32"), shape)
            for name, shape, dtype in self._module.inputs
        )

    def run(self, values: Sequence[Array], seconds: float) -> list[Array]:
        """Compute the outputs; an exported program has no loops, so it ends."""
        torch = self._torch
        given = [torch.from_numpy(v).to(t) for v, t in zip(values, self._types, strict=True)]
        with torch.no_grad():
            results = self._module(*given)
        return [(one.float() if one.dtype == torch.bfloat16 else one).numpy() for one in results]
