"""litert-torch: PyTorch to TFLite by way of torch.export, in an environment of its own.

Its versions do not live beside onnx2tf's, so ``mien setup litert-torch`` makes a virtual environment in the
user's cache, and ``litert_torch_worker`` runs there as a program. Inputs and outputs lose their names and
keep their order in the signature alone.
"""

import os
import re
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

from mien.export.component import Component
from mien.export.environments import LITERT_TORCH, last_words
from mien.export.errors import ConversionError
from mien.export.tflite.signature import order_by_signature
from mien.mobile_reference.files import default_cache
from mien.models.sources import BUILT_IN, Source, as_origin, is_built_in

from .unsupported import unsupported

NAME = LITERT_TORCH.name
# What the worker imports of mien.
_ROOMS = ("models", "export", "mobile_reference")


def convert(component: Component, source: Source, folder: Path) -> bytes:
    """Return the model as the converter made it, its tensors in the contract's order."""
    origin = as_origin(source)
    if not is_built_in(origin):
        raise ConversionError(f"{NAME} is tried with pipeline {BUILT_IN} alone; use another converter")
    made = folder / f"{component.name}.litert.tflite"
    worker = Path(__file__).with_name("litert_torch_worker.py")
    command = [
        str(LITERT_TORCH.checked(default_cache())),
        "-P",
        str(worker),
        component.name,
        str(made),
        *([str(origin.path.resolve())] if origin.path else []),
    ]
    done = subprocess.run(  # noqa: S603 - our own argument list
        command,
        env=os.environ | {"PYTHONPATH": str(_linked_rooms(folder))},
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        check=False,
    )
    sys.stderr.write(done.stderr)
    if done.returncode or not made.is_file():
        raise _failure(done)
    names = [
        [f"{kind}_{n}" for n in range(len(of))]
        for kind, of in (("args", component.inputs), ("output", component.outputs))
    ]
    return order_by_signature(made.read_bytes(), *names)


def _failure(done: subprocess.CompletedProcess[str]) -> ConversionError:
    """Say why there is no model: the operation, or else the last that the worker said."""
    operation = re.search(r"(?:[Ll]owering not found|not support\w*)\D*(aten[\w.:]+)", done.stderr)
    if operation:
        return unsupported(NAME, operation[1])
    return ConversionError(
        f"{NAME} ended with {done.returncode} and made no model: {last_words(done)[-300:]}"
    )


def _linked_rooms(folder: Path) -> Path:
    """Make a folder from which the other environment imports our rooms, and nothing else of this one."""
    package = folder / "rooms" / "mien"
    package.mkdir(parents=True)
    for room in _ROOMS:
        source = Path(str(files(f"mien.{room}")))
        (package / room).symlink_to(source, target_is_directory=True)
    return package.parent
