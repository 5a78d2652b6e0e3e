"""What runs the generated apps by hand, without their compilers: sabotages fit, the model server answers."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mien.mobile_reference.bundle.reader import open_bundle
from mien.mobile_reference.errors import BundleError
from mien.mobile_reference.run.runner import BundleRunner
from tests.benchmarks.apps import run_kotlin, run_swift
from tests.benchmarks.apps.model_server import Server
from tests.benchmarks.apps.running import (
    DAMAGES,
    Damage,
    Sabotage,
    model_server,
    with_early_exit,
    with_more_photographs,
    wrong_against_reference,
)
from tests.benchmarks.pipelines import GRADER, make_bundle

SABOTAGES = [
    *((run_kotlin.SOURCES, one) for one in run_kotlin.SABOTAGES),
    *((run_swift.SOURCES, one) for one in run_swift.SABOTAGES),
]


@pytest.mark.parametrize(("sources", "sabotage"), SABOTAGES, ids=[one.title for _, one in SABOTAGES])
def test_a_sabotage_has_its_place_in_the_sources(sources: Path, sabotage: Sabotage, tmp_path: Path) -> None:
    (file,) = sources.rglob(sabotage.file)
    copy = tmp_path / sabotage.file
    copy.write_text(file.read_text())
    sabotage.damage(tmp_path)
    assert copy.read_text() != file.read_text()
    with pytest.raises(ValueError, match="times, expected once"):
        Sabotage("", "", sabotage.file, "what is nowhere", "").damage(tmp_path)


def test_the_server_runs_a_model_by_the_names_of_its_signature(tmp_path: Path) -> None:
    bundle = open_bundle(make_bundle(tmp_path / "made", GRADER))
    runner, golden = BundleRunner(bundle, "tflite-fp32"), bundle.goldens[0]
    file = bundle.variant("tflite-fp32").files["rate"]
    given = {"image": golden.read("image"), "mask": golden.read("mask")}
    expected = runner.run(bundle.spec.model("rate"), given)["grade"]
    with model_server(tmp_path) as pipes, (pipes / "questions").open("wb") as questions:

        def ask(question: dict[str, Any], *parts: bytes) -> tuple[dict[str, Any], list[bytes]]:
            header = {**question, "sizes": [len(part) for part in parts]}
            questions.write(json.dumps(header).encode() + b"\n" + b"".join(parts))
            questions.flush()
            answer = json.loads(answers.readline())
            return answer, [answers.read(size) for size in answer["sizes"]]

        with (pipes / "answers").open("rb") as answers:
            about, _ = ask({"load": "tflite"}, file.read_bytes())
            assert about["inputs"] == {"image": 16 * 16 * 3, "mask": 16 * 16 * 4}
            assert about["outputs"] == {"grade": 4}
            run = {"run": about["model"], "signature": "serving_default", "wanted": ["grade"]}
            # In another order than the file's: it is the names that count.
            named = {"given": ["mask", "image"]}
            _, (made,) = ask(run | named, given["mask"].tobytes(), given["image"].tobytes())
            assert made == expected.tobytes()
            assert "error" in ask({"load": "tflite"}, b"no model")[0]


def test_the_server_decodes_and_hashes_files(bundle: Path) -> None:
    server, golden = Server(bundle), open_bundle(bundle).goldens[0]
    assert golden.source is not None
    about, (pixels,) = server.answer({"decode": f"/{golden.source.relative_to(bundle)}"}, [])
    expected = golden.read_photograph()
    assert about["size"] == expected.shape[1::-1]
    found = np.frombuffer(pixels, np.uint8).reshape(*expected.shape[:2], 4)
    np.testing.assert_array_equal(found[..., :3], expected)
    assert server.answer({"sha256": True}, [b""])[1][0].hex().startswith("e3b0c44298fc1c14")


def test_a_record_is_held_against_the_reference_runner(bundle: Path, tmp_path: Path) -> None:
    photograph = np.random.default_rng(5).integers(0, 256, (300, 200, 3), np.uint8)
    made = open_bundle(with_more_photographs(bundle, tmp_path / "more", {"noise": photograph}))
    assert [golden.name for golden in made.goldens][-1] == "noise"
    runner, golden = BundleRunner(made, "tflite-fp32"), made.goldens[-1]
    prepared = runner.prepare(photograph)
    score = {
        "golden": "noise",
        "differences": {"face": 0.0, "score": 0.0, "heatmap": 0.0},
        "skipped": [],
        "findings": {finding.measure: finding.value for finding in prepared.findings},
    }
    block = {"variant": "tflite-fp32", "scores": [], "photographs": [score]}
    assert list(wrong_against_reference(made, [block])) == []
    assert golden.read_photograph().shape == photograph.shape
    for change in ({"differences": score["differences"] | {"score": 1e-9}}, {"skipped": ["compare"]}):
        wrong = {**block, "photographs": [score | change]}
        assert len(list(wrong_against_reference(made, [wrong]))) == 1


@pytest.mark.parametrize("damage", DAMAGES, ids=[one.title for one in DAMAGES])
def test_what_apps_must_refuse_the_reader_refuses_too(bundle: Path, tmp_path: Path, damage: Damage) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(bundle, copy)
    damage.harm(copy)
    with pytest.raises(BundleError):
        open_bundle(copy)


def test_an_early_exit_is_said_of_the_named_variants_alone(bundle: Path, tmp_path: Path) -> None:
    names = [variant.name for variant in open_bundle(bundle).variants]
    made = open_bundle(with_early_exit(bundle, tmp_path / "early", names[:1]))
    assert [variant.early_exit for variant in made.variants] == [True, *([False] * (len(names) - 1))]
