"""``mien bench --estimate``: counts that are exact, fits that repeat, refusals, and the published rows."""

import csv
import json
import math
from dataclasses import replace
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mien.benchmarks.errors import ReportError
from mien.benchmarks.estimates.estimate import (
    FLOAT,
    INT8,
    Estimate,
    comparable_size_of,
    estimates,
    precision_of,
    size_of,
)
from mien.benchmarks.estimates.fit import CLAIM, fit_group
from mien.benchmarks.estimates.published import Group, Published, Size, read_fits, read_groups
from mien.benchmarks.results.records import ESTIMATE_SCHEMA, check_report
from mien.mobile_reference.bundle.reader import open_bundle
from mien.mobile_reference.commands.console import main
from mien.mobile_reference.errors import BundleError
from mien.mobile_reference.tflite.model_file import TFLiteFile, read_tflite
from tests.benchmarks.tinymodels import (
    PIPELINE,
    Maker,
    appraisal,
    heatmap,
    int8_appraisal,
    schema,
    softmax_of_products,
)

STAGES = tuple(stage.name for stage in PIPELINE.stages)
WORK = (*STAGES, "appraisal")


def test_counts_of_a_known_graph(tmp_path: Path) -> None:
    model = read_tflite(heatmap(tmp_path / "m.tflite"))
    dense = 128 * 128 * 8 * 27 + 128 * 128 * 8
    assert model.macs == {"CAST": 0, "CONV_2D": dense, "DEPTHWISE_CONV_2D": 128 * 128 * 8 * 9}
    assert model.activations == {
        "CAST": 256 * 256 * 3,
        "CONV_2D": 128 * 128 * 9,
        "DEPTHWISE_CONV_2D": 128 * 128 * 8,
    }
    assert model.parameters == (27 * 8 + 8) + (9 * 8 + 8) + (8 + 1)
    assert size_of(model).values == pytest.approx(
        (dense / 1e9, 1179648 / 1e9, model.activations.total() / 1e6, 313 / 1e6)
    )


def test_int8_and_float_count_alike(tmp_path: Path) -> None:
    exact, quantised = read_tflite(appraisal(tmp_path / "a")), read_tflite(int8_appraisal(tmp_path / "b"))
    assert exact.macs["CONV_2D"] == quantised.macs["CONV_2D"]
    assert exact.parameters == quantised.parameters
    assert (precision_of(exact), precision_of(quantised)) == (FLOAT, INT8)
    assert quantised.integer_only
    assert not exact.integer_only


def test_activations_are_compared_as_the_tables_count_them(tmp_path: Path) -> None:
    model = read_tflite(heatmap(tmp_path / "m.tflite"))
    written, compared = size_of(model), comparable_size_of(model)
    assert written.activations_m - compared.activations_m == pytest.approx(256 * 256 * 3 / 1e6)
    assert written.gmac == compared.gmac


def test_what_is_done_at_loading_is_not_counted(tmp_path: Path) -> None:
    maker = Maker()
    face = maker.tensor("face", [1, 8])
    stored = maker.constant("w", np.ones(8, np.float16))
    floats = maker.tensor("f", [8])
    maker.add(schema.BuiltinOperator.DEQUANTIZE, [stored], floats)
    total = maker.add(schema.BuiltinOperator.ADD, [face, floats], maker.tensor("sum", [1, 8]))
    model = read_tflite(maker.write(tmp_path / "m.tflite", [face], [total]))
    assert model.activations == {"ADD": 8}
    assert model.parameters == 8


def test_the_shipped_fits_are_those_of_the_shipped_tables() -> None:
    pytest.importorskip("scipy", reason="fitting needs scipy: pip install '.[export]'")
    for group in read_groups():
        fitted, shipped = fit_group(group), read_fits()[group.name]
        # Another release of the solver may stop elsewhere on a flat valley: 2 % of the estimate.
        for published in group.times:
            assert fitted.predict(published.size) == pytest.approx(shipped.predict(published.size), rel=0.02)
        assert fitted.median_error == pytest.approx(shipped.median_error, abs=0.02)


def test_the_fit_finds_known_rates_in_spite_of_a_strange_network() -> None:
    pytest.importorskip("scipy", reason="fitting needs scipy: pip install '.[export]'")
    generator = np.random.default_rng(3)
    sizes = [Size(*generator.uniform(0.1, 10, 4).tolist()) for _ in range(30)]
    times = [1.5 + float(np.dot((10, 30, 0.5, 0.1), size.values)) for size in sizes]
    times[7] *= 5
    rows = tuple(
        Published(f"n{i}", "cnn", size, ms) for i, (size, ms) in enumerate(zip(sizes, times, strict=True))
    )
    fit = fit_group(Group("g", "phones", "d", "soc", "CPU", "r", FLOAT, "s", "u", rows))
    # One of 30 rows is off by a factor of 5: plain least squares makes the first rate negative.
    assert fit.rates[:2] == pytest.approx((10, 30), rel=0.15)
    assert fit.slowest == pytest.approx(5, rel=0.15)


def test_claims_of_networks_not_seen_hold() -> None:
    for name, fit in read_fits().items():
        assert fit.false_claims <= 0.01, name


def test_every_row_has_its_source_and_its_size() -> None:
    groups = read_groups()
    assert {group.name for group in groups} == set(read_fits())
    for group in groups:
        assert group.url.startswith("https://")
        assert len(group.times) >= 20
        assert len({published.network for published in group.times}) == len(group.times)
        for published in group.times:
            assert published.ms > 0
            assert published.size.gmac > 0


def test_the_notices_ship_with_the_tables() -> None:
    text = files("mien.benchmarks.estimates").joinpath("data/README.md").read_text()
    for source in {group.source for group in read_groups()}:
        assert source.split()[0] in text
    assert "Redistributions of source code must retain" in text


@pytest.fixture
def found(bundle: Path) -> list[Estimate]:
    opened = open_bundle(bundle)
    return [e for variant in opened.variants for e in estimates(opened, variant)]


def test_every_class_of_the_variants_precision_has_a_row(found: list[Estimate]) -> None:
    for variant, precision in (("tflite-fp32", FLOAT), ("tflite-int8", INT8)):
        groups = [estimate.group.name for estimate in found if estimate.variant == variant]
        assert groups == [group.name for group in read_groups() if group.precision == precision]


def test_an_estimate_is_the_sum_of_its_runs(found: list[Estimate]) -> None:
    for estimate in found:
        assert [(part.graph, part.times) for part in estimate.parts] == [("detector", 2), ("appraisal", 1)]
        detector, one_graph = (estimate.fit.predict(part.size) for part in estimate.parts)
        assert estimate.estimate_ms == pytest.approx(2 * detector + one_graph)
        assert estimate.claim_ms == pytest.approx(CLAIM * (2 * detector + one_graph))


def test_the_bracket_is_at_least_as_heavy(found: list[Estimate]) -> None:
    for estimate in found:
        gmac = sum(part.times * part.comparable.gmac for part in estimate.parts)
        values = sum(part.times * part.comparable.activations_m for part in estimate.parts)
        assert estimate.bracket
        assert all(published.size.gmac >= gmac for published in estimate.bracket)
        assert all(published.size.activations_m >= values for published in estimate.bracket)
        assert all(published.kind == "cnn" for published in estimate.bracket)


def _bundle_with(bundle: Path, model: Path) -> list[Estimate]:
    opened = open_bundle(bundle)
    variant = opened.variants[0]
    return list(estimates(opened, replace(variant, files={**variant.files, **dict.fromkeys(WORK, model)})))


def test_operators_that_no_published_network_has_are_refused(bundle: Path, tmp_path: Path) -> None:
    for estimate in _bundle_with(bundle, softmax_of_products(tmp_path / "m.tflite")):
        assert estimate.refused == "appraisal: no published network has BATCH_MATMUL"
        assert (estimate.estimate_ms, estimate.claim_ms) == (None, None)
        assert estimate.verdict == "no evidence"


def test_the_published_networks_cover_the_shipped_graph(exported: Path) -> None:
    opened = open_bundle(exported)
    refused = {e.group.name: e.refused for e in estimates(opened, opened.variant("tflite-fp32"))}
    assert set(refused.values()) == {None}, refused


def test_a_graph_that_is_int8_in_part_is_no_int8_network(bundle: Path, tmp_path: Path) -> None:
    opened = open_bundle(bundle)
    variant = opened.variant("tflite-int8")
    (own, *_) = estimates(opened, variant)
    assert own.refused is None
    # A detector of floats that outweighs the int8 graph.
    maker = Maker()
    picture = maker.tensor("picture", [1, 256, 256, 8])
    weights = maker.constant("w", np.ones((8, 3, 3, 8), np.float32))
    bias = maker.constant("b", np.zeros(8, np.float32))
    output = maker.convolve(picture, weights, bias, maker.tensor("out", [1, 256, 256, 8]))
    floats = maker.write(tmp_path / "float.tflite", [picture], [output])
    for estimate in estimates(opened, replace(variant, files={**variant.files, "detector": floats})):
        assert estimate.refused is not None
        assert "products are float" in estimate.refused


def test_sizes_beyond_the_data_are_refused(bundle: Path, tmp_path: Path) -> None:
    maker = Maker()
    face = maker.tensor("face", [1, 4096, 4096, 1])
    weights = maker.constant("w", np.ones((128, 3, 3, 1), np.float32))
    bias = maker.constant("b", np.zeros(128, np.float32))
    output = maker.convolve(face, weights, bias, maker.tensor("out", [1, 4096, 4096, 128]))
    model = maker.write(tmp_path / "m.tflite", [face], [output])
    for estimate in _bundle_with(bundle, model):
        assert estimate.refused is not None
        assert "the published networks end at" in estimate.refused
        assert estimate.verdict == "no evidence"


def test_stages_that_are_covered_stand_in_for_one_graph_that_is_not(bundle: Path, tmp_path: Path) -> None:
    opened = open_bundle(bundle)
    stages = {stage: heatmap(tmp_path / "stage.tflite") for stage in STAGES}
    maker = Maker()
    face = maker.tensor("face", [1, 4096, 4096, 2])
    twice = maker.add(schema.BuiltinOperator.ADD, [face, face], maker.tensor("out", [1, 4096, 4096, 2]))
    large = maker.write(tmp_path / "large.tflite", [face], [twice])
    variant = opened.variants[0]
    files_ = {**variant.files, **stages, "appraisal": large}
    (estimate,) = (
        e for e in estimates(opened, replace(variant, files=files_)) if e.group.name == "sd660-cpu"
    )
    assert [part.graph for part in estimate.parts] == ["detector", *STAGES]
    assert estimate.estimate_ms is not None


def test_stages_that_are_too_large_are_estimated_by_their_halves(bundle: Path, tmp_path: Path) -> None:
    opened = open_bundle(bundle)
    maker = Maker()
    size = [1, 1024, 1024, 12]
    tensors = [maker.tensor(name, size) for name in ("face", "once", "twice")]
    for before, after in pairwise(tensors):
        maker.add(schema.BuiltinOperator.ADD, [before, before], after)
    large = maker.write(tmp_path / "large.tflite", tensors[:1], tensors[-1:])
    variant = opened.variants[0]
    files_ = {**variant.files, **dict.fromkeys(WORK, large)}
    (estimate,) = (
        e for e in estimates(opened, replace(variant, files=files_)) if e.group.name == "sd660-cpu"
    )
    assert len(estimate.parts) == 1 + 2 * len(STAGES)
    assert {part.size.activations_m for part in estimate.parts[1:]} == {math.prod(size) / 1e6}
    assert estimate.estimate_ms is not None


def test_a_graph_without_operators_has_empty_halves() -> None:
    assert TFLiteFile(()).halves == (TFLiteFile(()), TFLiteFile(()))


@pytest.mark.parametrize(
    ("ms", "verdict"), [(300.0, "met"), (400.0, "no evidence"), (1000.0, "not met"), (None, "no evidence")]
)
def test_verdicts(found: list[Estimate], ms: float | None, verdict: str) -> None:
    assert replace(found[0], estimate_ms=ms).verdict == verdict


def test_the_command(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "estimate.json"
    with pytest.raises(SystemExit) as end:
        main(["bench", str(bundle), "--estimate", "-o", str(file)])
    assert not end.value.code
    out = capsys.readouterr().out
    assert "no phone was used" in out
    assert max(map(len, out.splitlines())) <= 80
    report: dict[str, Any] = json.loads(file.read_text())
    check_report(report, ESTIMATE_SCHEMA)
    assert report["kind"] == "estimate"
    with pytest.raises(ReportError, match="kind"):
        check_report(report | {"kind": "phone"}, ESTIMATE_SCHEMA)
    assert len(report["estimates"]) == len(read_groups())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["x", "--estimate"], "is not a bundle"),
        (["x", "--estimate", "--runs", "5"], "it is for --target host"),
    ],
)
def test_wrong_use(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    with pytest.raises(SystemExit) as end:
        main(["bench", *arguments])
    assert end.value.code == 2
    assert message in capsys.readouterr().err


def test_fits_can_be_made_again(tmp_path: Path) -> None:
    pytest.importorskip("scipy", reason="fitting needs scipy: pip install '.[export]'")
    with pytest.raises(SystemExit) as end:
        main(["bench", "fit", "-o", str(tmp_path / "fit.json")])
    assert not end.value.code
    assert set(json.loads((tmp_path / "fit.json").read_text())) == set(read_fits())


def test_tables_are_plain(tmp_path: Path) -> None:
    for name in ("groups", "measurements", "networks"):
        rows = list(
            csv.reader(
                files("mien.benchmarks.estimates").joinpath(f"data/{name}.csv").read_text().splitlines()
            )
        )
        assert {len(row) for row in rows} == {len(rows[0])}


@pytest.mark.parametrize("content", [b"", b"TFL3", b"\x18\0\0\0TFL3" + b"\xff" * 64, b"\0" * 100])
def test_what_is_no_model_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "m.tflite"
    file.write_bytes(content)
    with pytest.raises(BundleError, match="TFLite model"):
        read_tflite(file)


@pytest.mark.parametrize("seed", range(30))
def test_a_damaged_model_is_refused_or_read_but_never_a_traceback(tmp_path: Path, seed: int) -> None:
    data = bytearray(heatmap(tmp_path / "m.tflite").read_bytes())
    generator = np.random.default_rng(seed)
    for place in generator.integers(8, len(data), 20):
        data[place] = generator.integers(256)
    (tmp_path / "damaged.tflite").write_bytes(data)
    try:
        model = read_tflite(tmp_path / "damaged.tflite")
        model.macs, model.activations, model.parameters  # noqa: B018 - they must not raise anything else
    except BundleError:
        pass
