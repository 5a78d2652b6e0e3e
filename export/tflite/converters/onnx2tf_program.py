"""onnx2tf in the environment that ``mien setup tflite`` makes, or ``mien setup tensorflow`` with TensorFlow.

Its versions would be everybody's: it pins numpy, ONNX and LiteRT. So ``onnx_to_tflite`` runs there as a
program, which is given files and reads nothing else of this process: no module of its user's, no variable of
its environment. It inherits the limits of the conversion that starts it, and ends with it.
"""

import json
import os
import re
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mien.export.environments import TENSORFLOW, TFLITE, Environment
from mien.export.errors import ConversionError
from mien.mobile_reference.files import default_cache
from mien.mobile_reference.output.json_text import json_text

from .unsupported import naming_operations

_PROGRAM = "onnx_to_tflite"
_ROOM = Path(__file__).resolve().parents[1]
# Isolated, Python takes no path from anywhere but the environment, so that of the program is added.
_START = (
    "import runpy, sys; sys.path.append(sys.argv.pop(1)); "
    f"runpy.run_module({_PROGRAM!r}, run_name='__main__', alter_sys=True)"
)
_UNKNOWN = r"not supported by \w+: (\w+)"
_LONGEST = 500


def run_onnx2tf(
    source: Path, made: Path, way: str = "usual", environment: Environment = TFLITE, **options: Any
) -> Path:
    """Convert the ONNX file ``source``, which stays as it is; returns the float32 file that onnx2tf wrote.

    It writes to the folder ``made``, in one of the ways of ``onnx_to_tflite.conversion.WAYS``. ``options``
    are onnx2tf's own.

    Raises:
        ExportError: the environment is not there.
        ConversionError: an operation is not converted, no file was written, or the program was ended.
    """
    asked = {"source": str(source.resolve()), "made": str(made.resolve()), "way": way, "options": options}
    return _ran(environment, "convert", asked, made)


def quantise_saved_model(saved: Path, calibration: Path, made: Path) -> Path:
    """Quantise a SavedModel by TensorFlow's converter into the file ``made``.

    Raises:
        ExportError: the environment is not there.
        ConversionError: nothing was made.
    """
    asked = {"saved": saved, "calibration": calibration, "made": made}
    return _ran(
        TENSORFLOW,
        "quantise_saved_model",
        {name: str(path.resolve()) for name, path in asked.items()},
        made,
    )


def _ran(environment: Environment, task: str, asked: Mapping[str, Any], made: Path) -> Path:
    """Run a task of the program, and return the file that it made."""
    python = environment.checked(default_cache())
    reply = made.with_suffix(".reply.json").resolve()
    reply.unlink(missing_ok=True)
    command = [str(python), "-I", "-c", _START, str(_ROOM), str(reply), task, json_text(asked)]
    done = subprocess.run(  # noqa: S603 - our own argument list
        command, cwd=reply.parent, env=_surroundings(python, reply.parent), check=False
    )
    said = json.loads(reply.read_text()) if reply.is_file() else {}
    if "made" in said:
        return Path(said["made"])
    with naming_operations("onnx2tf", _UNKNOWN):
        raise ConversionError(_reason(environment, said.get("error"), done.returncode))


def _surroundings(python: Path, folder: Path) -> dict[str, str]:
    """Return all that the program has of an environment; one thread, so that every machine adds alike."""
    path = os.pathsep.join([str(python.parent), os.defpath])
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    return {"PATH": path, "HOME": str(folder), "TMPDIR": str(folder), "LC_ALL": "C.UTF-8"} | threads


def _reason(environment: Environment, error: str | None, code: int) -> str:
    if error is None:
        return _ending(environment, code)
    said = " | ".join(line.strip() for line in error.splitlines() if line.strip())[:_LONGEST]
    if re.match(r"(ModuleNotFound|Import)Error", error):
        return f"onnx2tf cannot be used: {said}; {environment.remedy(default_cache())}"
    return f"onnx2tf failed: {said}"


def _ending(environment: Environment, code: int) -> str:
    """Say how the program ended that left no reply."""
    if code == -signal.SIGXCPU:
        return "onnx2tf used up its processor time; allow more with --converter-cpu"
    if code < 0:
        return f"onnx2tf was ended by signal {-code}"
    return (
        f"the environment {environment.name} is broken (exit {code}); {environment.remedy(default_cache())}"
    )
