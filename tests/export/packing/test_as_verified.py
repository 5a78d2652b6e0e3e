"""What ``mien verify`` would fail is not packed, though the model that an app runs holds."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mien.export.packing.as_verified import unfit
from mien.mobile_reference.bundle.reader import Bundle, Variant, open_bundle
from mien.mobile_reference.contract import RELATIVE, GateSpec, PipelineSpec, StageSpec, TensorSpec
from mien.mobile_reference.metrics import METRICS
from mien.mobile_reference.run import runner
from mien.mobile_reference.verify import stages
from tests.mobile_reference.fakebundles import run_function, run_functions, write_bundle

Values = NDArray[np.float32]
SPEC = PipelineSpec(
    name="signals",
    tensors=tuple(TensorSpec(name, (1, 4), "float32", 1, "") for name in ("before", "between", "after")),
    stages=(StageSpec("first", ("before",), ("between",)), StageSpec("second", ("between",), ("after",))),
    gates=(GateSpec("after", RELATIVE, {"fp32": 0.01, "fp16": 0.1}),),
    whole=StageSpec("whole", ("before",), ("after",)),
)
FUNCTIONS: dict[str, Callable[[Values], Values]] = {
    "first": lambda values: values + 1,
    "second": lambda values: values / 2,
    "whole": lambda values: (values + 1) / 2,
}


@pytest.fixture
def found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, tuple[str, ...]]]:
    """Judge a bundle some of whose models, by variant, give what is off by so much."""
    given = {"before": np.linspace(0, 1, 4, dtype=np.float32)[None]}
    write_bundle(tmp_path, SPEC, run_functions(FUNCTIONS, SPEC.stages, given))

    def judge(off: dict[tuple[str, str], float]) -> dict[str, tuple[str, ...]]:
        def load(bundle: Bundle, variant: Variant, name: str, threads: int = 1) -> Any:
            def model(inputs: dict[str, Any]) -> dict[str, Any]:
                made = run_function(FUNCTIONS[name], bundle.spec.model(name), inputs)
                return {one: value + off.get((variant.name, name), 0.0) for one, value in made.items()}

            return model

        monkeypatch.setattr(runner, "load_model", load)
        told: list[tuple[str, int, int]] = []
        # Functions have no weights.
        monkeypatch.setattr(stages, "weight_results", lambda bundle: ())
        found = unfit(open_bundle(tmp_path), METRICS, lambda *part: told.append(part))
        total = told[0][2]
        assert told == [("verifying", done, total) for done in range(total + 1)]
        return found

    return judge


def test_what_holds_everywhere_is_packed(found: Callable[..., Any]) -> None:
    assert found({("tflite-fp16", "first"): 0.05}) == {}


def test_a_stage_that_does_not_hold_is_told_though_the_end_to_end_model_does(
    found: Callable[..., Any],
) -> None:
    told = found({("tflite-fp16", "first"): 0.5})
    assert list(told) == ["tflite-fp16"]
    assert (
        told["tflite-fp16"][0] == "stage first: after error over span is 0.25 (someone), at most 0.1 passes"
    )
    # One whose errors cancel out is told of too.
    assert list(found({("coreml-fp16", "first"): 0.5, ("coreml-fp16", "second"): -0.25})) == ["coreml-fp16"]


def test_of_two_platforms_too_far_apart_one_is_told(
    found: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stages, "agreement_limit", lambda bundle, pair: 0.1)
    apart = {("tflite-fp16", "whole"): 0.08, ("coreml-fp16", "whole"): -0.09}
    ((name, (reason,)),) = found(apart).items()
    assert name == "coreml-fp16"
    assert "tflite-fp16 / coreml-fp16" in reason
