"""litert-torch: PyTorch to TFLite by way of torch.export, in an environment of its own.

Its versions do not live beside onnx2tf's, so ``set_up`` makes a virtual environment in the user's cache, and
``litert_torch_worker`` runs there as a program. Inputs and outputs lose their names and keep their order in
the signature alone.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

from mien.export.component import Component
from mien.export.errors import ConversionError, ExportError
from mien.export.tflite.signature import order_by_signature
from mien.mobile_reference.files import default_cache
from mien.models.sources import BUILT_IN, Source, as_origin, is_built_in

from .unsupported import unsupported

NAME = "litert-torch"
_LOCK = "litert_torch.lock"
_READY = "ready"
# What the worker imports of mien.
_ROOMS = ("models", "export", "mobile_reference")
# Some 6 GB over a slow line.
_SET_UP_LIMIT_S = 3600


def environment() -> Path:
    """Return the folder of the environment, which need not exist."""
    return default_cache() / NAME


def is_ready() -> bool:
    """Tell whether the environment was set up, to the end and for this version of mien."""
    ready = environment() / _READY
    return ready.is_file() and ready.read_text() == _wanted()


def set_up(progress: Callable[[str], None]) -> Path:
    """Make the environment, some 6 GB; does nothing when it is there.

    Raises:
        ExportError: the packages could not be installed.
    """
    folder = environment()
    if is_ready():
        return folder
    progress("making the environment")
    shutil.rmtree(folder, ignore_errors=True)
    venv.create(folder, with_pip=_uv() is None)
    lock = folder / _LOCK
    lock.write_text(_locked())
    progress("installing packages, some 6 GB")
    _install(lock)
    # Written last: a set-up that was interrupted begins anew.
    (folder / _READY).write_text(_wanted())
    return folder


def convert(component: Component, source: Source, folder: Path) -> bytes:
    """Return the model as the converter made it, its tensors in the contract's order."""
    origin = as_origin(source)
    if not is_built_in(origin):
        raise ConversionError(f"{NAME} is tried with pipeline {BUILT_IN} alone; use another front end")
    made = folder / f"{component.name}.litert.tflite"
    worker = Path(__file__).with_name("litert_torch_worker.py")
    command = [
        str(_python()),
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
        f"{NAME} ended with {done.returncode} and made no model: {_last_words(done)[-300:]}"
    )


def _last_words(done: subprocess.CompletedProcess[str]) -> str:
    """Return the last line that a program wrote about its failure."""
    return (done.stderr.strip().splitlines() or ["it said nothing"])[-1]


def _linked_rooms(folder: Path) -> Path:
    """Make a folder from which the other environment imports our rooms, and nothing else of this one."""
    package = folder / "rooms" / "mien"
    package.mkdir(parents=True)
    for room in _ROOMS:
        source = Path(str(files(f"mien.{room}")))
        (package / room).symlink_to(source, target_is_directory=True)
    return package.parent


def _python() -> Path:
    return environment() / "bin" / "python"


def _locked() -> str:
    return files(__package__).joinpath(_LOCK).read_text()


def _wanted() -> str:
    """Name what the environment is made from: the packages and the Python."""
    return hashlib.sha256((_locked() + sys.version).encode()).hexdigest()


def _uv() -> str | None:
    return shutil.which(
        "uv", path=os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")])
    )


def _install(lock: Path) -> None:
    """Install with uv, which shares files with other environments, or else with pip."""
    uv = _uv()
    python = str(_python())
    program = [uv, "pip", "install", "--python", python] if uv else [python, "-m", "pip", "install"]
    command = [*program, "--quiet", "--requirement", str(lock)]
    try:
        done = subprocess.run(  # noqa: S603 - our own argument list
            command, capture_output=True, text=True, timeout=_SET_UP_LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ExportError(
            f"installing took over {_SET_UP_LIMIT_S} s; try again, what was fetched is kept"
        ) from error
    if done.returncode:
        raise ExportError(
            f"{program[0]} could not install {NAME}: {_last_words(done)}; "
            "is there a network, and 6 GB of disk?"
        )
