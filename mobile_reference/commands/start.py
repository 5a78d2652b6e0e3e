"""Where the program begins: a signal means the same from its first moment on.

The command line takes a tenth of a second to import, and a signal may come meanwhile.
"""

import os
import signal
from contextlib import suppress
from types import FrameType
from typing import NoReturn

INTERRUPTED = 130
"""Exit code: ended by Ctrl-C, SIGTERM or a lost terminal."""
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def end_at_once(_number: int, _frame: FrameType | None) -> NoReturn:
    """Say that the program was interrupted, and end: nothing was begun that has to be tidied up."""
    with suppress(OSError):  # standard error may be closed
        os.write(2, b"mien: interrupted\n")
    os._exit(INTERRUPTED)


def main() -> None:
    """Run the command line; what comes before it and after it can be interrupted too."""
    for one in ENDING:
        # Whoever ignores a signal, as nohup does, keeps it.
        if signal.getsignal(one) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(one, end_at_once)
    from .console import main as command_line

    command_line()
