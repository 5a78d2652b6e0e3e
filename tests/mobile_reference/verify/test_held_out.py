"""Held-out inputs on numpy stand-ins: every figure is what it says, and a limit that fails is named."""

import io
import json
import math
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import escape
from rich.console import Console
from scipy.stats import spearmanr

from mien.mobile_reference.bundle.reader import Bundle, open_bundle
from mien.mobile_reference.commands import verify as cli
from mien.mobile_reference.errors import UsageError
from mien.mobile_reference.metrics import METRICS, rank_agreement
from mien.mobile_reference.report.steps import Part
from mien.mobile_reference.verify.held_out import HeldOut, fitting, judge_held_out, likeness, merged, worst_of
from mien.mobile_reference.verify.held_out_tables import figure_tables
from mien.mobile_reference.verify.layers import FirstPoorLayer
from mien.mobile_reference.verify.limits import failures, figures, held_out_record
from mien.mobile_reference.verify.page import verify_page
from mien.mobile_reference.verify.stages import PAIR, StageResult, Verification
from tests.mobile_reference.conftest import FUNCTIONS, SIDE, SPEC, faithful
from tests.mobile_reference.fakebundles import run_functions

Arrays = dict[str, Any]


@dataclass(frozen=True)
class Face:
    name: str
    tensors: Arrays


@cache
def made_face(seed: int) -> Face:
    blocks = np.random.default_rng(seed).integers(0, 256, (1, 8, 8, 3), dtype=np.uint8)
    inputs: Arrays = {"face": blocks.repeat(SIDE // 8, axis=1).repeat(SIDE // 8, axis=2)}
    return Face(f"face-{seed}", run_functions(FUNCTIONS, SPEC.stages, inputs))


def faces(count: int = 20) -> list[Face]:
    return [made_face(seed) for seed in range(count)]


@pytest.fixture
def disturbed(fake: Any, stand_in: Any) -> Any:
    """Judge the fake bundle whose models are disturbed as a test says."""

    def judge(disturb: Any) -> tuple[Any, HeldOut]:
        stand_in(disturb)
        opened = open_bundle(fake.path)
        return opened, judge_held_out(opened, faces(), lambda name: None)

    return judge


def test_a_faithful_bundle_passes_every_limit(disturbed: Any):
    bundle, found = disturbed(faithful)
    judged = figures(bundle, found)
    assert failures(judged) == []
    # Five limits for each of three variants, one for each of two pairs of platforms; all were judged.
    assert [f.passed for f in judged if f.limit is not None] == [True] * 17
    assert found.faces == 20
    assert {crossings.crossed for one in found.variants for crossings in one.crossings} == {0}


@pytest.mark.parametrize(
    ("tensor", "change", "figure"),
    [
        ("score", lambda v: v + 0.5, "score error, worst"),
        ("score", lambda v: v + 0.5, "score error, mean"),
        ("score", lambda v: -v, "score rank agreement"),
        ("heatmap", lambda v: v[:, ::-1], "heatmap correlation, mean"),
        ("mask", lambda v: v * 0.9, "mask IoU, mean"),
    ],
)
def test_what_is_off_is_named_with_value_and_limit(disturbed: Any, tensor: str, change: Any, figure: str):
    def disturb(variant: str, model: str, outputs: Arrays) -> Arrays:
        if (variant, model) != ("tflite-fp16", "appraisal"):
            return outputs
        return outputs | {tensor: change(outputs[tensor])}

    bundle, found = disturbed(disturb)
    lines = failures(figures(bundle, found))
    assert any(line.startswith(f"tflite-fp16: {figure} is") and "the limit is" in line for line in lines)
    assert not any(line.startswith(("tflite-fp32:", "coreml-fp16:")) for line in lines)


def test_a_variant_errs_alike_alone_and_beside_any_other(fake: Any, stand_in: Any):
    def disturb(variant: str, model: str, outputs: Arrays) -> Arrays:
        spoilt = (variant, model) == ("tflite-fp16", "compare")
        return {name: value + 3.0 if spoilt else value for name, value in outputs.items()}

    stand_in(disturb)
    bundle, given = open_bundle(fake.path), faces(3)
    every = judge_held_out(bundle, given, lambda name: None).variants[2]
    for beside in ([], ["tflite-fp16"]):
        found = judge_held_out(bundle.only([*beside, "coreml-fp16"]), given, lambda name: None).variants[-1]
        assert (found.variant, found.stage_errors) == ("coreml-fp16", every.stage_errors)
        assert found.crossings == every.crossings


@pytest.mark.parametrize(("inputs", "jobs"), [(7, 1), (7, 2), (7, 3), (2, 3), (6, 3)])
def test_shares_put_together_are_what_one_process_finds(fake: Any, stand_in: Any, inputs: int, jobs: int):
    def disturb(variant: str, model: str, outputs: Arrays) -> Arrays:
        noise = 0.1 * float(outputs["score"][0] % 1) if "score" in outputs else 0.0
        return {name: value + noise if name == "score" else value for name, value in outputs.items()}

    stand_in(disturb)
    bundle, given = open_bundle(fake.path), faces(inputs)
    alone = judge_held_out(bundle, given, lambda name: None)
    shares = [judge_held_out(bundle, given[first::jobs], lambda name: None) for first in range(jobs)]
    together = merged(shares)
    assert figures(bundle, together) == figures(bundle, alone)
    assert together.agreements == alone.agreements
    for one, other in zip(together.variants, alone.variants, strict=True):
        assert (one.likeness, one.stage_errors) == (other.likeness, other.stage_errors)
        assert sorted(map(str, one.crossings)) == sorted(map(str, other.crossings))
        assert np.array_equal(one.worst, other.worst)


def asked_of(bundle: Bundle, folder: Path, jobs: int, every: int = 1) -> cli._Request:
    """Return a request for held-out inputs by some processes."""
    return cli._Request(folder, every, None, None, 1, jobs, layers=False, unit=cli.CPU)


def test_two_processes_judge_as_one_does(fake: Any, stand_in: Any, monkeypatch: pytest.MonkeyPatch):
    stand_in(faithful)
    given, path = faces(5), Path("photographs")
    held_out = Mock(files=(), skipped=("broken.png: no face",), count=5, samples=lambda share: given[share])
    pipeline = Mock(inputs=Mock(held_out=lambda pipeline, folder: held_out), metrics=METRICS)
    monkeypatch.setattr(cli, "_opened", lambda bundle, source: pipeline)
    monkeypatch.setattr(cli, "layer_errors", lambda bundle, exact, progress: ())
    monkeypatch.setattr(cli, "repeats", lambda bundle, progress: ())
    told = [list[Part](), list[Part]()]
    bundle = open_bundle(fake.path)
    answers = [cli._judge(bundle, asked_of(bundle, path, jobs), told[jobs - 1].append) for jobs in (1, 2)]
    assert answers[0][2] == answers[1][2]
    assert answers[0][1].faces == answers[1][1].faces == 5
    shown = [[part for part in parts if part.text.startswith("input")] for parts in told]
    assert [len(parts) for parts in shown] == [5, 3]
    assert shown[1][1] == ("input 3 of 5: face-2", 3, 5)


@pytest.mark.parametrize("jobs", [1, 2])
def test_one_in_so_many_inputs_is_judged(
    fake: Any, stand_in: Any, monkeypatch: pytest.MonkeyPatch, jobs: int
):
    stand_in(faithful)
    given = faces(8)
    held_out = Mock(files=(), skipped=(), count=8, samples=lambda share: given[share])
    pipeline = Mock(inputs=Mock(held_out=lambda pipeline, folder: held_out), metrics=METRICS)
    monkeypatch.setattr(cli, "_opened", lambda bundle, source: pipeline)
    monkeypatch.setattr(cli, "layer_errors", lambda bundle, exact, progress: ())
    monkeypatch.setattr(cli, "repeats", lambda bundle, progress: ())
    bundle, told = open_bundle(fake.path), list[Part]()
    found = cli._judge(bundle, asked_of(bundle, Path("photographs"), jobs, every=3), told.append)
    assert found.held_out.faces == 3
    assert ("input 1 of 3: face-0", 1, 3) in told


def test_every_without_held_out_inputs_is_refused(fake: Any):
    with pytest.raises(UsageError, match="--every was given without --held-out"):
        cli.verify.main([str(fake.path), "--every", "2"], standalone_mode=False)


def test_a_share_that_fails_ends_all(fake: Any, stand_in: Any, monkeypatch: pytest.MonkeyPatch):
    def samples(share: slice) -> list[Face]:
        if share.start:
            raise UsageError("the second share has no inputs")
        return faces(1)

    stand_in(faithful)
    held_out = Mock(files=(), skipped=(), count=2, samples=samples)
    pipeline = Mock(inputs=Mock(held_out=lambda pipeline, folder: held_out), metrics=METRICS)
    monkeypatch.setattr(cli, "_opened", lambda bundle, source: pipeline)
    monkeypatch.setattr(cli, "layer_errors", lambda bundle, exact, progress: ())
    bundle = open_bundle(fake.path)
    with pytest.raises(UsageError, match="the second share has no inputs"):
        cli._judge(bundle, asked_of(bundle, Path("photographs"), 2), lambda part: None)


def test_a_score_that_is_not_a_number_fails(disturbed: Any):
    def disturb(variant: str, model: str, outputs: Arrays) -> Arrays:
        broken = (variant, model) == ("tflite-fp16", "appraisal")
        return outputs | {"score": np.array([np.nan], np.float32)} if broken else outputs

    bundle, found = disturbed(disturb)
    assert any("score error, worst is nan" in line for line in failures(figures(bundle, found)))


@pytest.mark.parametrize("tensor", ["heatmap", "mask"])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_map_that_is_not_numbers_fails(disturbed: Any, tensor: str):
    def disturb(variant: str, graph: str, outputs: Arrays) -> Arrays:
        broken = (variant, graph) == ("tflite-fp16", "appraisal")
        return outputs | {tensor: np.full_like(outputs[tensor], np.nan)} if broken else outputs

    bundle, found = disturbed(disturb)
    assert any(line.startswith("tflite-fp16:") for line in failures(figures(bundle, found)))


def test_the_waterfall_blames_the_stage_that_is_off(disturbed: Any):
    def disturb(variant: str, model: str, outputs: Arrays) -> Arrays:
        if variant == "tflite-fp16" and model in ("inpaint", "appraisal"):
            return {name: value + np.float32(5) for name, value in outputs.items()}
        return outputs

    bundle, found = disturbed(disturb)
    judged = figures(bundle, found)
    (line,) = [x for x in failures(judged) if "fp16: score error, worst" in x and x.startswith("tflite")]
    assert "stage inpaint costs most" in line
    before = next(f for f in judged if (f.variant, f.name) == ("tflite-fp16", "mean error up to mask"))
    assert before.value < 1e-4


def test_platforms_that_differ_from_each_other_are_named(disturbed: Any):
    def disturb(variant: str, model: str, outputs: Arrays) -> Arrays:
        shift = {"tflite-fp16": 0.6, "coreml-fp16": -0.6}.get(variant, 0.0) if model == "appraisal" else 0.0
        return outputs | {"score": outputs["score"] + np.float32(shift)} if shift else outputs

    bundle, found = disturbed(disturb)
    lines = [line for line in failures(figures(bundle, found)) if " / " in line]
    assert len(lines) == 1
    assert lines[0].startswith("tflite-fp16 / coreml-fp16: score apart, worst is 1.2")


def test_a_pixel_that_crosses_the_half_is_counted_and_priced(disturbed: Any):
    def disturb(variant: str, model: str, outputs: Arrays) -> Arrays:
        if (variant, model) != ("tflite-fp16", "appraisal"):
            return outputs
        return outputs | {"mask": np.where(outputs["mask"] > 0.5, np.float32(0.4), outputs["mask"])}

    _, found = disturbed(disturb)
    crossings = found.variants[1].crossings
    expected = [int((face.tensors["mask"] > 0.5).sum()) for face in faces()]
    assert [one.crossed for one in crossings] == expected
    assert all((one.points > 0) == (one.crossed > 0) for one in crossings)


def test_few_faces_have_no_ranks_to_judge(disturbed: Any):
    bundle, found = disturbed(faithful)
    few = replace(found, variants=tuple(replace(v, likeness=v.likeness[:19]) for v in found.variants))
    ranks = [f for f in figures(bundle, few) if "rank" in f.name and "/" not in f.variant]
    assert [rank.passed for rank in ranks] == [None] * 3


def test_flat_heatmaps_and_empty_masks_are_not_judged():
    blank = {"score": np.ones(1), "heatmap": np.zeros((1, 8, 8, 1)), "mask": np.zeros((1, 8, 8, 1))}
    alike = likeness("x", SPEC, blank, blank)
    assert alike.measures[3:] == (None, None)
    assert alike.decibels["heatmap"] == float("inf")


def test_overlap_of_masks_of_0_and_1_is_intersection_over_union():
    one, other = np.zeros((2, 1, 32, 32, 1))
    one[0, :16], other[0, 8:24] = 1, 1
    maps = {"score": np.ones(1), "heatmap": one}
    found = likeness("x", SPEC, maps | {"mask": one}, maps | {"mask": other})
    assert found.measures[-1] == pytest.approx(1 - 8 / 24)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=3, max_size=30))
def test_rank_agreement_is_spearmans(pairs: list[tuple[int, int]]):
    ours = rank_agreement(pairs)
    if len({a for a, _ in pairs}) > 1 and len({b for _, b in pairs}) > 1:
        assert ours == pytest.approx(spearmanr(*zip(*pairs, strict=True)).statistic)
    else:
        assert np.isnan(ours)


def test_a_page_notes_every_limit_that_failed(disturbed: Any):
    def disturb(variant: str, model: str, outputs: Arrays) -> Arrays:
        spoilt = (variant, model) == ("tflite-fp16", "appraisal")
        return {name: value + 3.0 if spoilt else value for name, value in outputs.items()}

    bundle, found = disturbed(disturb)
    judged = figures(bundle, found)
    page, lines = verify_page(bundle, Verification(()), found, judged), failures(judged)
    assert lines
    assert f"{len(lines)} gates failed" in page
    assert [line for line in lines if f'<p class="note">{escape(line)}</p>' not in page] == []


@pytest.mark.parametrize("jobs", [1, 3])
def test_of_equal_errors_the_first_input_is_named_and_shown(fake: Any, stand_in: Any, jobs: int):
    stand_in(faithful)
    bundle, given = open_bundle(fake.path), faces(3)
    shares = [judge_held_out(bundle, given[first::jobs], lambda name: None) for first in range(jobs)]
    for one in merged(shares).variants:
        assert {alike.error for alike in one.likeness} == {0.0}
        assert worst_of(one.likeness).face == "face-0"
        assert np.array_equal(one.worst[:SIDE, :SIDE], given[0].tensors["face"][0])


def test_record_is_json_and_page_shows_every_worst_face(disturbed: Any):
    bundle, found = disturbed(faithful)
    judged = figures(bundle, found)
    json.dumps(held_out_record(judged, found.faces), allow_nan=False)
    golden = Verification((StageResult("<name>", "<stage>", math.inf, None, None, 0.0, "<face>"),))
    page = verify_page(bundle, golden, found, judged)
    assert "every gate held" in page
    assert page.count("data:image/png;base64,") == 3
    # Where each stage is run on its own, what it adds to the error is drawn.
    assert page.count("what each stage adds to it</figcaption>") == 3
    assert "<name>" not in page
    assert "&lt;name&gt;" in page
    assert {one.worst.shape for one in found.variants} == {(2 * SIDE, 4 * SIDE, 3)}


def test_the_tables_fit_a_terminal_and_mark_what_fails(disturbed: Any):
    def disturb(variant: str, model: str, outputs: Arrays) -> Arrays:
        if (variant, model) != ("tflite-fp16", "appraisal"):
            return outputs
        return outputs | {"score": outputs["score"] - np.float32(5)}

    bundle, found = disturbed(disturb)
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(figure_tables(figures(bundle, found), found.faces))
    lines = console.export_text().splitlines()
    assert not any("…" in line for line in lines)
    (worst,) = (line for line in lines if line.strip().startswith("score error, worst") and "5 *" in line)
    assert worst.split()[-1] == "*"
    assert any("apart" in line for line in lines)
    assert lines[-1] == "* fails its limit"


@pytest.mark.parametrize(("option", "name"), [("--faces", "--held-out"), ("--checkpoint", "--pipeline")])
def test_options_of_before_are_refused_with_their_names_of_now(fake: Any, option: str, name: str):
    answer = CliRunner().invoke(cli.verify, [str(fake.path), option, "folder"])
    assert isinstance(answer.exception, UsageError)
    assert str(answer.exception) == f"{option} is called {name}; give {name} folder"


def test_the_first_layer_that_diverges_is_blamed(disturbed: Any):
    def disturb(variant: str, model: str, outputs: Arrays) -> Arrays:
        shift = np.float32(0.5 if (variant, model) == ("tflite-fp16", "appraisal") else 0)
        return outputs | {"score": outputs["score"] + shift} if model in ("appraisal", "compare") else outputs

    bundle, found = disturbed(disturb)
    off = FirstPoorLayer("tflite-fp16", "/net/teacher/stem", 12.0)
    blamed = failures(figures(bundle, replace(found, poor_layers=(off,))))
    assert any(line.endswith("the first layer that diverges is /net/teacher/stem") for line in blamed)
    fine = FirstPoorLayer("tflite-fp16", "", 50.0)
    assert not any("diverges" in x for x in failures(figures(bundle, replace(found, poor_layers=(fine,)))))


def test_faces_that_gave_the_ranges_may_not_judge(fake: Any, tmp_path: Any):
    brought = Mock(weights="0" * 64, files=("2" * 64, "3" * 64))
    pipeline = Mock(inputs=Mock(held_out=lambda pipeline, folder: brought))
    fake.manifest["provenance"]["calibration"]["images"] = ["1" * 64, "2" * 64]
    fake.save()
    bundle = open_bundle(fake.path)
    asked = asked_of(bundle, tmp_path, 1)
    with pytest.raises(UsageError, match=r"1 files of .* gave the bundle its ranges"):
        cli._judge_held_out(bundle, pipeline, asked, slice(0, None, 1), lambda part: None)


def test_a_pipeline_of_other_weights_is_refused(fake: Any, monkeypatch: pytest.MonkeyPatch):
    entry = Mock(load=lambda: lambda source, front: Mock(weights="1" * 64))
    monkeypatch.setattr(cli, "entry_points", lambda group: [entry])
    bundle = open_bundle(fake.path)
    with pytest.raises(UsageError, match=r"grader\.py has 111111111111; give the bundle's own"):
        cli._opened(bundle, Path("grader.py"))


def test_inputs_of_another_shape_are_refused(fake: Any):
    bundle = open_bundle(fake.path)
    (name,) = bundle.spec.inputs
    sample = Mock(tensors={name: np.zeros((1, 2, 3), np.float32)})
    sample.name = "someone"
    with pytest.raises(UsageError, match=r"someone gives \w+ of shape \[1, 2, 3\] of float32, the"):
        list(fitting(bundle, [sample]))


def test_how_far_platforms_are_apart_is_told_of_the_pair(disturbed: Any):
    judged = [one for one in figures(*disturbed(faithful)) if PAIR in one.variant]
    assert {one.variant for one in judged} == {
        f"{one}{PAIR}coreml-fp16" for one in ("tflite-fp32", "tflite-fp16")
    }
    names = [one.name for one in judged if one.variant.startswith("tflite-fp32")]
    assert names[:2] == ["score apart, mean", "score apart, worst"]
