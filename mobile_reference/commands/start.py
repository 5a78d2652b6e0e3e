"""Where the program begins: a signal means the same from its first moment on.

The command line takes a tenth of a second to import, and a signal may come meanwhile.
"""

import gc
import signal

from .signals import ENDING, USUAL, end_at_once


def main() -> None:
    """Run the command line; what comes before it and after it can be interrupted too."""
    for one in ENDING:
        # Whoever ignores a signal, as nohup does, keeps it.
        if signal.getsignal(one) in USUAL:
            signal.signal(one, end_at_once)
    # What is imported stays, so nobody need look there for garbage; the command's own imports are the last.
    gc.disable()
    from .console import main as command_line

    command_line()
