"""What is told of a converter's log when it ended badly."""

import pytest

from mien.export.running.isolation import telling

_RAISED = """Running passes: 100%
Traceback (most recent call last):
  File "convert.py", line 1, in convert
ValueError: an old one

During handling of the above exception, another exception occurred:

torch.jit.TracingCheckError: Tracing failed sanity checks!
Graphs differed across invocations!
	Graph diff:
		- a very long line
		+ another
"""


@pytest.mark.parametrize(
    ("log", "told"),
    [
        ("", ""),
        ("one\ntwo\nthree\nfour\n", "two | three | four"),
        (
            _RAISED,
            "torch.jit.TracingCheckError: Tracing failed sanity checks! | "
            "Graphs differed across invocations! | Graph diff:",
        ),
        ("ValueError: " + "x" * 9000, ("ValueError: " + "x" * 9000)[:500]),
    ],
    ids=["nothing", "no exception", "the last exception from its name on", "a long one"],
)
def test_the_end_of_a_log(log: str, told: str) -> None:
    assert telling(log) == told
