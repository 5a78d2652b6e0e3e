"""The layers of tests: which layer each test is in, what a layer may use, and what a run of it took.

A pytest plugin, loaded by tests/conftest.py. Tests of a file run in one worker of pytest-xdist, and so do all
of the layer ``device``, which share adb's server. Times are user CPU seconds of pytest and of the processes
it waited for: they hardly depend on what else the machine does, as seconds on the clock would.
"""

import gc
import os
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

LAYERS: Mapping[str, str] = {
    "unit": "no network, no converter; all of them together under 60 s of user CPU time",
    "converters": "runs the real converters, whole networks or training",
    "device": "benchmarks, devices' doubles and emulators",
    "conformance": "the Core ML evaluator against other runtimes",
}
LAYER_OF: Mapping[str, str] = {
    "tests/test_cases.py": "unit",
    "tests/test_dist.py": "converters",
    "tests/test_install.py": "converters",
    "tests/test_layers.py": "unit",
    "tests/benchmarks/apps": "device",
    "tests/benchmarks/emulation": "device",
    "tests/benchmarks/estimates": "device",
    "tests/benchmarks/experiments": "unit",
    "tests/benchmarks/experiments/test_bench_baseline.py": "device",
    "tests/benchmarks/phone": "unit",
    "tests/benchmarks/reporting": "unit",
    "tests/benchmarks/reporting/test_bench_summary.py": "converters",
    "tests/benchmarks/results": "unit",
    "tests/benchmarks/results/test_bench_goals.py": "device",
    "tests/benchmarks/targets": "device",
    "tests/benchmarks/test_bench_pipelines.py": "device",
    "tests/calibration": "unit",
    "tests/documents": "unit",
    "tests/documents/commands": "converters",
    "tests/documents/test_api_examples.py": "converters",
    "tests/documents/test_notebook.py": "converters",
    "tests/documents/test_tutorial.py": "converters",
    "tests/cluster": "device",
    "tests/export": "converters",
    "tests/export/tflite/passes/test_connect_products.py": "unit",
    "tests/export/tflite/passes/test_layout_operations.py": "unit",
    "tests/export/tflite/passes/test_scale_inputs.py": "unit",
    "tests/export/tflite/passes/test_split_clamps.py": "unit",
    "tests/export/cache": "unit",
    "tests/export/coreai": "unit",
    "tests/export/packing": "unit",
    "tests/export/running/test_timings.py": "unit",
    "tests/export/test_whole_numbers.py": "unit",
    "tests/export/tflite/test_graph_moments.py": "unit",
    "tests/export/tflite/test_choices.py": "unit",
    "tests/export/tflite/test_quantise_steps.py": "unit",
    "tests/export/tflite/test_quantise_steps.py::test_every_precision_is_stored_by_its_name": "converters",
    "tests/export/tflite/test_ranges.py": "unit",
    "tests/export/weights": "unit",
    "tests/export/weights/test_gptq.py::test_roundings_do_not_depend_on_the_number_of_threads": "converters",
    "tests/fuzz": "unit",
    "tests/fuzz/test_targets.py": "converters",
    "tests/matrix": "converters",
    "tests/trained": "unit",
    "tests/mobile_reference": "unit",
    "tests/mobile_reference/commands/test_shell.py": "converters",
    "tests/mobile_reference/serving": "converters",
    "tests/mobile_reference/report/test_browser.py": "converters",
    "tests/mobile_reference/coreml/test_mil_check.py": "converters",
    "tests/mobile_reference/coreml/test_mil_conformance.py": "conformance",
    "tests/mobile_reference/coreml/test_mil_constexpr.py": "conformance",
    "tests/mobile_reference/coreml/test_mil_evaluator.py": "conformance",
    "tests/mobile_reference/coreml/test_mil_features.py": "conformance",
    "tests/mobile_reference/coreml/test_mil_mutation.py": "conformance",
    "tests/mobile_reference/coreml/test_mil_networks.py": "conformance",
    "tests/models": "unit",
    "tests/models/appraisal": "converters",
    "tests/models/test_model_files.py": "converters",
    "tests/mutants": "unit",
    "tests/replay": "unit",
    "tests/replay/test_replay_files.py": "converters",
    "tests/replay/test_replay_sides.py": "converters",
}
"""Folders, files and single tests; the longest of these that a test lies in tells its layer."""
LONGEST_FIRST = ("device", "conformance", "converters", "unit")
"""The order in which pytest-xdist hands layers out: what takes one worker minutes must not come last."""
CONVERTERS = frozenset({"coremltools", "onnx2tf", "ai_edge_quantizer", "litert_torch", "tensorflow"})

TESTS = Path(__file__).parent
_LOADED = pytest.StashKey[frozenset[str]]()


def layer_of(node: str) -> str | None:
    """Return the layer of a test by its node id, or None if it has none."""
    test = re.split(r"[\[@]", node)[0]  # xdist says a test's group behind its name
    file = PurePosixPath(test.split("::")[0])
    places = (test, *map(str, (file, *file.parents)))
    return next((LAYER_OF[place] for place in places if place in LAYER_OF), None)


def cpu_seconds() -> float:
    """Return the user CPU time of this process and of those that it waited for."""
    times = os.times()
    return times.user + times.children_user


def pytest_configure(config: pytest.Config) -> None:
    """Name the markers, and count."""
    for layer, what in LAYERS.items():
        config.addinivalue_line("markers", f"{layer}: {what}")
    config.pluginmanager.register(_Times(), "layer times")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out files without a test of the one layer that is asked for: imports take long."""
    asked = config.option.markexpr
    if asked not in LAYERS or collection_path.suffix != ".py" or not collection_path.is_relative_to(TESTS):
        return None
    file = f"tests/{collection_path.relative_to(TESTS).as_posix()}"
    singles = {layer for place, layer in LAYER_OF.items() if place.startswith(f"{file}::")}
    return True if asked not in {layer_of(file), *singles} else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test with its layer."""
    for item in items:
        if not item.path.is_relative_to(TESTS):  # a suite of another package, which our tests run
            continue
        layer = layer_of(item.nodeid)
        if layer is None:
            raise pytest.UsageError(f"{item.nodeid} has no layer; give its folder one in tests/layers.py")
        if layer == "unit" and "exported" in getattr(item, "fixturenames", ()):
            raise pytest.UsageError(
                f"{item.nodeid} exports a bundle, which no unit test may; see tests/layers.py"
            )
        item.add_marker(layer)
        file = item.path.relative_to(TESTS).as_posix()
        item.add_marker(pytest.mark.xdist_group(layer if layer == "device" else file))
    if "PYTEST_XDIST_WORKER" in os.environ:
        # While one worker exports the bundle that many tests need, the others do what needs none.
        needing = {item.path for item in items if "exported" in getattr(item, "fixturenames", ())}
        items.sort(key=lambda item: (_place(item), item.path in needing))


def pytest_collection_finish() -> None:
    """Keep what was collected out of the searches for garbage that every conversion of coremltools makes.

    A forked process would get a copy of each page that is looked at, too.
    """
    gc.freeze()


def _place(item: pytest.Item) -> int:
    return LONGEST_FIRST.index(layer_of(item.nodeid) or LONGEST_FIRST[-1])


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    """Note which converters are loaded before any fixture of a test is made."""
    item.stash[_LOADED] = CONVERTERS & sys.modules.keys()
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Fail a unit test that loads a converter, itself or by a fixture."""
    result = yield
    loaded = (CONVERTERS & sys.modules.keys()) - item.stash[_LOADED]
    if loaded and item.get_closest_marker("unit"):
        pytest.fail(f"a unit test loads {', '.join(sorted(loaded))}; its layer in tests/layers.py is another")
    return result


class _Times:
    """How many tests of each layer ran, and what they took."""

    def __init__(self) -> None:
        self.tests: Counter[str] = Counter()
        self.seconds: Counter[str] = Counter()
        self.imports = 0.0

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Hand what a worker counted to the process that shows it."""
        output = getattr(session.config, "workeroutput", None)
        if output is not None:
            output.update(tests=dict(self.tests), seconds=dict(self.seconds), imports=cpu_seconds())

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Add what a worker counted; one that died counted nothing."""
        output = getattr(node, "workeroutput", {})
        self.tests.update(output.get("tests", {}))
        self.seconds.update(output.get("seconds", {}))
        self.imports += output.get("imports", 0.0)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        before = cpu_seconds()
        try:
            return (yield)
        finally:
            layer = layer_of(item.nodeid) or ""
            self.tests[layer] += 1
            self.seconds[layer] += cpu_seconds() - before

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        terminalreporter.section("layers: tests, user CPU seconds")
        for layer in LAYERS:
            if self.tests[layer]:
                terminalreporter.write_line(f"{layer:12} {self.tests[layer]:5} {self.seconds[layer]:8.1f} s")
        imports = self.imports or cpu_seconds()
        terminalreporter.write_line(f"{'with imports':18} {imports:8.1f} s")
