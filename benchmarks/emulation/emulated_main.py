"""Runs TFLite models inside the emulated ARM64 system, which has Python 3.11, numpy and LiteRT alone.

Called as ``emulated_main.py FOLDER MODEL...``. Model n reads ``n.in0.npy`` ... of the folder, zeros where
there is none, and writes ``n.out0.npy`` ...; facts about the system go to ``system.json``. Its one run is
region n of the instruction counter, see ``qcount.c``.
"""

import contextlib
import ctypes
import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

_MARK = 0x4D41
# Linux' names of the features that choose kernels: the auxiliary vector's number and the bit in it.
_FEATURES = {"asimddp": (16, 20), "sve": (16, 22), "i8mm": (26, 13), "bf16": (26, 14), "sme": (26, 23)}


def _mark(number: int) -> None:
    # The call is refused, by intention; the emulator has seen it.
    with contextlib.suppress(OSError):
        os.getpriority(_MARK, number)


def run(number: int, model: str, folder: Path) -> None:
    """Run one model once, with its inputs and outputs by position."""
    interpreter = Interpreter(model, num_threads=1)
    interpreter.allocate_tensors()
    for position, detail in enumerate(interpreter.get_input_details()):
        interpreter.set_tensor(detail["index"], _values(folder / f"{number}.in{position}.npy", detail))
    _mark(2 * number)
    interpreter.invoke()
    _mark(2 * number + 1)
    for position, detail in enumerate(interpreter.get_output_details()):
        np.save(folder / f"{number}.out{position}.npy", interpreter.get_tensor(detail["index"]))


def _values(file: Path, detail: dict[str, Any]) -> NDArray[Any]:
    """Read an input in the type that the model takes, which must hold every value of the file's type."""
    if not file.is_file():
        return np.zeros(detail["shape"], detail["dtype"])
    values: NDArray[Any] = np.load(file, allow_pickle=False)
    return values.astype(detail["dtype"], casting="safe")


def _facts() -> dict[str, object]:
    """Describe the system; ``base`` is the address where LiteRT's library begins."""
    auxiliary = ctypes.CDLL(None).getauxval
    auxiliary.restype = ctypes.c_ulong
    maps = Path("/proc/self/maps").read_text().splitlines()
    return {
        "machine": platform.machine(),
        "page_size": os.sysconf("SC_PAGE_SIZE"),
        "features": [name for name, (word, bit) in _FEATURES.items() if auxiliary(word) >> bit & 1],
        "base": min(int(line.split("-")[0], 16) for line in maps if "libpywrap_litert_common" in line),
    }


def main(folder: Path, models: list[str]) -> None:
    """Run every model."""
    for number, model in enumerate(models):
        run(number, model, folder)
    (folder / "system.json").write_text(json.dumps(_facts()))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
