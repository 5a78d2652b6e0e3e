"""``onnx_to_tflite REPLY TASK ARGUMENTS``: runs a task of the table, and writes what came of it to REPLY.

ARGUMENTS are the task's own, as one JSON object. The reply is a JSON object too: ``made``, the file that was
written, or ``error``, what went wrong with the name of its type.
"""

import faulthandler
import json
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path

from .conversion import convert
from .quantisation import quantise_saved_model

TASKS: Mapping[str, Callable[..., Path]] = {
    "convert": convert,
    "quantise_saved_model": quantise_saved_model,
}


def main(reply: Path, task: str, arguments: str) -> int:
    """Run a task; returns the exit code. Whoever ends it for its time is told where it is."""
    faulthandler.register(signal.SIGXCPU, chain=True)
    try:
        said = {"made": str(TASKS[task](**json.loads(arguments)))}
    except Exception as error:  # a converter raises whatever it raises
        traceback.print_exc()
        said = {"error": f"{type(error).__name__}: {error}"}
    reply.write_text(json.dumps(said))  # noqa: TID251 - there is no mien here
    return 0 if "made" in said else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), *sys.argv[2:]))
