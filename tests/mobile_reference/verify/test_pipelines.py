"""Other pipelines than the appraisal: no front, arrays as inputs, two inputs, no end-to-end model."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from mien.mobile_reference.bundle.reader import open_bundle
from mien.mobile_reference.commands.console import main
from mien.mobile_reference.contract import (
    ANY,
    CORRELATION,
    IOU,
    OVERLAY,
    PICTURE,
    SCALAR,
    SET,
    GateSpec,
    PipelineSpec,
    StageSpec,
    TensorSpec,
    ViewSpec,
)
from mien.mobile_reference.errors import BundleError, UsageError
from mien.mobile_reference.run.runner import BundleRunner
from mien.mobile_reference.verify.held_out import judge_held_out
from mien.mobile_reference.verify.limits import failures, figures
from mien.mobile_reference.verify.page import verify_page
from mien.mobile_reference.verify.repeatability import repeats
from mien.mobile_reference.verify.stages import Verification
from tests.mobile_reference.fakebundles import VARIANTS, Arrays, Functions, run_functions, write_bundle

CHANCE = np.random.default_rng(5)


@dataclass(frozen=True)
class Case:
    """A pipeline, the functions that stand for its models, and an input."""

    spec: PipelineSpec
    functions: Functions
    inputs: Arrays

    @property
    def tensors(self) -> Arrays:
        return run_functions(self.functions, self.spec.stages, self.inputs)


def product(signal: NDArray[np.float32], weights: NDArray[np.float32]) -> NDArray[np.float32]:
    return signal @ weights


def total(features: NDArray[np.float32], signal: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.float32([features.sum() + signal.mean()])


def tensor(name: str, *shape: int, dtype: str = "float32", layout: str = "any") -> TensorSpec:
    return TensorSpec(name, shape, dtype, 1, "of a test", layout)


TWO_INPUTS = Case(
    PipelineSpec(
        name="two-inputs",
        tensors=(
            tensor("signal", 1, 8),
            tensor("weights", 8, 4),
            tensor("features", 1, 4),
            tensor("total", 1),
        ),
        stages=(
            StageSpec("product", ("signal", "weights"), ("features",)),
            StageSpec("total", ("features", "signal"), ("total",)),
        ),
        gates=(GateSpec("total", SCALAR, {"fp32": 0.01, ANY: 0.1}),),
    ),
    {"product": product, "total": total},
    {
        "signal": CHANCE.random((1, 8), np.float32),
        "weights": CHANCE.random((8, 4), np.float32),
    },
)


def both(signal: NDArray[np.float32], weights: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
    features = product(signal, weights)
    return features, total(features, signal)


END_TO_END = replace(
    TWO_INPUTS,
    spec=replace(
        TWO_INPUTS.spec, whole=StageSpec("both", ("signal", "weights"), ("features", "total")), name="whole"
    ),
    functions={**TWO_INPUTS.functions, "both": both},
)


def level(counts: NDArray[np.int32]) -> NDArray[np.float32]:
    return np.float32([counts.mean()])


INTEGERS = Case(
    PipelineSpec(
        name="one-stage-of-integers",
        tensors=(tensor("counts", 1, 2, 3, dtype="int32"), tensor("level", 1)),
        stages=(StageSpec("level", ("counts",), ("level",)),),
        gates=(GateSpec("level", SCALAR, {ANY: 0.1}),),
    ),
    {"level": level},
    {"counts": np.arange(6, dtype=np.int32).reshape(1, 2, 3)},
)


def edges(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    return (image.mean(axis=3, keepdims=True) / 255).astype(np.float32)


def strength(edges: NDArray[np.float32]) -> NDArray[np.float32]:
    return edges.mean(axis=(1, 2, 3))


PICTURES = Case(
    PipelineSpec(
        name="a-picture-without-a-front",
        tensors=(
            tensor("image", 1, 16, 16, 3, dtype="uint8", layout=PICTURE),
            tensor("edges", 1, 16, 16, 1, layout=PICTURE),
            tensor("strength", 1),
        ),
        stages=(StageSpec("edges", ("image",), ("edges",)), StageSpec("strength", ("edges",), ("strength",))),
        gates=(
            GateSpec("strength", SCALAR, {ANY: 0.01}),
            GateSpec("edges", CORRELATION, {ANY: 0.01}, SET),
            GateSpec("edges", IOU, {ANY: 0.1}, SET),
        ),
        views=(ViewSpec("edges", OVERLAY),),
    ),
    {"edges": edges, "strength": strength},
    {"image": CHANCE.integers(0, 256, (1, 16, 16, 3), np.uint8)},
)
CASES = {case.spec.name: case for case in (TWO_INPUTS, END_TO_END, INTEGERS, PICTURES)}
STAGES = [(case, stage.name) for case in CASES.values() for stage in case.spec.stages]


@pytest.fixture
def install(tmp_path: Path, stand_in: Any) -> Callable[..., Path]:
    """Write the bundle of a case, whose functions are disturbed as a test says."""

    def made(case: Case, **disturb: Any) -> Path:
        write_bundle(tmp_path / "bundle", case.spec, case.tensors)
        stand_in(functions=case.functions, **disturb)
        return tmp_path / "bundle"

    return made


def spoil(wrong: str, by: float) -> Any:
    def disturb(variant: str, model: str, outputs: Arrays) -> Arrays:
        if (variant, model) != ("tflite-fp16", wrong):
            return outputs
        return {name: value + np.float32(by) for name, value in outputs.items()}

    return disturb


def run(*arguments: object) -> object:
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    return left.value.code


def judged(case: Case) -> list[str]:
    """What verify judges: every stage, the cascade and the end-to-end model where there is one."""
    whole = [case.spec.whole.name] if case.spec.whole else []
    return [*(stage.name for stage in case.spec.stages), "cascade", *whole]


@pytest.mark.parametrize("name", CASES)
def test_the_bundle_opens_with_its_contract_and_inputs(install: Any, name: str):
    case = CASES[name]
    bundle = open_bundle(install(case))
    assert bundle.spec == case.spec
    (golden,) = bundle.goldens
    assert golden.source is None
    given = golden.inputs()
    assert list(given) == list(case.inputs)
    for key, value in case.inputs.items():
        np.testing.assert_array_equal(given[key], value)
    with pytest.raises(BundleError, match="has no photograph: its pipeline has no front"):
        golden.read_photograph()


@pytest.mark.parametrize("name", CASES)
def test_the_runner_makes_what_the_float_pipeline_made(install: Any, name: str):
    case = CASES[name]
    runner = BundleRunner(open_bundle(install(case)))
    found = runner.rate(case.inputs)
    for key, value in found.items():
        np.testing.assert_array_equal(value, case.tensors[key])
    assert case.spec.rating.tensor in found
    with pytest.raises(UsageError, match="takes no photographs"):
        runner.prepare(np.zeros((9, 9, 3), np.uint8))


@pytest.mark.parametrize("name", CASES)
def test_verify_judges_stages_cascade_and_whole(install: Any, name: str, capsys: pytest.CaptureFixture[str]):
    path = install(CASES[name])
    assert run("verify", path, "--json") == 0
    record = json.loads(capsys.readouterr().out)
    assert record["passed"] is True
    assert [
        (r["variant"], r["stage"], r["error"], r["passed"])
        for r in record["results"]
        if r["metric"] == "scalar"
    ] == [(variant, stage, 0, True) for variant in VARIANTS for stage in judged(CASES[name])]
    assert run("verify", path) == 0
    table = capsys.readouterr().out
    assert "FAILED" not in table
    rows = table.partition("TFLite and Core ML")[0].splitlines()
    assert max(len(row.rstrip()) for row in rows) <= 80


@pytest.mark.parametrize(("case", "stage"), STAGES, ids=[f"{c.spec.name} {s}" for c, s in STAGES])
def test_verify_names_the_stage_that_is_off(
    install: Any, case: Case, stage: str, capsys: pytest.CaptureFixture[str]
):
    assert run("verify", install(case, disturb=spoil(stage, 3.0)), "--json") == 1
    said = capsys.readouterr()
    record = json.loads(said.out)
    failed = {(r["variant"], r["stage"]) for r in record["results"] if r["passed"] is False}
    assert failed == {("tflite-fp16", stage), ("tflite-fp16", "cascade")}
    assert f"mien: tflite-fp16: stage {stage}:" in said.err


def test_verify_names_an_end_to_end_model_that_is_off(install: Any, capsys: pytest.CaptureFixture[str]):
    assert run("verify", install(END_TO_END, disturb=spoil("both", 3.0)), "--json") == 1
    record = json.loads(capsys.readouterr().out)
    assert [r["stage"] for r in record["results"] if r["passed"] is False] == ["both"]


def test_what_is_not_a_number_fails(install: Any, capsys: pytest.CaptureFixture[str]):
    assert run("verify", install(TWO_INPUTS, disturb=spoil("product", float("nan"))), "--json") == 1
    record = json.loads(capsys.readouterr().out)
    assert [r["stage"] for r in record["results"] if r["passed"] is False] == ["product", "cascade"]


@pytest.mark.parametrize("name", CASES)
def test_appraise_refuses_a_pipeline_that_takes_no_photographs(
    install: Any, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    Image.new("RGB", (64, 64)).save(tmp_path / "photo.png")
    path, output = install(CASES[name]), tmp_path / "out"
    assert run("appraise", "--bundle", path, "-o", output, tmp_path / "photo.png") == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"mien: pipeline {name} ")
    assert said.err.count("\n") == 1
    assert not output.exists()


def test_repeats_have_nothing_to_judge_without_an_end_to_end_model(install: Any):
    bundle = open_bundle(install(TWO_INPUTS))
    assert repeats(bundle, print) == []


@dataclass(frozen=True)
class Sample:
    name: str
    tensors: Arrays


def samples(case: Case, count: int = 20) -> list[Sample]:
    """Inputs like the case's, each scaled so that the ratings have an order."""
    found = []
    for number in range(1, count + 1):
        inputs = {name: (value * (number / count)).astype(value.dtype) for name, value in case.inputs.items()}
        found.append(Sample(f"sample-{number}", run_functions(case.functions, case.spec.stages, inputs)))
    return found


@pytest.mark.parametrize("name", CASES)
def test_held_out_inputs_of_any_pipeline_are_judged(install: Any, name: str):
    case = CASES[name]
    bundle = open_bundle(install(case))
    found = judge_held_out(bundle, samples(case), lambda name: None)
    drawn = figures(bundle, found)
    assert failures(drawn) == []
    gated = [figure for figure in drawn if figure.limit is not None]
    # A limit of each gate for three variants, and that of agreement for two pairs of platforms.
    assert len(gated) == 3 * len(case.spec.gates) + 2
    assert {figure.passed for figure in gated} == {True}
    page = verify_page(bundle, Verification(()), found, drawn)
    assert "every gate held" in page
    # Whoever has no picture to show has none on the page.
    assert page.count("<img") == (3 if case is PICTURES else 0)


def test_a_held_out_input_that_is_off_is_named(install: Any):
    bundle = open_bundle(install(PICTURES, disturb=spoil("edges", 0.5)))
    lines = failures(figures(bundle, judge_held_out(bundle, samples(PICTURES), lambda name: None)))
    assert any(line.startswith("tflite-fp16: strength error, worst is 0.5") for line in lines)
    assert any(line.startswith("tflite-fp16: edges IoU, mean is") for line in lines)
    assert all(line.startswith("tflite-fp16") for line in lines)


def test_variants_that_are_named_are_judged_alone(
    install: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    named = VARIANTS[1]
    path = install(TWO_INPUTS)
    assert run("verify", path, "--variant", named, "--json") == 0
    record = json.loads(capsys.readouterr().out)
    assert record["variants"] == [named]
    assert {result["variant"] for result in record["results"]} == {named}
    assert run("verify", path, "--variant", "tflite-int9") == 2
    assert "no variant 'tflite-int9'" in capsys.readouterr().err


def test_a_variant_that_is_not_named_is_not_opened(install: Callable[..., Path]) -> None:
    bundle = open_bundle(install(TWO_INPUTS))
    assert bundle.only(()) is bundle
    assert [variant.name for variant in bundle.only([VARIANTS[2], VARIANTS[0]]).variants] == [
        VARIANTS[0],
        VARIANTS[2],
    ]
