"""The work of the whole int8 appraisal of the shipped checkpoint against the counts in the repository."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import pytest

from mien.benchmarks.emulation.profile import by_kind, dearest, products_by_kind
from mien.benchmarks.emulation.sysroot import Sysroot
from mien.benchmarks.experiments import baseline
from mien.benchmarks.results.records import Work
from mien.mobile_reference.bundle.reader import open_bundle
from mien.mobile_reference.tflite.model_file import Operator, TensorOf, TFLiteFile
from tests.benchmarks.targets.test_bench_arm64 import needs_emulator


@needs_emulator
def test_the_work_of_an_appraisal_has_not_grown(
    exported: Path, sysroot: Sysroot, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = baseline.read_stored()
    bundle = open_bundle(exported)
    results = baseline.count(bundle, sysroot.folder.parent, [baseline.DEFAULT_PRESET])
    found = baseline.record(bundle, results)
    needed = found["instructions"]["typical"]
    with capsys.disabled():
        click.echo(f"\nARM64 instructions, typical: {needed}, stored {stored['instructions']['typical']}")
        for change in baseline.changes(stored, found):
            click.echo(f"note: {change}")
        if baseline.growth(stored, found) < -baseline.TOLERANCE:
            click.echo(
                "note: far less than stored: python -m mien.benchmarks.experiments.baseline BUNDLE --update"
            )
    assert list(results[0].failures) == []
    # Weights move the count by less than 0.1 %, operators and kernels by more. A deliberate change is
    # stored by: python -m mien.benchmarks.experiments.baseline BUNDLE --update
    assert baseline.growth(stored, found) <= baseline.TOLERANCE, baseline.changes(stored, found)


def grown(by: float) -> Mapping[str, Any]:
    found = copy.deepcopy(baseline.read_stored())
    found["instructions"]["typical"]["appraisal"] *= 1 + by
    return found


@pytest.mark.parametrize(("by", "allowed"), [(0.019, True), (0.021, False), (-0.5, True)])
def test_two_per_cent_are_the_limit(by: float, allowed: bool) -> None:  # noqa: FBT001 - parametrised
    assert (baseline.growth(baseline.read_stored(), grown(by)) <= baseline.TOLERANCE) is allowed


@pytest.mark.parametrize(("typical", "verdict"), [(600, "met"), (601, "missed")])
def test_the_goals_say_what_was_found(typical: int, verdict: str) -> None:
    stored = baseline.read_stored()
    found = copy.deepcopy(stored)
    counts = found["instructions"]
    counts["baseline"]["appraisal"] = 1000
    counts["typical"] = {"detector": 50, "appraisal": typical}
    stored["instructions"]["typical"]["appraisal"] = 600
    whole, growth, ratio = baseline.goals(stored, found)
    assert (whole.found, whole.verdict) == (typical + 100, "no goal")
    assert growth.verdict == "met"
    assert ratio.line == f"end-to-end model, typical / baseline: {typical / 1000:.3f}; goal 0.600, {verdict}"


def test_a_change_of_models_is_told() -> None:
    stored = baseline.read_stored()
    found = copy.deepcopy(stored)
    assert baseline.changes(stored, found) == []
    found["models"]["appraisal"]["sha256"] = "0" * 64
    assert baseline.changes(stored, found) == ["appraisal has other bytes"]
    found["models"]["detector"]["structure"] = "0" * 64
    found["runtime"] = "ai-edge-litert 0"
    assert len(baseline.changes(stored, found)) == 3


GEMMS = ("xnn_qs8_qc8w_gemm_minmax_x", "xnn_f32_igemm_minmax_x")


def test_kernels_are_summed_by_kind() -> None:
    names = (*GEMMS, "xnn_f32_gemm_x", "xnn_f32_dwconv_x", "xnn_qs8_qc8w_dwconv_x", "xnn_f32_vmul_x")
    work = Work("appraisal", 1000, dict(zip(names, (0.3, 0.2, 0.1, 0.15, 0.05, 0.2), strict=True)), None)
    assert {kind: round(count) for kind, count in by_kind(work).items() if count} == {
        "dense int8": 300,
        "dense float": 300,
        "depthwise int8": 50,
        "depthwise float": 150,
        "anything else": 200,
    }


def convolution(name: str, dtype: str, macs: int) -> Operator:
    """An operator of one output and weights [1, 1, macs, 1], so that dense and depthwise count alike."""
    value = TensorOf(0, (1,), dtype, constant=False)
    weights = TensorOf(1, (1, 1, macs, 1), dtype, constant=True)
    return Operator(name, (value, weights), (value,))


def test_the_best_ratio_counts_float_products_as_int8_ones() -> None:
    # 100 products of int8 and 300 of floats, beside 200 instructions that nothing saves.
    parts = (("CONV_2D", "INT8", 100), ("CONV_2D", "FLOAT32", 300), ("DEPTHWISE_CONV_2D", "FLOAT32", 700))
    model = TFLiteFile(tuple(convolution(*part) for part in parts))
    counts = ((50.0, 400.0, 200.0), (20.0, 400.0, 200.0))
    works = [Work("appraisal", 1, dict(zip((*GEMMS, "other"), count, strict=True)), None) for count in counts]
    assert baseline.attainable(works, model) == pytest.approx((4 * 20 + 200) / (4 * 50 + 200))
    assert baseline.attainable(works, TFLiteFile(model.operators[1:])) is None


def test_products_are_counted_by_the_kind_of_kernel_that_does_them() -> None:
    parts = (("CONV_2D", "INT8", 100), ("CONV_2D", "FLOAT32", 300), ("DEPTHWISE_CONV_2D", "FLOAT32", 700))
    model = TFLiteFile((*(convolution(*part) for part in parts), convolution("ADD", "FLOAT32", 9)))
    assert products_by_kind(model) == {"dense int8": 100, "dense float": 300, "depthwise float": 700}


def counted(kernels: dict[str, float], products: dict[str, int]) -> Work:
    return Work("appraisal", 1000, kernels, None, products)


def test_a_float_kernel_costs_in_int8_what_counted_int8_kernels_need_for_its_products() -> None:
    # 2 instructions for a float product, 0.5 for an int8 one: a kernel of 400 does 200 products.
    mixed = counted({GEMMS[1]: 0.4, GEMMS[0]: 0.2}, {"dense float": 200, "dense int8": 400})
    kernels = {kernel.name: kernel for kernel in dearest(mixed, [mixed])}
    assert kernels[GEMMS[1]].instructions == pytest.approx(400)
    assert kernels[GEMMS[1]].in_int8 == pytest.approx(100)
    # What is int8 already, and what has no int8 kernel, gets no estimate.
    assert kernels[GEMMS[0]].in_int8 is None
    # A variant without int8 products takes the rate of another that was counted with it.
    alone = counted({GEMMS[1]: 0.4, "xnn_f32_vmul_x": 0.1}, {"dense float": 100})
    found = dearest(alone, [alone, mixed])
    assert [kernel.in_int8 for kernel in found] == [pytest.approx(50), None]
    assert dearest(alone, [alone])[0].in_int8 is None


def test_the_dearest_kernels_are_named_as_many_as_asked_for() -> None:
    many = counted({f"xnn_f32_gemm_{number}": 0.1 - number / 1000 for number in range(12)}, {})
    assert len(dearest(many, [many])) == 10
    assert [kernel.name for kernel in dearest(many, [many], most=2)] == ["xnn_f32_gemm_0", "xnn_f32_gemm_1"]
    outside = counted({"outside LiteRT": 0.9, "xnn_f32_gemm_0": 0.1}, {})
    assert [kernel.name for kernel in dearest(outside, [outside])] == ["xnn_f32_gemm_0"]
