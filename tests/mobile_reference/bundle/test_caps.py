"""The reader's caps and paths: what is exactly at a cap is read, and a listed path is what it says."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mien.mobile_reference.bundle import reader
from mien.mobile_reference.bundle.reader import inside, open_bundle, read_vector, sha256, size_of
from mien.mobile_reference.errors import BundleError


def test_a_manifest_of_the_largest_size_is_read(fake: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    size = (fake.path / "manifest.json").stat().st_size
    monkeypatch.setattr(reader, "_MAX_MANIFEST_BYTES", size)
    assert open_bundle(fake.path).name == "fake"
    monkeypatch.setattr(reader, "_MAX_MANIFEST_BYTES", size - 1)
    with pytest.raises(BundleError, match=f"is larger than {size - 1} bytes"):
        open_bundle(fake.path)


def test_a_vector_of_the_largest_size_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "vector.npy"
    np.save(file, np.arange(6.0).reshape(2, 3))
    monkeypatch.setattr(reader, "_MAX_VECTOR_BYTES", file.stat().st_size)
    assert np.array_equal(read_vector(file), np.arange(6.0).reshape(2, 3))
    monkeypatch.setattr(reader, "_MAX_VECTOR_BYTES", file.stat().st_size - 1)
    with pytest.raises(BundleError, match="is larger than"):
        read_vector(file)


def test_a_vector_can_be_changed_without_its_file(tmp_path: Path) -> None:
    file = tmp_path / "vector.npy"
    np.save(file, np.zeros(3))
    read_vector(file)[:] = 1
    assert read_vector(file).tolist() == [0, 0, 0]


def test_caps_are_those_of_the_format() -> None:
    assert (reader._MAX_MANIFEST_BYTES, reader._MAX_VECTOR_BYTES) == (4 * 2**20, 64 * 2**20)


def test_a_model_is_as_large_as_all_its_files(tmp_path: Path) -> None:
    (tmp_path / "model.mlpackage" / "Data").mkdir(parents=True)
    (tmp_path / "model.mlpackage" / "Manifest.json").write_bytes(b"12345")
    (tmp_path / "model.mlpackage" / "Data" / "weights.bin").write_bytes(b"1234567")
    assert size_of(tmp_path / "model.mlpackage") == 12
    assert size_of(tmp_path / "model.mlpackage" / "Manifest.json") == 5


def test_a_hash_is_of_the_files_bytes(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"bytes")
    assert sha256(tmp_path / "file") == hashlib.sha256(b"bytes").hexdigest()


@pytest.mark.parametrize("name", ["a", "a/b.tflite", "a/..b", "a.mlpackage/Data/x y"])
def test_a_path_inside_is_taken_as_it_is(tmp_path: Path, name: str) -> None:
    assert inside(tmp_path, name) == tmp_path / name


@pytest.mark.parametrize("name", ["..", "../a", "a/../../b", "a/..", "/a", "a\\b", "a\tb"])
def test_a_path_that_could_leave_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(BundleError, match="which leaves the bundle"):
        inside(tmp_path, name)


def test_a_bundle_behind_a_link_is_read(fake: Any, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(fake.path)
    assert open_bundle(tmp_path / "link").name == "fake"


def test_a_file_that_only_begins_like_a_listed_folder_is_not_listed(fake: Any) -> None:
    (file,) = [
        name for name in fake.manifest["files"] if name.endswith("coreml-fp16/mask.mlpackage/Manifest.json")
    ]
    fake.manifest["variants"][2]["files"]["mask"] = file.removesuffix("package/Manifest.json")
    fake.save()
    with pytest.raises(BundleError, match="without its hash"):
        open_bundle(fake.path)


def test_every_model_and_vector_lies_where_the_manifest_says(fake: Any) -> None:
    bundle = open_bundle(fake.path)
    for variant, entry in zip(bundle.variants, fake.manifest["variants"], strict=True):
        assert variant.files == {graph: fake.path / file for graph, file in entry["files"].items()}
        assert (variant.name, variant.platform) == (entry["name"], entry["platform"])
        assert bundle.variant(variant.name) is variant
    (golden,), (entry,) = bundle.goldens, fake.manifest["goldens"]
    assert golden.vectors == {name: fake.path / file for name, file in entry["vectors"].items()}
    assert golden.front == entry["front"]
    assert golden.source == fake.path / entry["source"]


def _npy(header: str, data: bytes = b"", version: bytes = b"\1\0") -> bytes:
    text = header.encode().ljust(117) + b"\n"
    return b"\x93NUMPY" + version + len(text).to_bytes(2, "little") + text + data


NO_NUMBERS = {
    "void of no bytes": _npy("{'descr': '|V0', 'fortran_order': False, 'shape': (4611686018427387904,)}"),
    "truth as length": _npy("{'descr': '<f4', 'fortran_order': False, 'shape': (True, 2)}", bytes(8)),
    "objects": _npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", bytes(8)),
    "text": _npy("{'descr': '<U1', 'fortran_order': False, 'shape': (2,)}", bytes(8)),
    "records": _npy("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,)}", bytes(8)),
    "more than it holds": _npy("{'descr': '<f4', 'fortran_order': False, 'shape': (3,)}", bytes(8)),
    "less than it holds": _npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1,)}", bytes(8)),
    "petabytes": _npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1 << 50,)}", bytes(8)),
    "negative length": _npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-1, -2)}", bytes(8)),
    "version 9": _npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}", bytes(8), b"\x09\0"),
    "no header": b"\x93NUMPY\1\0",
}


@pytest.mark.parametrize("case", NO_NUMBERS)
def test_a_vector_that_is_no_array_of_numbers_is_refused_before_it_is_allocated(
    tmp_path: Path, case: str
) -> None:
    file = tmp_path / "vector.npy"
    file.write_bytes(NO_NUMBERS[case])
    with pytest.raises(BundleError, match="is not a numpy array of numbers"):
        read_vector(file)


@pytest.mark.parametrize("dtype", ["uint8", "int32", "float32", "float64"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_a_vector_is_read_as_numpy_wrote_it(tmp_path: Path, dtype: str, order: str) -> None:
    values = np.asarray(np.arange(24).reshape(2, 3, 4), dtype=dtype, order=order)  # type: ignore[call-overload]
    np.save(tmp_path / "vector.npy", values)
    read = read_vector(tmp_path / "vector.npy")
    assert read.dtype == values.dtype
    assert np.array_equal(read, values)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_golden_tensor_that_is_not_finite_judges_nothing(fake: Any, value: float) -> None:
    """NaN is in no limit, and two infinities are not alike."""
    name = "golden/someone/heat.npy"
    heat = np.load(fake.path / name)
    heat[0, 0, 0, 0] = value
    np.save(fake.path / name, heat)
    fake.put(name, (fake.path / name).read_bytes())
    (golden,) = open_bundle(fake.path).goldens
    with pytest.raises(BundleError, match="has values that are not finite"):
        golden.read("heat")
