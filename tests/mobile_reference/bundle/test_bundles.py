"""The bundle's reader: a whole bundle opens, and every attack ends in one line."""

import io
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest

from mien.mobile_reference.bundle.reader import open_bundle, read_vector
from mien.mobile_reference.contract import PICTURE, TensorSpec
from mien.mobile_reference.errors import BundleError, MienError, ModelError, UsageError
from mien.mobile_reference.run.models import TFLiteModel, load_model, timed
from mien.mobile_reference.verify import on_gpu
from mien.mobile_reference.verify.limits import choice_lines
from tests.mobile_reference.conftest import SIDE, SPEC

MODEL = "models/tflite-fp32/mask.tflite"


def refused(path: Path) -> str:
    with pytest.raises(BundleError) as caught:
        open_bundle(path)
    message = str(caught.value)
    assert "\n" not in message
    assert caught.value.exit_code == 2
    return message


def test_a_whole_bundle_opens(fake: Any):
    bundle = open_bundle(fake.path)
    assert bundle.name == "fake"
    assert [variant.name for variant in bundle.variants] == ["tflite-fp32", "tflite-fp16", "coreml-fp16"]
    assert bundle.spec == SPEC
    assert bundle.spec.tensors_of(bundle.spec.model("compare").inputs)[1] == TensorSpec(
        "normalised", (1, SIDE, SIDE, 3), "float32", 1, "of a test", PICTURE
    )
    assert [variant.tolerance for variant in bundle.variants] == [0.01, 0.1, 0.1]
    (golden,) = bundle.goldens
    assert golden.read_photograph().shape == (512, 512, 3)
    assert {golden.read(name).shape for name in ("mask", "heatmap")} == {(1, SIDE, SIDE, 1)}
    assert golden.read("score")[0] == pytest.approx(golden.rating)
    assert list(golden.inputs()) == ["face"]


def test_an_unknown_variant_is_refused_with_the_known_ones(fake: Any):
    with pytest.raises(UsageError, match="no variant 'int3'; it has tflite-fp32, tflite-fp16, coreml"):
        open_bundle(fake.path).variant("int3")


@pytest.mark.parametrize(
    "choice", [{"coreml": "coreml-none"}, {"tflite": "coreml-fp16"}], ids=["absent", "of another platform"]
)
def test_a_choice_that_is_not_there_is_refused(fake: Any, choice: dict[str, str]):
    fake.manifest["choice"] = choice
    fake.save()
    assert "chooses coreml-" in refused(fake.path)


def test_verify_says_what_was_chosen_and_what_was_left_out(fake: Any):
    measured = {"bytes": 10, "points": 1.25}
    fake.manifest["choice"] = {"coreml": "coreml-fp16"}
    fake.manifest["left_out"] = [
        {"name": "coreml-pal6", "tolerance": 0.5, "measured": measured},
        {"name": "coreml-pal4", "tolerance": 0.5, "measured": measured | {"points": None}},
        {"name": "tflite-int8", "tolerance": 0.5, "measured": measured | {"points": 0.0206}},
        {"name": "coreml-w8a8", "tolerance": 0.5, "measured": measured | {"points": 0.1667}},
    ]
    fake.save()
    chosen, *left_out = choice_lines(open_bundle(fake.path))
    kept = "smallest of coreml that kept to a third of its tolerance at export"
    assert chosen.startswith(f"{kept}: coreml-fp16, 0.00 MB")
    assert left_out == [
        "left out at export: coreml-pal6, it erred by 1.25, more than a third of its tolerance of 0.5",
        "left out at export: coreml-pal4, what it made was not a number",
        "left out at export: tflite-int8, another gate than the first did not hold",
        "left out at export: coreml-w8a8, it erred by 0.1667, more than a third of its tolerance of 0.5",
    ]


@pytest.mark.parametrize("make", [Path.touch, Path.mkdir, lambda path: None], ids=["file", "folder", "none"])
def test_what_is_no_bundle_is_refused(tmp_path: Path, make: Callable[[Path], None]):
    make(tmp_path / "thing")
    assert "is not a bundle: it has no manifest.json" in refused(tmp_path / "thing")


def test_a_missing_file_is_named(fake: Any):
    (fake.path / MODEL).unlink()
    assert f"lacks '{MODEL}'" in refused(fake.path)


def test_a_changed_byte_is_found_in_every_file(fake: Any):
    """In whichever file it is, of whatever kind."""
    names = list(fake.manifest["files"])
    assert len(names) == 2 * 6 + 6 + 1 + 8
    for name in names:
        file = fake.path / name
        content = file.read_bytes()
        file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        assert f"{file} is not the file that was packed" in refused(fake.path)
        file.write_bytes(content)
    assert open_bundle(fake.path).name == "fake"


def test_an_appended_byte_is_found(fake: Any):
    with (fake.path / MODEL).open("ab") as file:
        file.write(b"x")
    assert "is not the file that was packed" in refused(fake.path)


@pytest.mark.parametrize("version", [0, 1, 3, "2", None, [2], 1e300])
def test_an_unknown_version_is_named(fake: Any, version: object):
    fake.manifest["format"] = version
    fake.save()
    message = refused(fake.path)
    assert f"has format {version!r}, this mien reads 2" in message
    assert message.endswith("export again with this mien")


def _skipped(when: dict[str, Any]) -> Callable[[dict[str, Any]], object]:
    """Say of the stage inpaint when it may be left out."""
    return lambda m: m["stages"][2].update(skip_when=when)


CHANGES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "unknown key": (lambda m: m.update(surprise=1), "surprise"),
    "unknown key below": (lambda m: m["front"]["rule"].update(surprise=1), "front/rule"),
    "missing key": (lambda m: m.pop("goldens"), "goldens"),
    "true as version": (lambda m: m.update(format=True), "format"),
    "no variants": (lambda m: m.update(variants=[]), "variants"),
    "text as limit": (lambda m: m["gates"][0]["limits"].update(fp32="0.01"), "gates/0/limits/fp32"),
    "limit below zero": (lambda m: m["gates"][0]["limits"].update(fp32=-1), "gates/0/limits/fp32"),
    "limit of zero": (
        lambda m: m["gates"][0]["limits"].update(fp32=0),
        "no gate holds for variant tflite-fp32",
    ),
    "no limit": (lambda m: m["gates"][0]["limits"].pop("fp32"), "no gate holds for variant tflite-fp32"),
    "no gates": (lambda m: m.update(gates=[]), "gates"),
    "unknown metric": (lambda m: m["gates"][1].update(metric="luck"), "gates/1/metric"),
    "stage skipped for no reason": (_skipped({}), "stages/2/skip_when"),
    "stage skipped in another way": (_skipped({"below": 0.1, "outputs": {"normalised": 0}}), "skip_when"),
    "stage skipped to nothing": (_skipped({"zero": "mask", "outputs": {}}), "skip_when/outputs"),
    "stage skipped to null": (
        _skipped({"zero": "mask", "outputs": {"normalised": None}}),
        "skip_when/outputs",
    ),
    "stage skipped to true": (
        _skipped({"zero": "mask", "outputs": {"normalised": True}}),
        "skip_when/outputs",
    ),
    "stage skipped by no tensor": (
        _skipped({"zero": "smile", "outputs": {"normalised": 0}}),
        "skip_when of inpaint reads smile, which is not known before it",
    ),
    "stage skipped to a thousand tensors": (
        _skipped({"zero": "mask", "outputs": {f"t{number}": 0 for number in range(1000)}}),
        "the stage makes normalised",
    ),
    "early exit that nothing showed": (
        lambda m: m["variants"][0].update(early_exit={"inputs": 3, "left": 0}),
        "variants/0/early_exit",
    ),
    "early exit by a word": (lambda m: m["variants"][0].update(early_exit=True), "variants/0/early_exit"),
    "unknown view": (lambda m: m["views"][0].update(kind="hologram"), "views/0/kind"),
    "unknown front": (lambda m: m["front"].update(kind="crystal-ball"), "front/kind"),
    "front without its models": (lambda m: m["front"].update(models=[]), "front/models"),
    "detector of two pictures": (
        lambda m: m["front"]["models"][0].update(inputs=["picture", "face"]),
        "model detector of the front has not one input and one output",
    ),
    "picture of another size": (
        lambda m: m["front"]["rule"].update(detector_size=192),
        "picture of 192 x 192 RGB pixels",
    ),
    "face of another size": (lambda m: m["front"]["rule"].update(size=128), "face of 128 x 128 RGB pixels"),
    "face of floats": (
        lambda m: m["tensors"][2].update(dtype="float32"),
        f"face of {SIDE} x {SIDE} RGB pixels",
    ),
    "candidates of another kind": (
        lambda m: m["tensors"][1].update(shape=[1, 896, 16]),
        "the front reads rows of 17 numbers, candidates is [1, 896, 16]",
    ),
    "front of a tensor that is none": (lambda m: m["front"].update(outputs=["smile"]), "makes tensor face"),
    "text as end-to-end model": (lambda m: m.update(whole="appraisal"), "whole"),
    "end-to-end model of nothing": (lambda m: m["whole"].update(inputs=[]), "whole/inputs"),
    "unknown platform": (lambda m: m["variants"][0].update(platform="abacus"), "variants/0/platform"),
    "huge shape": (lambda m: m["tensors"][3].update(shape=[1, 1 << 40]), "tensors/3/shape"),
    "unknown type": (lambda m: m["tensors"][3].update(dtype="object"), "tensors/3/dtype"),
    "unknown layout": (lambda m: m["tensors"][3].update(layout="NCHW"), "tensors/3/layout"),
    "picture of two axes": (lambda m: m["tensors"][3].update(shape=[1, 64]), "tensor heat is laid out NHWC"),
    "name with a slash": (lambda m: m["variants"][0].update(name="../x"), "variants/0/name"),
    "short template": (lambda m: m["front"]["rule"]["template"].pop(), "front/rule/template"),
    "stage missing": (lambda m: m["stages"].pop(2), "makes tensor normalised"),
    "tensor missing": (lambda m: m["tensors"].pop(3), "nothing describes tensor heat"),
    "vector missing": (lambda m: m["goldens"][0]["vectors"].pop("heat"), "golden input someone lacks heat"),
    "rating missing": (lambda m: m["goldens"][0]["values"].pop("score"), "lacks value of score"),
    "model missing in a variant": (lambda m: m["variants"][1]["files"].pop("detector"), "tflite-fp16"),
    "model nobody described": (lambda m: m["variants"][1]["files"].update(extra=MODEL), "extra"),
    "name with a line's end": (lambda m: m["variants"][0].update(name="a\n"), "variants/0/name"),
    "tensor with a line's end": (lambda m: m["tensors"][3].update(name="heat\n"), "tensors/3/name"),
    "hash with a line's end": (lambda m: m["files"][MODEL].update(sha256="a" * 64 + "\n"), "files"),
    "template of one point": (
        lambda m: m["front"]["rule"].update(template=[[5, 5]] * 4),
        "the points of the front's template fall together",
    ),
    "tiny template": (
        lambda m: m["front"]["rule"].update(template=[[1e-200, 0], [0, 1e-200], [0, 0], [0, 0]]),
        "the points of the front's template fall together",
    ),
    "template far away": (
        lambda m: m["front"]["rule"]["template"][0].__setitem__(0, 1e308),
        "front/rule/template/0/0",
    ),
    "second look of nothing": (lambda m: m["front"]["rule"].update(second_look=1e-300), "second_look"),
    "second look at everything": (lambda m: m["front"]["rule"].update(second_look=1e5), "second_look"),
    "score of zero": (lambda m: m["front"]["rule"].update(score=0), "front/rule/score"),
    "smallest of zero": (lambda m: m["front"]["rule"].update(smallest=0), "front/rule/smallest"),
    "tensor of too many values": (
        lambda m: m["tensors"][3].update(shape=[1, 4096, 4096, 5]),
        "tensor heat has 83886080 values, at most 67108864",
    ),
    "range of one end": (lambda m: m["tensors"][7].update(range=[0]), "tensors/7/range"),
    "upper case hash": (lambda m: m["files"][MODEL].update(sha256="A" * 64), "files"),
    "negative size": (lambda m: m["files"][MODEL].update(bytes=-1), "files"),
}


@pytest.mark.parametrize("case", CHANGES)
def test_a_manifest_against_its_schema_is_refused_with_the_place(fake: Any, case: str):
    change, named = CHANGES[case]
    change(fake.manifest)
    fake.save()
    assert named in refused(fake.path)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_a_gate_that_would_judge_nothing_is_refused(fake: Any, number: str):
    text = json.dumps(fake.manifest).replace('"fp32": 0.01', f'"fp32": {number}')
    (fake.path / "manifest.json").write_text(text)
    assert "at gates/0/limits/fp32" in refused(fake.path)


@pytest.mark.parametrize(
    "change",
    [
        lambda m, big: m["gates"][0]["limits"].update(fp32=big),
        lambda m, big: m["tensors"][3].update(full_scale=big),
        lambda m, big: m["goldens"][0]["values"].update(score=big),
        lambda m, big: m["front"]["rule"].update(smallest=big),
        lambda m, big: m["front"]["rule"]["template"][0].__setitem__(0, big),
    ],
    ids=["limit", "full scale", "golden value", "smallest face", "template"],
)
def test_a_number_of_400_digits_is_refused_wherever_it_stands(fake: Any, change: Callable[..., None]):
    change(fake.manifest, 10**400)
    fake.save()
    assert "a number of 401 digits" in refused(fake.path)


@pytest.mark.parametrize(
    "change",
    [
        lambda m, text: m.update({text: 1}),
        lambda m, text: m["variants"][0].update(name=text),
        lambda m, text: m["variants"][0]["files"].update({text: MODEL}),
        lambda m, text: m["files"].update({text: {"bytes": 0, "sha256": "0" * 64}}),
        lambda m, text: m["files"].update({text: 3}),
        lambda m, text: m["goldens"][0]["vectors"].update(mask=text),
        lambda m, text: m["goldens"][0].update(source=text),
    ],
    ids=["key", "name", "model", "file", "file of no entry", "vector", "source"],
)
@pytest.mark.parametrize(
    "text", ["x" * 1_000_000, "\x1b]0;title\x07\r" + "../" * 100_000], ids=["long", "escapes"]
)
def test_a_long_or_forged_text_is_not_echoed(fake: Any, change: Callable[..., None], text: str):
    change(fake.manifest, text)
    fake.save()
    message = refused(fake.path)
    assert len(message) < 1000
    assert message.isprintable()


NOT_JSON = {
    "empty": b"",
    "text": b"no json",
    "cut": b'{"format": 2, "name": ',
    "no utf-8": b'{"format": "\xff"}',
    "deep list": b"[" * 1_000_000,
    "deep object": b'{"a":' * 200_000,
    "huge number": b'{"format": ' + b"9" * 10_000 + b"}",
    "pickle": pickle.dumps({"format": 2}),
}


@pytest.mark.parametrize("case", NOT_JSON)
def test_what_is_not_json_is_refused(fake: Any, case: str):
    (fake.path / "manifest.json").write_bytes(NOT_JSON[case])
    assert "is not JSON" in refused(fake.path)


@pytest.mark.parametrize("text", ["[]", "null", "3", '"format"', "{}"])
def test_json_that_is_no_manifest_is_refused(fake: Any, text: str):
    (fake.path / "manifest.json").write_text(text)
    assert "has format None" in refused(fake.path)


def test_a_huge_manifest_is_refused_before_it_is_read(fake: Any):
    with (fake.path / "manifest.json").open("r+b") as file:
        file.truncate((4 << 20) + 1)  # sparse: takes no space on disk
    assert "is larger than" in refused(fake.path)


LEAVING = [
    "../outside",
    "models/../../outside",
    "/etc/hostname",
    "..\\outside",
    "C:\\outside",
    "nul\0byte",
    "new\nline",
    "half\ud800pair",
    "a" * 5000,
    "",
    ".",
]


@pytest.mark.parametrize("name", LEAVING, ids=[ascii(name[:20]) for name in LEAVING])
def test_a_path_that_leaves_the_bundle_is_refused_wherever_it_stands(fake: Any, tmp_path: Path, name: str):
    (tmp_path / "outside").write_bytes(b"secret")
    pristine = json.dumps(fake.manifest)
    fake.manifest["files"][name] = {"bytes": 6, "sha256": "0" * 64}
    fake.save()
    listed = refused(fake.path)
    assert "secret" not in listed
    for change in (
        lambda m: m["variants"][0]["files"].update(mask=name),
        lambda m: m["goldens"][0].update(source=name),
        lambda m: m["goldens"][0]["vectors"].update(mask=name),
    ):
        fake.manifest = json.loads(pristine)
        change(fake.manifest)
        fake.save()
        refused(fake.path)


def test_a_link_is_refused_even_when_it_leads_to_the_right_bytes(fake: Any, tmp_path: Path):
    file = fake.path / MODEL
    file.rename(tmp_path / "moved")
    file.symlink_to(tmp_path / "moved")
    assert "is a link out of the bundle" in refused(fake.path)


def test_a_linked_folder_is_refused(fake: Any, tmp_path: Path):
    (fake.path / "models").rename(tmp_path / "moved")
    (fake.path / "models").symlink_to(tmp_path / "moved")
    assert "is a link out of the bundle" in refused(fake.path)


def test_links_in_a_circle_are_refused(fake: Any):
    (fake.path / "ring").symlink_to("ring")
    fake.manifest["files"]["ring/file"] = {"bytes": 0, "sha256": "0" * 64}
    fake.save()
    refused(fake.path)


def test_a_file_without_its_hash_is_refused(fake: Any):
    del fake.manifest["files"][MODEL]
    fake.save()
    assert f"names '{MODEL}' without its hash" in refused(fake.path)


def npy(header: str, data: bytes = b"") -> bytes:
    """A .npy file of version 1 with any header."""
    text = header.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + data


def archive() -> bytes:
    stream = io.BytesIO()
    np.savez(stream, a=np.zeros(3))
    return stream.getvalue()


def pickled() -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    return stream.getvalue()


VECTORS = {
    "empty": b"",
    "text": b"not an array",
    "pickle": pickle.dumps([1, 2, 3]),
    "pickled objects": pickled(),
    "archive": archive(),
    "no data": npy(f"{{'descr': '<f4', 'fortran_order': False, 'shape': {(1, SIDE, SIDE, 1)}, }}"),
    "huge shape": npy(f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({1 << 60},), }}"),
    "overflowing shape": npy(
        f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({1 << 40}, {1 << 40}), }}"
    ),
    "negative shape": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }", b"\0" * 64),
    "broken header": npy("{'descr': '<f4', (((((((((("),
    "header that is code": npy("__import__('os').getcwd()"),
    "long header": npy("{" + " " * 60_000 + "}"),
}


@pytest.mark.parametrize("case", VECTORS)
def test_a_vector_that_is_no_array_is_refused(fake: Any, case: str):
    fake.put("golden/someone/mask.npy", VECTORS[case])
    (golden,) = open_bundle(fake.path).goldens
    with pytest.raises(BundleError, match=r"mask\.npy is not a numpy array"):
        golden.read("mask")


@pytest.mark.parametrize(
    "array",
    [np.zeros((1, SIDE, SIDE), np.float32), np.zeros((1, SIDE, SIDE, 1)), np.float32(1)],
    ids=["dimensions", "type", "scalar"],
)
def test_a_vector_of_another_shape_or_type_is_refused(fake: Any, array: np.ndarray):
    stream = io.BytesIO()
    np.save(stream, array)
    fake.put("golden/someone/mask.npy", stream.getvalue())
    (golden,) = open_bundle(fake.path).goldens
    with pytest.raises(BundleError, match=rf"its manifest says \(1, {SIDE}, {SIDE}, 1\) of float32"):
        golden.read("mask")


def test_an_oversized_vector_is_refused_before_it_is_read(tmp_path: Path):
    with (tmp_path / "big.npy").open("wb") as file:
        file.truncate((64 << 20) + 1)
    with pytest.raises(BundleError, match="is larger than"):
        read_vector(tmp_path / "big.npy")


def test_a_model_that_litert_cannot_load_is_refused(fake: Any):
    bundle = open_bundle(fake.path)
    with pytest.raises(BundleError, match="LiteRT cannot load") as caught:
        load_model(bundle, bundle.variants[0], "mask")
    assert "\n" not in str(caught.value)
    with pytest.raises(BundleError):
        TFLiteModel(fake.path, (), (), 1)


def test_a_model_that_a_gpu_cannot_run_need_not_be_exported_again(fake: Any, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object) -> NoReturn:
        raise ModelError("LiteRT cannot load the model on the GPU: device lost")

    monkeypatch.setattr(on_gpu, "GPUModel", refuse)
    bundle = open_bundle(fake.path)
    with pytest.raises(BundleError, match="the GPU's driver or the model is at fault") as caught:
        on_gpu._watched(bundle, bundle.variants[0], "mask", on_gpu.Arithmetic.FLOAT32, [])
    assert "export the bundle again" not in str(caught.value)


def test_only_what_litert_runs_is_timed(fake: Any):
    bundle = open_bundle(fake.path)
    assert [v.name for v in bundle.variants if timed(v)] == ["tflite-fp32", "tflite-fp16"]


def test_every_error_of_the_room_is_the_users_to_mend():
    def below(kind: type[MienError]) -> list[type[MienError]]:
        return [kind, *(deeper for sub in kind.__subclasses__() for deeper in below(sub))]

    # Whatever other rooms a test run has loaded: one of theirs says by 1 that a gate failed.
    kinds = [kind for kind in below(MienError) if kind.__module__.startswith("mien.mobile_reference.")]
    assert len(kinds) >= 5
    assert {kind.exit_code for kind in kinds} == {2}
