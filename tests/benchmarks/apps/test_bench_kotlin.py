"""The Android library is complete, the same every time, and Kotlin; it is not run here."""

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
import tree_sitter
import tree_sitter_kotlin

from mien.benchmarks.apps.android_package import APP_ASSETS, TEST_ASSETS, tflite_variants
from mien.benchmarks.model_names import SIGNATURE
from mien.mobile_reference.bundle.reader import MANIFEST, open_bundle
from tests.benchmarks.apps.test_bench_apple import bench, contents
from tests.benchmarks.pipelines import EDGES, GRADER, SENSORS, make_bundle

PARSER = tree_sitter.Parser(tree_sitter.Language(tree_sitter_kotlin.language()))
TEMPLATES = Path(__file__).parents[3] / "benchmarks" / "apps" / "kotlin"
SOURCES = sorted(file for suffix in ("*.kt", "*.kts") for file in TEMPLATES.rglob(suffix))
SPEC = TEST_ASSETS / "mien/spec.json"


def is_kotlin(source: bytes) -> bool:
    return not PARSER.parse(source).root_node.has_error


@pytest.fixture(params=[GRADER, SENSORS, EDGES], ids=lambda spec: spec.name)
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return make_bundle(tmp_path / "made", request.param)


@pytest.fixture
def library(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    folder = tmp_path / "library"
    out = bench(capsys, made, "--target", "android", "--generate", folder)
    assert "nothing was measured" in out
    return folder


def test_every_kotlin_file_of_the_library_parses(library: Path) -> None:
    written = {f.relative_to(library) for suffix in ("*.kt", "*.kts") for f in library.rglob(suffix)}
    assert written == {source.relative_to(TEMPLATES) for source in SOURCES}
    assert {f.name for f in written} >= {"Pipeline.kt", "BenchTest.kt", "build.gradle.kts"}
    for source in written:
        assert is_kotlin((library / source).read_bytes()), source


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
@pytest.mark.parametrize(("whole", "broken"), [("{", ""), ("}", ""), (")", ""), ("(", "((")])
def test_a_broken_template_is_refused(source: Path, whole: str, broken: str) -> None:
    text = source.read_text()
    assert is_kotlin(text.encode())
    assert whole in text
    # The last one: early ones may lie in a comment or a text.
    head, _, tail = text.rpartition(whole)
    assert not is_kotlin((head + broken + tail).encode())


def test_the_manifest_is_xml_and_the_script_runs(library: Path) -> None:
    assert ET.parse(library / "src/main/AndroidManifest.xml").getroot().tag == "manifest"  # noqa: S314 - ours
    assert (library / "measure.sh").stat().st_mode & 0o111


def test_the_same_bundle_gives_the_same_bytes(
    made: Path, library: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    again = tmp_path / "again"
    record = json.loads(bench(capsys, made, "--target", "android", "--generate", again, "--json"))
    assert record["measured"] is False
    assert contents(again) == contents(library)
    assert json.loads((library / SPEC).read_text())["id"] == record["id"]


def test_the_assets_are_the_bundles(made: Path, library: Path) -> None:
    opened, spec = open_bundle(made), json.loads((library / SPEC).read_text())
    assert [v["name"] for v in spec["variants"]] == ["tflite-fp32", "tflite-fp16"]
    assert spec["served"] == [stage.name for stage in opened.spec.stages]
    assets = library / APP_ASSETS / "mien"
    assert (assets / MANIFEST).read_bytes() == (made / MANIFEST).read_bytes()
    for entry in spec["variants"]:
        variant = opened.variant(entry["name"])
        assert entry["limits"] == {opened.spec.rating.tensor: variant.tolerance}
        for stage in opened.spec.stages:
            file = variant.files[stage.name]
            assert (assets / file.relative_to(opened.path)).read_bytes() == file.read_bytes()
    (golden,), (entry,) = opened.goldens, spec["goldens"]
    assert {*entry["tensors"]} == {tensor.name for tensor in opened.spec.tensors}
    for name, asset in entry["tensors"].items():
        expected = golden.read(name)
        stored = np.fromfile(library / TEST_ASSETS / "mien" / asset, expected.dtype.newbyteorder("<"))
        np.testing.assert_array_equal(stored, expected.reshape(-1))


def test_the_kotlin_reads_what_the_generator_wrote(library: Path) -> None:
    """Names that stand on both sides: keys of the spec, and its place."""
    reader = (library / "src/androidTest/kotlin/mien/pipeline/Spec.kt").read_text()
    spec = json.loads((library / SPEC).read_text())
    known = {*spec, *spec["variants"][0], *spec["goldens"][0]}
    wanted = set(re.findall(r'get(?:String|Int|Double|JSONArray|JSONObject)\("(\w+)"\)', reader))
    assert {"id", "variants", "limits", "tensors", "photograph"} <= wanted <= known
    assert f'"{SPEC.name}"' in reader
    assert f'ROOM = "{SPEC.parent.name}"' in reader
    types = (TEMPLATES / "src/main/kotlin/mien/pipeline/Manifest.kt").read_text()
    assert {"float32", "int32", "uint8"} == set(re.findall(r'"(\w+)" ->', types))


def test_the_kotlin_asks_for_the_signature_that_converters_write() -> None:
    pipeline = (TEMPLATES / "src/main/kotlin/mien/pipeline/Pipeline.kt").read_text()
    assert dict(re.findall(r'const val (\w+) = "(\w+)"', pipeline)) == {"SIGNATURE": SIGNATURE}


def test_exported_models_have_the_names_that_the_kotlin_asks_for(exported: Path) -> None:
    opened = open_bundle(exported)
    assert [one.name for one in tflite_variants(opened, ())] == ["tflite-fp32", "tflite-fp16", "tflite-int8"]


@pytest.mark.parametrize(
    ("keep", "message"),
    [("results/measurements.jsonl", "holds no measurement"), ("notes.txt", "give a new folder")],
)
def test_what_is_not_replaceable_is_left_alone(
    made: Path, library: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], keep: str, message: str
) -> None:
    folder = library if keep.startswith("results") else tmp_path / "mine"
    (folder / keep).parent.mkdir(parents=True, exist_ok=True)
    (folder / keep).write_text("mine")
    out = bench(capsys, made, "--target", "android", "--generate", folder, expect=2)
    assert message in out
    assert (folder / keep).read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--generate", "x"], "goes with --target android"),
        (["--target", "android", "--generate", "x", "--photo", "a.png"], "without --photo"),
        (["--target", "android", "--generate", "x", "--threads", "2"], "--threads was given"),
        (["--target", "android", "--generate", "x", "--variant", "no-such"], "no-such"),
        (
            ["--target", "android", "--generate", "x", "--variant", "coreml-fp16"],
            "LiteRT takes TFLite models",
        ),
    ],
)
def test_what_cannot_be_generated_is_said(
    made: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert message in bench(capsys, made, *arguments, expect=2)
    assert not Path("x").exists()
