import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tests.mobile_reference.coreml.mil_packages as build
from mien.export.coreml.canonical_package import canonicalise, sorted_model
from mien.mobile_reference.coreml import Evaluator, load_package
from mien.mobile_reference.errors import PackageError

CONVERT = """
import sys
import torch
import coremltools as ct

torch.manual_seed(0)
net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.GELU()).eval()
traced = torch.jit.trace(net, torch.zeros(1, 3, 16, 16))
model = ct.convert(
    traced,
    inputs=[ct.ImageType(name="face", shape=(1, 3, 16, 16), scale=1 / 255)],
    outputs=[ct.TensorType(name="map")],
    convert_to="mlprogram",
    minimum_deployment_target=ct.target.iOS16,
    skip_model_load=True,
)
model.user_defined_metadata["b"] = "2"
model.user_defined_metadata["a"] = "1"
model.save(sys.argv[1])
"""


def tree(package):
    return {p.relative_to(package): p.read_bytes() for p in package.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def twins(tmp_path_factory):
    """One network converted in two processes, with different orders of hashing."""
    folder = tmp_path_factory.mktemp("twins")
    packages = [folder / "one.mlpackage", folder / "two.mlpackage"]
    for seed, package in enumerate(packages, start=1):
        command = [sys.executable, "-W", "ignore", "-c", CONVERT, str(package)]
        changes = {"PYTHONHASHSEED": str(seed), "OMP_NUM_THREADS": "1", "TMPDIR": str(folder)}
        subprocess.run(command, check=True, env=os.environ | changes, capture_output=True)
    return packages


def test_two_processes_give_identical_bytes(twins, tmp_path):
    copies = [Path(shutil.copytree(p, tmp_path / p.name)) for p in twins]
    assert tree(copies[0]) != tree(copies[1])  # else the test could not fail
    for package in copies:
        canonicalise(package)
    assert tree(copies[0]) == tree(copies[1])


def test_a_canonical_package_computes_the_same(twins, tmp_path):
    package = Path(shutil.copytree(twins[0], tmp_path / "copy.mlpackage"))
    canonicalise(package)
    before, after = load_package(twins[0]), load_package(package)
    face = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    np.testing.assert_array_equal(Evaluator(before)(face=face)["map"], Evaluator(after)(face=face)["map"])
    assert after.metadata.keys() == before.metadata.keys() - {"com.github.apple.coremltools.conversion_date"}


def test_coremltools_still_reads_it(twins, tmp_path):
    package = Path(shutil.copytree(twins[0], tmp_path / "copy.mlpackage"))
    canonicalise(package)
    check = (
        "import sys, torch, coremltools as ct\n"
        "model = ct.models.MLModel(sys.argv[1], skip_model_load=True)\n"
        "assert model.user_defined_metadata['a'] == '1'\n"
        "assert model.get_spec().description.input[0].name == 'face'\n"
    )
    command = [sys.executable, "-W", "ignore", "-c", check, str(package)]
    subprocess.run(command, check=True, capture_output=True)


def test_canonical_is_a_fixed_point(tmp_path):
    package = build.write(tmp_path, build.add_one())
    canonicalise(package)
    once = tree(package)
    canonicalise(package)
    assert tree(package) == once


def test_maps_are_sorted_and_repeated_fields_keep_their_order():
    entries = [build.entry(100, key, b"") for key in ("b", "a")]
    described = [build.message(*order) for order in (entries, entries[::-1])]
    models = [build.add_one(description=build.message((100, metadata))) for metadata in described]
    assert models[0] != models[1]
    assert sorted_model(models[0]) == sorted_model(models[1])


def test_identifiers_follow_the_content(tmp_path):
    names = []
    for number, opset in enumerate(("CoreML5", "CoreML6", "CoreML5")):
        package = build.write(tmp_path / str(number), build.add_one(opset=opset))
        canonicalise(package)
        names.append(json.loads((package / "Manifest.json").read_text())["rootModelIdentifier"])
    assert names[0] == names[2] != names[1]


def test_a_folder_without_a_manifest_is_refused(tmp_path):
    with pytest.raises(PackageError, match="missing"):
        canonicalise(tmp_path)
