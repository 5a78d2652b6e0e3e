"""Where the program begins: a signal means the same while it is being imported."""

import signal
import subprocess
import sys

import pytest

STRUCK = """
import os, sys
class Struck:
    @staticmethod
    def find_spec(name, *_):
        if name == {module!r}:
            os.kill(os.getpid(), {number})
sys.meta_path.insert(0, Struck)
from mien.mobile_reference.commands import start
start.main()
"""
"""A program that is sent a signal when it imports a module."""


def struck(module: str, number: int) -> tuple[int, str]:
    program = STRUCK.format(module=module, number=int(number))
    command = [sys.executable, "-c", program, "verify", "no-such-bundle"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr.lstrip()  # click ends the line in which ^C stands


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("module", ["click", "mien.mobile_reference.commands.verify", "numpy"])
def test_a_signal_during_an_import_is_an_interruption(module: str, number: signal.Signals):
    assert struck(module, number) == (130, "mien: interrupted\n")


def test_a_signal_after_the_work_is_an_interruption():
    program = """
import atexit, os, signal
atexit.register(lambda: os.kill(os.getpid(), signal.SIGINT))
from mien.mobile_reference.commands import start
start.main()
"""
    done = subprocess.run([sys.executable, "-c", program, "--version"], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (130, b"mien: interrupted\n")


def test_who_ignores_a_signal_goes_on():
    ignored = f"import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n{STRUCK}"
    program = ignored.format(module="click", number=int(signal.SIGHUP))
    done = subprocess.run([sys.executable, "-c", program, "--version"], capture_output=True, check=False)
    assert done.returncode == 0


def test_a_first_rating_does_not_wait_for_what_it_does_not_use():
    program = """
import sys
from mien.mobile_reference.commands.console import root
root.get_command(None, "appraise")
print(sorted({"rich", "ai_edge_litert.schema_py_generated", "jinja2", "pyarrow"} & sys.modules.keys()))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[]\n", "")


def test_nothing_that_was_imported_is_looked_at_for_garbage_again():
    program = """
import gc, sys
sys.argv = ["mien", "appraise", "--help"]
from mien.mobile_reference.commands import start
try:
    start.main()
except SystemExit:
    print(gc.isenabled(), gc.get_freeze_count() > 0)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1] == "True True"
