"""Apple's Core AI on Linux, in an environment of its own: ``coreai-torch`` and ``coreai-core``.

The runtime for Linux is a reference interpreter: it says what a program means, and nothing of how long a
phone takes or of what its Neural Engine makes of it.
"""

import json
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from mien.export.component import Component
from mien.export.environments import COREAI
from mien.export.errors import ConversionError, CoreAIError
from mien.mobile_reference.output.json_text import json_text
from mien.mobile_reference.run.models import Arrays, Tensors
from mien.models.pipeline import as_contract, to_module

NAME = "coreai-fp32"
SUFFIX = ".aimodel"
LABEL = "by Apple's Core AI runtime for Linux: a reference interpreter, not a Neural Engine"
_WORKER = Path(__file__).with_name("worker.py")
_NEWEST = 2
"""Of the versions of packages, the newest that the pinned runtime reads."""
_MOST_METADATA = 1 << 20


class Apple:
    """Apple's converter and runtime, as a process that ends with the context it is entered for.

    Raises:
        ExportError: the environment is not set up.
    """

    def __init__(self, cache: Path) -> None:
        self._python, self._remedy = COREAI.checked(cache), COREAI.remedy(cache)

    def __enter__(self) -> Self:
        self._scratch = tempfile.TemporaryDirectory()
        self._said = (Path(self._scratch.name) / "said").open("w+b")
        self._process = subprocess.Popen(  # noqa: S603 - our own argument list
            [str(self._python), "-P", str(_WORKER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()
        self._said.close()
        self._scratch.cleanup()

    def convert(self, component: Component, package: Path) -> None:
        """Make a float32 package of a component, channels second as its module has them.

        Raises:
            ConversionError: PyTorch or Apple's converter refuse the module.
        """
        if component.onnx is not None:
            raise ConversionError(
                f"{component.name} is an ONNX file, which does not reach Core AI; give a .pt2"
            )
        program = Path(self._scratch.name) / "program.pt2"
        given = tuple(
            to_module(np.zeros(one.shape, one.dtype), one) for one in component.specs(component.inputs)
        )
        try:
            torch.export.save(torch.export.export(component.module, given), program)
        except Exception as error:  # whatever an engineer's module raises when it is traced
            raise ConversionError(f"PyTorch cannot export {component.name}: {_first_line(error)}") from error
        fault = self._ask(
            program=str(program),
            package=str(package),
            inputs=list(component.inputs),
            outputs=list(component.outputs),
        )
        if fault:
            raise ConversionError(f"Apple's converter cannot make {component.name}: {fault}")

    def model(
        self, package: Path, inputs: Tensors, outputs: Tensors
    ) -> Callable[[Arrays], dict[str, NDArray[Any]]]:
        """Return a package as a model, with tensors as the manifest has them.

        Raises:
            CoreAIError: it is not a package, or of a version that the runtime does not read.
        """
        check_version(package)
        given, made = (Path(self._scratch.name) / name for name in ("given.npz", "made.npz"))

        def run(known: Arrays) -> dict[str, NDArray[Any]]:
            arrays = {one.name: to_module(known[one.name], one).numpy() for one in inputs}
            np.savez(given, allow_pickle=False, **arrays)
            fault = self._ask(package=str(package), given=str(given), made=str(made))
            if fault:
                raise CoreAIError(f"Apple's runtime cannot execute {package}: {fault}; make it again")
            with np.load(made) as found:
                return {
                    one.name: as_contract(torch.from_numpy(found[one.name]), one.layout) for one in outputs
                }

        return run

    def _ask(self, **what: Any) -> str:
        """Have the process do something, and return what went wrong in one line, nothing if all went well.

        Raises:
            CoreAIError: the process died.
        """
        assert self._process.stdin is not None  # noqa: S101 - for the types
        assert self._process.stdout is not None  # noqa: S101
        try:
            self._process.stdin.write(json_text(what) + "\n")
            self._process.stdin.flush()
            answer: Mapping[str, str] = json.loads(self._process.stdout.readline())
        except (BrokenPipeError, ValueError) as error:
            self._said.seek(0)
            last = (self._said.read().decode(errors="replace").strip().splitlines() or ["it said nothing"])[
                -1
            ]
            raise CoreAIError(f"Apple's runtime died ({last:.300}); {self._remedy}") from error
        return _first_line(answer["fault"])


def check_version(package: Path) -> None:
    """Read the version of a Core AI package.

    Raises:
        CoreAIError: it is not a package, or of a later version than the pinned runtime reads.
    """
    file = package / "metadata.json"
    try:
        with file.open("rb") as stream:
            found = str(json.loads(stream.read(_MOST_METADATA))["assetVersion"])
        major = int(found.partition(".")[0])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CoreAIError(
            f"{package} is not a Core AI package: {file.name} states no version; make it again"
        ) from error
    if major > _NEWEST:
        raise CoreAIError(
            f"{package} is a Core AI package of version {found:.20}, this mien reads {_NEWEST}; make it with "
            "mien coreai"
        )


def _first_line(fault: object) -> str:
    return (str(fault).strip().splitlines() or [""])[0][:300]
