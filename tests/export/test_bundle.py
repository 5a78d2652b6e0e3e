"""The golden path: the real converters, the real LiteRT, from the shipped checkpoint to a verified bundle."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mien.export.tflite.reach import read_reach
from mien.mobile_reference.bundle.reader import Bundle, manifest_schema, open_bundle, sha256
from mien.mobile_reference.front.photograph import read_photograph
from mien.mobile_reference.run.child import Limits, in_child
from mien.mobile_reference.run.runner import BundleRunner
from mien.mobile_reference.tflite.flatbuffer import LAYOUT_OPERATIONS, operation_names
from mien.mobile_reference.tflite.gpu import GPUModel, Placement
from mien.mobile_reference.verify.on_gpu import UNITS
from mien.mobile_reference.verify.stages import deviations
from mien.models.appraisal.appraiser import open_checkpoint
from mien.models.appraisal.pipeline import REACH
from tests.commands import run_mien
from tests.export.components import with_larger_constant
from tests.vulkan import with_swiftshader

TFLITE = ("tflite-fp32", "tflite-fp16", "tflite-int8")
COREML = ("coreml-fp32", "coreml-fp16", "coreml-int8w", "coreml-w8a8")

# What float graphs have of the operations that LiteRT's GPU delegate takes: the cases of its
# CheckGpuDelegateCompatibility (tensorflow/lite/tools/versioning/gpu_compatibility.cc). RELU_0_TO_1 has none.
_GPU_OPERATIONS = """
ADD AVERAGE_POOL_2D CAST CONCATENATION CONV_2D DEPTHWISE_CONV_2D DEQUANTIZE DIV FULLY_CONNECTED GATHER
LOGISTIC MAXIMUM MAX_POOL_2D MEAN MINIMUM MUL PAD RELU RELU6 RESHAPE RESIZE_BILINEAR SLICE SQRT SUB SUM
TRANSPOSE_CONV
"""


@pytest.fixture(scope="module")
def bundle(exported: Path) -> Bundle:
    return open_bundle(exported)


def test_has_every_variant_of_every_graph(bundle: Bundle) -> None:
    names = [variant.name for variant in bundle.variants]
    # Palettes of Core ML come after these, where parity allows.
    assert names[: len(TFLITE + COREML)] == [*TFLITE, *COREML]
    for variant in bundle.variants:
        assert set(variant.files) == {model.name for model in bundle.spec.models}
        assert all(file.exists() for file in variant.files.values())


def test_manifest_fits_its_schema_and_states_its_origin(bundle: Bundle) -> None:
    assert manifest_schema().problems(dict(bundle.manifest)) == []
    provenance = bundle.manifest["provenance"]
    assert len(provenance["checkpoint"]) == len(provenance["calibration"]["sha256"]) == 64
    assert {"torch", "onnx2tf", "ai-edge-quantizer", "coremltools"} <= provenance["versions"].keys()
    # Twelve portraits, each as it is and with three drawn anomalies; and those whose ranges are stored.
    reach = read_reach(REACH)
    assert provenance["calibration"]["inputs"] == 48 + reach.inputs
    assert len(provenance["calibration"]["images"]) == 12 + len(reach.files)
    assert set(reach.files) < set(provenance["calibration"]["images"])


def test_one_graph_models_are_small_enough_for_an_app(bundle: Bundle) -> None:
    int8 = bundle.variant("tflite-int8").files["appraisal"].stat().st_size
    assert int8 <= 4_500_000
    package = bundle.variant("coreml-fp16").files["appraisal"]
    coreml = sum(file.stat().st_size for file in package.rglob("*") if file.is_file())
    assert int8 + coreml <= 12_000_000


@pytest.mark.parametrize("variant", TFLITE)
@pytest.mark.parametrize("graph", ["heatmap", "mask", "inpaint", "compare", "rate", "appraisal"])
def test_no_operation_bridges_layouts(bundle: Bundle, graph: str, variant: str) -> None:
    """The networks themselves gather and slice channels; what a converter adds between layouts is gone."""
    model = bundle.variant(variant).files[graph].read_bytes()
    assert [name for name in operation_names(model) if name in LAYOUT_OPERATIONS] == []


@pytest.mark.parametrize("variant", ["tflite-fp32", "tflite-fp16"])
def test_no_float_operation_is_outside_the_gpu_delegates_list(bundle: Bundle, variant: str) -> None:
    """One operation that the delegate lacks leaves what lies behind it to the processor."""
    for graph, file in bundle.variant(variant).files.items():
        assert set(operation_names(file.read_bytes())) <= set(_GPU_OPERATIONS.split()), graph


@pytest.mark.parametrize("variant", ["tflite-fp32", "tflite-fp16"])
def test_the_gpu_delegate_itself_takes_every_float_operation(
    bundle: Bundle, variant: str, tmp_path: Path
) -> None:
    """Asked is its own partitioner."""
    vulkan = UNITS["gpu"].vulkan(with_swiftshader(tmp_path))

    def placements() -> dict[str, Placement]:
        vulkan.find()
        files = bundle.variant(variant).files
        return {graph: GPUModel(file).placement for graph, file in files.items()}

    placed = in_child(placements, Limits(memory=4 << 30), bundle.path)
    assert {graph: one.refused for graph, one in placed.items() if not one.is_full} == {}
    assert placed["appraisal"].operations > 600


def test_int8_weights_are_stored_in_a_byte(bundle: Bundle) -> None:
    sizes = [bundle.variant(name).files["inpaint"].stat().st_size for name in TFLITE]
    assert sizes[0] > 1.8 * sizes[1] > 1.8 * sizes[2]


@pytest.fixture(scope="module")
def verified(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    """What ``mien verify`` prints of the whole bundle, and its report."""
    report = tmp_path_factory.mktemp("verified") / "parity.json"
    done = run_mien("verify", exported, "-o", report)
    return " ".join(done.stdout.split()), json.loads(report.read_text())


def test_every_gate_holds(verified: tuple[str, dict[str, Any]]) -> None:
    _, report = verified
    assert report["passed"]
    assert {result["variant"] for result in report["results"]} >= {*TFLITE, *COREML}
    assert not [result for result in report["results"] if result["passed"] is False]


def test_stages_in_a_row_give_what_the_one_graph_gives(bundle: Bundle) -> None:
    found = list(deviations(bundle, "tflite-fp32"))
    cascade = {d.face: d for d in found if d.stage == "cascade"}
    one_graph = {d.face: d for d in found if d.stage == "appraisal"}
    assert cascade.keys() == one_graph.keys() == {golden.name for golden in bundle.goldens}
    for face, deviation in cascade.items():
        np.testing.assert_allclose(deviation.rated, one_graph[face].rated, rtol=0, atol=1e-3)


@pytest.mark.parametrize("threads", [1, 4])
def test_bundle_rates_as_the_checkpoint_does(bundle: Bundle, sample_folder: Path, threads: int) -> None:
    appraiser = BundleRunner(bundle, "tflite-fp32", threads)
    for name in ("nobody-07.jpg", "nobody-12-cleft.jpg"):
        photograph = read_photograph(sample_folder / name)
        ours = appraiser.appraise(photograph)
        float_ = open_checkpoint(None, 1).appraise(photograph)
        assert abs(ours.score - float_.score) <= 0.01
        # A hundredth of a pixel: keypoints in float32, weighted by scores in float32.
        np.testing.assert_allclose(ours.prepared.alignment, float_.prepared.alignment, atol=1e-2)
        # So a few pixels of the face differ by one level, and with them the heat.
        np.testing.assert_allclose(ours.tensors["heatmap"], float_.tensors["heatmap"], atol=1e-2)


def test_appraisals_do_not_depend_on_order_or_repetition(bundle: Bundle, sample_folder: Path) -> None:
    appraiser = BundleRunner(bundle, "tflite-int8")
    photographs = [read_photograph(file) for file in sorted(sample_folder.glob("*.jpg"))[:4]]
    forward = [appraiser.appraise(p).score for p in photographs]
    backward = [appraiser.appraise(p).score for p in reversed(photographs)]
    assert forward == backward[::-1]


def _sabotage(exported: Path, target: Path, name: str, data: bytes) -> Path:
    """Copy a bundle and put ``data`` in the place of one of its models, the hash made to fit."""
    shutil.copytree(exported, target)
    manifest = json.loads((target / "manifest.json").read_text())
    file = target / name
    file.write_bytes(data)
    manifest["files"][name] = {"bytes": file.stat().st_size, "sha256": sha256(file)}
    (target / "manifest.json").write_text(json.dumps(manifest))
    return target


_FLOAT, _INT8 = "models/tflite-fp32/appraisal.tflite", "models/tflite-int8/appraisal.tflite"


def test_a_failed_gate_exits_1_and_names_variant_and_stage(exported: Path, tmp_path: Path) -> None:
    larger = with_larger_constant((exported / _FLOAT).read_bytes())
    broken = _sabotage(exported, tmp_path / "broken", _FLOAT, larger)
    done = run_mien("verify", broken, "--variant", "tflite-fp32", expect=1)
    assert "tflite-fp32: stage appraisal" in done.stderr
    assert "FAILED" in done.stdout


def test_an_int8_model_in_the_place_of_float32_fails_by_the_mask(exported: Path, tmp_path: Path) -> None:
    # Its score errs by less than float32's may on the golden faces.
    swapped = _sabotage(exported, tmp_path / "swapped", _FLOAT, (exported / _INT8).read_bytes())
    done = run_mien("verify", swapped, "--variant", "tflite-fp32", expect=1)
    assert "tflite-fp32: stage appraisal: mask IoU" in done.stderr


def test_verify_says_what_executed_core_ml(verified: tuple[str, dict[str, Any]]) -> None:
    said, _ = verified
    assert "not validated on Apple hardware" in said
    assert "smallest of coreml that kept to a third of its tolerance at export: coreml-" in said


def test_an_appraisal_writes_what_it_says(exported: Path, sample_folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "appraisals"
    photo = sample_folder / "nobody-02-cleft.jpg"
    options = ("--bundle", exported, "--variant", "tflite-int8", "--json", "-o", output)
    done = run_mien("appraise", *options, photo)
    record = json.loads(done.stdout)
    assert record["photo"] == str(photo)
    assert record["variant"] == "tflite-int8"
    assert record["error"] is None
    assert np.array(record["alignment"]).shape == (2, 3)
    heatmap = np.load(output / "nobody-02-cleft.heatmap.npy")
    assert heatmap.dtype == np.float32
    assert heatmap.shape == (256, 256)
    for kind in ("overlay", "mask", "normalised", "panel"):
        assert (output / f"nobody-02-cleft.{kind}.png").is_file()
