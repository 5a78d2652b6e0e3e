"""Runs the operation tests that ship inside coremltools with the evaluator in the place of Core ML.

    python -m conformance.run --report full.json
    python -m conformance.run --part 1/4 --report first.json
    python -m conformance.run --variants 1 --report sample.json

Those tests build small programs with known results (from numpy, PyTorch or written by hand); Apple
runs them on Macs. Here each converted package is loaded from disk and executed. Tests that Apple
marks as failing in its own runtime run too: the evaluator has to follow the definition, not the
defect.

Only tests whose package reaches the evaluator are counted; the others check type inference.
"""

import argparse
import gc
import hashlib
import json
import os
import random
import sys
from collections import defaultdict
from pathlib import Path

os.environ |= {"PYMIL_TEST_TARGETS": "mlprogram", "INCLUDE_MIL_FP32_UNIT_TESTS": "1"}

import torch  # before coremltools: the other order can crash

import coremltools  # isort: skip
import numpy as np
import pytest
from coremltools.converters.mil.mil.ops.tests import testing_utils
from coremltools.models import MLModel

from mien.mobile_reference.coreml import Evaluator, load_package
from mien.mobile_reference.coreml.program import TensorType, walk
from mien.mobile_reference.coreml.registry import OPERATIONS
from mien.mobile_reference.errors import EvaluationError

SUITE = "coremltools.converters.mil.mil.ops.tests"
# float16 rounds to 4.9e-4 of a value; sums and chains of ten such steps stay below this.
# Apple allows 0.5 absolute and 0.05 relative for the same tests.
HALF_TOLERANCE = 5e-3


class Conformance:
    """Samples the suite, executes its packages, counts."""

    def __init__(self, variants, part, only, known, *, one):
        self.one = one
        self.variants = variants
        self.part = part
        self.only = only
        self.known = known  # functions whose tests reach the evaluator, None for all
        self.reached = {}
        self.results = {}
        self.operations = set()
        self.current = None

    # -- pytest hooks --------------------------------------------------------------------------

    def pytest_collection_modifyitems(self, items):
        """Keep the first variants of each function and precision, by a hash of their names."""
        groups = defaultdict(list)
        for item in items:
            function = _function(item.nodeid)
            precision = "fp32" if "fp32" in item.nodeid else "fp16"
            chosen_one = ("fp32", "fp16")[_hash(function)[0] % 2]
            if self.one and "backend=" in item.nodeid and precision != chosen_one:
                continue
            if self.known is None or function in self.known:
                groups[function, precision].append(item)
        chosen = set()
        for group in groups.values():
            ranked = sorted(group, key=lambda i: _hash(_short(i.nodeid)))
            chosen |= {item.nodeid for item in ranked[: self.variants]}
        kept = [i for i in items if i.nodeid in chosen and self.only in i.nodeid]
        number, parts = self.part
        items[:] = kept[number - 1 :: parts]

    def pytest_collection_finish(self):
        """Keep what was collected out of the searches for garbage, which every conversion makes."""
        gc.freeze()

    def pytest_runtest_setup(self, item):
        self.current = item.nodeid
        seed = int.from_bytes(_hash(_short(item.nodeid))[:4], "big")
        np.random.seed(seed)
        random.seed(seed)
        torch.manual_seed(seed)

    def pytest_runtest_logreport(self, report):
        if report.when == "call" or (report.when == "setup" and report.outcome != "passed"):
            text = "" if report.passed else str(report.longrepr).strip().splitlines()[-1][:200]
            self.results[_short(report.nodeid)] = {
                "outcome": report.outcome,
                "reached": report.nodeid in self.reached,
                "text": text,
            }

    # -- in the place of Core ML ---------------------------------------------------------------

    def predict(self, mlmodel, values, state=None):
        self.reached[self.current] = True
        evaluator = Evaluator(load_package(mlmodel.package_path))
        self.operations |= {o.type for o in walk(evaluator.function.body)}
        declared = {n.name: n.type for n in evaluator.function.inputs}
        inputs = {name: _fitted(value, declared[name]) for name, value in values.items()}
        try:
            return evaluator, evaluator(state=state, **inputs)
        except EvaluationError as error:  # the words that the suite expects of Core ML
            raise RuntimeError(f"Error computing NN outputs: {error}") from error

    def compare(
        self,
        mlmodel,
        input_key_values,
        expected_outputs,
        dtype="fp32",
        atol=1e-04,
        rtol=1e-05,
        also_compare_shapes=True,  # noqa: FBT002  the suite's own signature
        state=None,
        allow_mismatch_ratio=0.0,
    ):
        # No element may differ, whatever share the suite allows by allow_mismatch_ratio.
        evaluator, results = self.predict(mlmodel, input_key_values, state)
        if _has_halves(evaluator):
            atol, rtol = max(atol, HALF_TOLERANCE), max(rtol, HALF_TOLERANCE)
        for name, expected in (expected_outputs or {}).items():
            result = results[name]
            if isinstance(result, np.ndarray):
                if also_compare_shapes and np.shape(expected):
                    assert result.shape == np.shape(expected), (result.shape, np.shape(expected))
                np.testing.assert_allclose(result, expected, atol=atol, rtol=rtol)
            elif isinstance(result, dict):
                assert result == pytest.approx(expected)
            else:
                assert result == expected
        return results


def _hash(text):
    return hashlib.sha256(text.encode()).digest()


def _short(nodeid):
    return nodeid.rpartition("ops/tests/")[2]


def _function(nodeid):
    return _short(nodeid).partition("[")[0]


def _fitted(value, kind):
    """The suite gives everything as float32 and numbers as [x], as Core ML's interface takes it."""
    if not isinstance(kind, TensorType):
        return value
    array = np.asarray(value)
    if array.dtype == np.uint8 and array.ndim == 3 and len(kind.shape) == 4:  # a picture
        return array
    return array.astype(kind.kind.dtype).reshape(array.shape or (1,))


def _has_halves(evaluator):
    types = [o.type for op in walk(evaluator.function.body) for o in op.outputs]
    types += [named.type for named in evaluator.function.inputs]
    return any(isinstance(t, TensorType) and t.kind.name == "fp16" for t in types)


def _part(text):
    number, _, parts = text.partition("/")
    return int(number), int(parts)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--variants", type=int, help="of each function and precision; all without it")
    parser.add_argument("--part", type=_part, default=(1, 1), help="K/N: every Nth test, from the Kth on")
    parser.add_argument("--report", type=Path, required=True)
    parser.add_argument("--only", default="", help="a part of the names of tests")
    parser.add_argument("--one", action="store_true", help="one precision of each function, not both")
    parser.add_argument("--known", type=Path, help="an earlier report: skip what never reached")
    options = parser.parse_args()
    torch.set_num_threads(1)
    known = json.loads(options.known.read_text())["functions"] if options.known else None
    plugin = Conformance(options.variants, options.part, options.only, known, one=options.one)
    testing_utils.compare_backend = plugin.compare
    MLModel.predict = lambda model, data, state=None: plugin.predict(model, data, state)[1]
    MLModel.make_state = lambda model: Evaluator(load_package(model.package_path)).new_state()
    flags = ["-q", "--runxfail", "--no-header", "-p", "no:cacheprovider", "-c", os.devnull]
    flags += ["--rootdir", str(Path(coremltools.__file__).parent / "converters" / "mil" / "mil")]
    pytest.main([*flags, "--tb=line", "-W", "ignore", "--pyargs", SUITE], plugins=[plugin])
    options.report.write_text(json.dumps(_report(plugin), indent=1))


def _report(plugin):
    reached = {n: r for n, r in plugin.results.items() if r["reached"]}
    known = {name for name, _ in OPERATIONS}
    return {
        "coremltools": coremltools.__version__,
        "run": len(plugin.results),
        "reached": len(reached),
        "passed": sum(r["outcome"] == "passed" for r in reached.values()),
        "operations": sorted(plugin.operations & known),
        "functions": sorted({_function(name) for name in reached}),
        "failed": {n: r["text"] for n, r in reached.items() if r["outcome"] != "passed"},
        "failed_before": {
            n: r["text"] for n, r in plugin.results.items() if not r["reached"] and r["outcome"] == "failed"
        },
    }


if __name__ == "__main__":
    sys.exit(main())
