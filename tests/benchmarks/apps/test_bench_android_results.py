"""Reading what an app measured. The lines are made up, in the form of BenchTest.kt: no phone has run it."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mien.benchmarks.apps.android_package import PLACE
from mien.benchmarks.apps.android_results import MEASUREMENTS, RECORD_SCHEMA
from mien.benchmarks.apps.generated_project import RESULTS
from mien.benchmarks.pipeline import outputs_of
from mien.benchmarks.results import measurements
from mien.benchmarks.results.records import read_report
from mien.mobile_reference.contract import PipelineSpec
from tests.benchmarks.apps.test_bench_apple import bench
from tests.benchmarks.pipelines import EDGES, GRADER, make_bundle

VARIANTS = ("tflite-fp32", "tflite-int8")
LAST = VARIANTS[-1]
KOTLIN = (
    Path(measurements.__file__).parents[1] / "apps/kotlin/src/androidTest/kotlin/mien/pipeline/BenchTest.kt"
)
Change = Callable[[dict[str, Any]], Any]


class Library:
    """A generated library and made-up measurements of it; the GPU refuses the last variant."""

    def __init__(self, folder: Path, bundle: Path) -> None:
        self.folder = folder
        self.bundle = bundle
        self.spec = json.loads((folder / PLACE).read_text())
        self.log = folder / RESULTS / MEASUREMENTS
        self.log.parent.mkdir()

    def record(self, variant: str, unit: str) -> dict[str, Any]:
        found = {"score": 0.001, "heatmap": 0.02}
        scores = [{"golden": g["name"], "differences": dict(found)} for g in self.spec["goldens"]]
        runs = [float(30 + n % 5) for n in range(self.spec["runs"])]
        measured = {
            "load_ms": 10.5,
            "first_ms": 50,
            "models_ms": dict.fromkeys(self.spec["served"], runs),
            "runs_ms": runs,
            "peak_memory_bytes": 123 << 20,
            "scores": scores,
            "photographs": [
                dict(score) for score, g in zip(scores, self.spec["goldens"], strict=True) if g["photograph"]
            ],
        }
        refused = {"refused": "IllegalArgumentException: no [/kernel]\n for \x1b[2J this"}
        return {
            "id": self.spec["id"],
            "variant": variant,
            "unit": unit,
            "device": "made up, for [/a] test",
            "android": 35,
            "abi": "arm64-v8a",
            "cores": 8,
            "emulator": False,
            **(refused if (variant, unit) == (LAST, "GPU") else measured),
        }

    def lines(self, change: Change = lambda _: None) -> list[str]:
        records = [self.record(variant, unit) for variant in VARIANTS for unit in ("CPU", "GPU")]
        for record in records:
            change(record)
        return [json.dumps(record) for record in records]

    def write(self, change: Change = lambda _: None) -> None:
        self.log.write_text("\n".join(self.lines(change)) + "\n")

    def read(self, capsys: pytest.CaptureFixture[str], *arguments: str, expect: int = 0) -> str:
        generate = ["--target", "android", "--generate", self.folder]
        return bench(capsys, self.bundle, *generate, *arguments, expect=expect)


@pytest.fixture
def library(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Library:
    folder = tmp_path / "library"
    bench(capsys, bundle, "--target", "android", "--generate", folder)
    return Library(folder, bundle)


def test_a_measurement_becomes_a_report(library: Library, capsys: pytest.CaptureFixture[str]) -> None:
    library.write()
    out = " ".join(library.read(capsys).split())
    assert "tflite-int8 cpu: no evidence of the whole way; all models p90 34.0 ms on this android" in out
    assert "made up, for [/a] test" in out
    assert "no [/kernel] for [2J this" in out
    assert "\x1b[2J" not in out
    results = read_report(library.folder / "report.json")["results"]
    assert [(r["target"], r["variant"]) for r in results] == [
        ("android-app-cpu", "tflite-fp32"),
        ("android-app-gpu", "tflite-fp32"),
        ("android-app-cpu", "tflite-int8"),
    ]
    for result in results:
        assert result["kind"] == "android"
        assert result["verdict"] == {"budget_ms": 1000, "p90_ms": None, "state": "no evidence"}
        assert [(p["name"], p["error"], p["passed"]) for p in result["parity"]] == [
            ("score", 0.001, True),
            ("score from the photograph on", 0.001, True),
        ]
        stages = [(s["part"], s["name"], len(s["blocks"][0])) for s in result["latency"]["stages"]]
        assert stages == [("model", "appraisal", 50), ("step", "inference", 50)]
        assert any("the front is not in the times" in note for note in result["notes"])
        assert any("heatmap differs from the float pipeline's by at most 0.02" in n for n in result["notes"])
    assert [n for n in results[-1]["notes"] if n.startswith("GPU refused it: IllegalArgument")]
    assert results[0]["device"]["runtime"] == "LiteRT 1.4.2 in an app"
    page = library.folder / "report.html"
    bench(capsys, "page", library.folder / "report.json", "-o", page)
    assert "android-app-gpu" in page.read_text()
    # A part of the way is not a verdict on a class of phones.
    assert "no phone was measured" in page.read_text()


def test_json_is_the_report(library: Library, capsys: pytest.CaptureFixture[str]) -> None:
    library.write()
    assert json.loads(library.read(capsys, "--json")) == read_report(library.folder / "report.json")


def test_an_emulator_is_called_one(library: Library, capsys: pytest.CaptureFixture[str]) -> None:
    library.write(lambda r: r.update(emulator=True))
    library.read(capsys)
    (kind,) = {r["kind"] for r in read_report(library.folder / "report.json")["results"]}
    assert kind == "android-emulator"


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s[0]["differences"].update(score=3.5),
        lambda s: s[0]["differences"].update(score=None),
        lambda s: s[0]["differences"].pop("score"),
        lambda s: s[0].update(golden="nobody"),
        lambda s: s.append(dict(s[0])),
    ],
)
def test_a_wrong_or_missing_score_fails(
    library: Library, capsys: pytest.CaptureFixture[str], change: Callable[[list[dict[str, Any]]], None]
) -> None:
    library.write(lambda r: change(r["scores"]) if "scores" in r else None)
    assert "score is off by" in library.read(capsys, expect=1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r.update(photographs=[]), "damaged"),
        (lambda r: r.pop("photographs"), "score from the photograph on is off by inf"),
        (
            lambda r: r["photographs"][0]["differences"].update(score=3.5),
            "score from the photograph on is off by 3.5",
        ),
        (lambda r: r["scores"][0].update(changed=["score"]), "score with the early exit is off by 1"),
        (lambda r: r["photographs"][0].update(changed=["mask"]), "mask with the early exit is off by 1"),
    ],
)
def test_photographs_and_the_early_exit_are_judged(
    library: Library, capsys: pytest.CaptureFixture[str], change: Change, message: str
) -> None:
    library.write(lambda r: change(r) if "scores" in r else None)
    assert message in " ".join(library.read(capsys, expect=2 if message == "damaged" else 1).split())


def test_what_was_not_measured_is_named(library: Library, capsys: pytest.CaptureFixture[str]) -> None:
    library.log.write_text("\n".join(library.lines()[:2]) + "\n")
    out = library.read(capsys, expect=1)
    assert "not measured: tflite-int8 on CPU, tflite-int8 on GPU" in out
    results = read_report(library.folder / "report.json")["results"]
    assert [r["variant"] for r in results] == ["tflite-fp32"] * 2


def _with(**changes: Any) -> Change:
    return lambda record: record.update(changes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_with(id="0" * 64), "measured another bundle"),
        (_with(id="short"), "damaged"),
        (_with(extra=1), "damaged"),
        (_with(load_ms=float("nan")), "damaged"),
        (_with(runs_ms=[float("inf")] * 50), "damaged"),
        (_with(runs_ms=[10**400] * 50), "damaged"),
        (_with(runs_ms="fast"), "damaged"),
        (_with(runs_ms=[-1.0] * 50), "damaged"),
        (_with(cores=True), "damaged"),
        (_with(device="\x1b[2J"), "damaged"),
        (_with(device="\ud800"), "damaged"),
        (_with(unit="NPU"), "damaged"),
        (lambda r: r.pop("scores", None), "damaged"),
        (lambda r: r.update(refused="no") if r["unit"] == "CPU" else None, "damaged"),
        (_with(variant="tflite-none"), "which the library has not"),
        (lambda r: r.update(runs_ms=[1.0]) if "runs_ms" in r else None, "1 runs of a variant, expected 50"),
        (lambda r: r.update(models_ms={"other": [1.0] * 50}) if "runs_ms" in r else None, "other models"),
        (lambda r: r.update(cores=len(r["variant"]) + len(r)), "several phones"),
    ],
)
def test_what_is_no_measurement_is_refused(
    library: Library, capsys: pytest.CaptureFixture[str], change: Change, message: str
) -> None:
    library.write(change)
    assert message in library.read(capsys, expect=2)
    assert not (library.folder / "report.json").exists()


@pytest.mark.parametrize("cut", [1, 40, 400])
def test_a_truncated_line_is_refused(library: Library, capsys: pytest.CaptureFixture[str], cut: int) -> None:
    whole = library.lines()
    library.log.write_text("\n".join([*whole[:-2], whole[-2][:cut]]))
    assert "damaged" in library.read(capsys, expect=2)


@pytest.mark.parametrize(
    ("content", "message"),
    [("", "holds no measurement"), ("no device\n", "holds no measurement"), ("{" * 100_000, "damaged")],
    ids=["empty", "words", "nested"],
)
def test_what_holds_nothing_says_so(
    library: Library, capsys: pytest.CaptureFixture[str], content: str, message: str
) -> None:
    library.log.write_text(content)
    assert message in library.read(capsys, expect=2)
    library.log.unlink()
    assert "holds no measurement" in library.read(capsys, expect=2)


def test_refusals_alone_are_no_measurement(library: Library, capsys: pytest.CaptureFixture[str]) -> None:
    library.log.write_text(library.lines()[-1])
    assert "holds no measurement" in library.read(capsys, expect=2)


def test_a_huge_file_is_not_read(library: Library, capsys: pytest.CaptureFixture[str]) -> None:
    with library.log.open("wb") as file:
        file.truncate((64 << 20) + 1)
    assert "larger than" in library.read(capsys, expect=2)


def test_a_library_of_other_variants_keeps_its_results(
    library: Library, capsys: pytest.CaptureFixture[str]
) -> None:
    library.write()
    before = library.log.read_text()
    out = library.read(capsys, "--variant", "tflite-int8", expect=2)
    assert "holds results of a measurement" in out
    assert library.log.read_text() == before


def test_the_kotlin_writes_the_keys_that_are_read() -> None:
    schema = json.loads((Path(measurements.__file__).parent / RECORD_SCHEMA).read_text())
    wanted = {*schema["properties"], *schema["$defs"]["scores"]["items"]["properties"]}
    assert "models_ms" in wanted
    assert set(re.findall(r'\.put\("(\w+)"', KOTLIN.read_text())) == wanted


@pytest.mark.parametrize("spec", [GRADER, EDGES], ids=lambda spec: spec.name)
def test_a_pipeline_without_a_front_is_timed_as_a_whole(
    spec: PipelineSpec, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made, folder = make_bundle(tmp_path / "made", spec), tmp_path / "library"
    bench(capsys, made, "--target", "android", "--generate", folder)
    library = Library(folder, made)
    records = [library.record(variant, "CPU") for variant in ("tflite-fp32", "tflite-fp16")]
    for record in records:
        outputs = dict.fromkeys((tensor.name for tensor in outputs_of(spec)), 0.0)
        record["scores"] = [{"golden": "one", "differences": outputs}]
        record.pop("photographs")
    library.log.write_text("\n".join(map(json.dumps, records)))
    out = library.read(capsys, expect=1)  # the GPU was not measured
    assert "tflite-fp32: under 1000 ms met on this android (p90 34.0 ms)" in " ".join(out.split())
    result = read_report(folder / "report.json")["results"][0]
    assert [(s["part"], s["name"]) for s in result["latency"]["stages"]] == [
        *(("model", stage.name) for stage in spec.stages),
        ("step", "total"),
    ]
    assert [(p["name"], p["passed"]) for p in result["parity"]] == [(spec.rating.tensor, True)]
