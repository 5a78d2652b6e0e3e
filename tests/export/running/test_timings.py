"""Where the time of an export goes: phases, and the threads that are computed with."""

import time

import torch
from rich.console import Console
from threadpoolctl import threadpool_info

from mien.export.running.isolation import Usage
from mien.export.running.threads import one_thread
from mien.export.running.timings import IMPORTS, Phase, Stopwatch, timings_table


def _work(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_a_phase_has_the_processor_seconds_of_its_conversions() -> None:
    watch = Stopwatch()
    _work(0.2)
    watch.lap("alone")
    time.sleep(0.2)
    watch.lap("beside", {"one": Usage(5.0, 0, 6.0, 2.5), "two": Usage(7.0, 0, 8.0, 2.5)})
    alone, beside, one, two, imports = watch.phases()
    assert alone.processor >= 0.15
    assert alone.clock >= 0.15
    assert beside.clock >= 0.2
    # A machine that is slow may collect garbage meanwhile; what must not be in it is 2.5 s of imports.
    assert 12 <= beside.processor < 14
    assert (one, two) == (Phase("one", 5.0, 6.0, inside=True), Phase("two", 7.0, 8.0, inside=True))
    assert imports == Phase(IMPORTS, 2.5, 0.0)


def test_the_table_counts_a_conversion_once_and_divides_by_the_yardstick() -> None:
    phases = (
        Phase("conversions", 30.0, 20.0),
        Phase("one", 29.0, 19.0, inside=True),
        Phase("rest", 6.0, 5.0),
    )
    console = Console(width=80)
    with console.capture() as captured:
        console.print(
            timings_table(phases, {"onnx2tf x": Usage(8.0, 0, 9.0), "coremltools x": Usage(4.0, 0, 5.0)})
        )
    rows = {tuple(line.split()) for line in captured.get().splitlines()}
    assert ("sum", "36.0", "25.0") in rows
    assert ("yardstick:", "onnx2tf", "x", "8.0", "9.0") in rows
    assert ("sum", "by", "yardstick", "3.0", "x") in rows


def test_numpy_and_torch_compute_with_one_thread_and_then_as_before() -> None:
    def threads() -> set[int]:
        blas = {one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"}
        return blas | {torch.get_num_threads()}

    before = threads()
    with one_thread():
        assert threads() == {1}
    assert threads() == before
