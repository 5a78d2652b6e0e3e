"""The Swift package for Apple hardware is complete, the same every time, and Swift; it is not run here."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import tree_sitter
import tree_sitter_swift

from mien.benchmarks.apps.apple_package import PAYLOAD
from mien.benchmarks.apps.generated_project import SPEC
from mien.mobile_reference.bundle.reader import MANIFEST, open_bundle
from mien.mobile_reference.commands.console import main
from mien.mobile_reference.contract import PipelineSpec
from tests.benchmarks.pipelines import EDGES, GRADER, SENSORS, make_bundle

PARSER = tree_sitter.Parser(tree_sitter.Language(tree_sitter_swift.language()))


def bench(capsys: pytest.CaptureFixture[str], *arguments: object, expect: int = 0) -> str:
    with pytest.raises(SystemExit) as end:
        main(["bench", *map(str, arguments)])
    assert (end.value.code or 0) == expect
    return "".join(capsys.readouterr())


def contents(folder: Path) -> dict[str, bytes]:
    return {f.relative_to(folder).as_posix(): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


@pytest.fixture
def package(exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    out = bench(capsys, exported, "--target", "ios", "-o", tmp_path / "package")
    assert "nothing was measured" in out
    return tmp_path / "package"


def test_every_swift_file_parses(package: Path) -> None:
    sources = sorted(package.rglob("*.swift"))
    assert {s.name for s in sources} >= {"Package.swift", "Bench.swift", "BenchTests.swift", "HostApp.swift"}
    for source in sources:
        assert not PARSER.parse(source.read_bytes()).root_node.has_error, source
    assert PARSER.parse(b"func broken( {").root_node.has_error


def test_the_same_bundle_gives_the_same_bytes(
    exported: Path, package: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = bench(capsys, exported, "--target", "ios", "-o", tmp_path / "again", "--json")
    record = json.loads(line)
    assert record["measured"] is False
    assert contents(tmp_path / "again") == contents(package)
    assert json.loads((package / PAYLOAD / SPEC).read_text())["id"] == record["id"]
    assert (package / "measure.sh").stat().st_mode & 0o111


def test_the_payload_is_the_bundles(exported: Path, package: Path) -> None:
    bundle, payload = open_bundle(exported), package / PAYLOAD
    spec = json.loads((payload / SPEC).read_text())
    assert "coreml-fp16" in {entry["name"] for entry in spec["variants"]}
    assert (payload / MANIFEST).read_bytes() == (exported / MANIFEST).read_bytes()
    for model in bundle.variant("coreml-fp16").files.values():
        assert contents(payload / model.relative_to(exported)) == contents(model)
    for golden, entry in zip(bundle.goldens, spec["goldens"], strict=True):
        assert golden.source is not None
        assert (payload / entry["photograph"]).read_bytes() == golden.source.read_bytes()
        for name, file in entry["vectors"].items():
            expected = golden.read(name)
            data = np.fromfile(payload / file, expected.dtype.newbyteorder("<"))
            if expected.dtype != np.uint8 and expected.ndim == 4:
                expected = expected.transpose(0, 3, 1, 2)
            np.testing.assert_array_equal(data, expected.reshape(-1))


def test_the_xcode_project_names_what_is_there(package: Path) -> None:
    text = (package / "Phone.xcodeproj/project.pbxproj").read_text()
    defined = re.findall(r"^\t\t([0-9A-F]{24})(?: /\*.*?\*/)? = \{", text, re.M)
    assert len(defined) == len(set(defined))
    assert set(re.findall(r"[0-9A-F]{24}", text)) == set(defined)
    assert text.count("{") == text.count("}")
    paths = re.findall(r"path = ([\w./]+); sourceTree = SOURCE_ROOT", text)
    assert all((package / path).exists() for path in paths)
    swift = {p.relative_to(package).as_posix() for p in package.rglob("*.swift")} - {"Package.swift"}
    assert swift == {path for path in paths if path.endswith(".swift")}


@pytest.mark.parametrize("keep", ["results/block-1.log", "notes.txt"])
def test_what_is_not_replaceable_is_left_alone(
    exported: Path, package: Path, capsys: pytest.CaptureFixture[str], keep: str
) -> None:
    if keep == "notes.txt":
        shutil.rmtree(package)
    else:  # results of another bundle
        (package / PAYLOAD / SPEC).write_text("{}")
    (package / keep).parent.mkdir(parents=True, exist_ok=True)
    (package / keep).write_text("mine")
    assert "give a new folder" in bench(capsys, exported, "--target", "ios", "-o", package, expect=2)
    assert (package / keep).read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--target", "macos"], "name its folder"),
        (["--target", "macos", "--runs", "5", "-o", "x"], "--runs was given"),
        (["--target", "macos", "--photo", "a.png", "-o", "x"], "--photo was given"),
        (["--target", "macos", "--variant", "tflite-int8", "-o", "x"], "takes Core ML packages"),
        (["--target", "macos", "-o", "x"], "takes Core ML packages"),
    ],
)
def test_what_cannot_be_generated_is_said(
    bundle: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert message in bench(capsys, bundle, *arguments, expect=2)
    assert not Path("x").exists()


@pytest.mark.parametrize("platform", ["macos", "ios"])
@pytest.mark.parametrize("spec", [GRADER, SENSORS, EDGES], ids=lambda spec: spec.name)
def test_any_pipeline_has_a_package(
    spec: PipelineSpec, platform: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = make_bundle(tmp_path / "made", spec)
    bench(capsys, made, "--target", platform, "-o", tmp_path / "package")
    payload = tmp_path / "package" / PAYLOAD
    described = json.loads((payload / SPEC).read_text())
    assert described["served"] == described["graphs"] == [stage.name for stage in spec.stages]
    assert described["variants"][0]["limits"].keys() == {spec.rating.tensor}
    golden = open_bundle(made).goldens[0]
    assert described["goldens"][0]["vectors"].keys() == golden.vectors.keys()
    for name, file in described["goldens"][0]["vectors"].items():
        expected = golden.read(name)
        if expected.ndim != 4:
            stored = np.fromfile(payload / file, expected.dtype.newbyteorder("<"))
            np.testing.assert_array_equal(stored, expected.reshape(-1))
    for source in (tmp_path / "package").rglob("*.swift"):
        assert not PARSER.parse(source.read_bytes()).root_node.has_error, source


def test_the_swift_reads_the_kinds_and_keys_that_are_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = make_bundle(tmp_path / "made", SENSORS)
    bench(capsys, made, "--target", "macos", "-o", tmp_path / "package")
    described = json.loads((tmp_path / "package" / PAYLOAD / SPEC).read_text())
    sources = tmp_path / "package/Sources/MienPipeline"
    assert "case image, float32, int32" in (sources / "Manifest.swift").read_text()
    declared = set(re.findall(r"public let (\w+):", (sources / "Spec.swift").read_text()))
    for record in (described["variants"][0], described["goldens"][0]):
        assert {*record} <= declared
    assert {*described} - {"format", "bundle", "manifest_sha256", "served", "graphs"} <= declared
