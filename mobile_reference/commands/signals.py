"""Which signals end a command, and what they mean while nothing is running."""

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


USUAL = (signal.SIG_DFL, signal.default_int_handler, end_at_once)
"""What a signal meets that nobody has taken."""
