"""Smaller bundles of one variant and the models that it runs: what an app ships, and what mien ships."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from mien.mobile_reference.contract import PipelineSpec
from mien.mobile_reference.errors import UsageError
from mien.mobile_reference.output.folder import Kind, OutputFolder, files_of
from mien.mobile_reference.output.json_text import json_text

from .reader import MANIFEST, Bundle, Golden, Variant, size_of

GOLDENS_NONE, GOLDENS_TENSORS = "none", "tensors"
PLATFORMS: Mapping[str, str] = {"android": "tflite", "ios": "coreml"}
"""Systems of apps, and the platform whose models they run."""
BUNDLE = Kind("bundle", MANIFEST)
"""The manifest lists the files of a bundle, so that it is known what of a folder is ours."""


def chosen_variant(bundle: Bundle, system: str, name: str | None) -> Variant:
    """Find the variant that is to be shipped: the named one, or the manifest's choice for the system.

    Raises:
        UsageError: the variant is for another system, or none was named and the manifest chooses none.
    """
    platform = PLATFORMS[system]
    wanted = name or bundle.manifest.get("choice", {}).get(platform)
    names = ", ".join(one.name for one in bundle.variants if one.platform == platform)
    if not names:
        has = ", ".join(one.name for one in bundle.variants)
        raise UsageError(
            f"no variant of the bundle runs on {system}, it has {has}; give a bundle with one that does"
        )
    if wanted is None:
        raise UsageError(f"the manifest chooses no variant for {system}; name one by --variant: {names}")
    variant = bundle.variant(wanted)
    if variant.platform != platform:
        raise UsageError(f"--variant is {wanted}, which {system} cannot run; the bundle has for it: {names}")
    return variant


def served_pipeline(spec: PipelineSpec) -> PipelineSpec:
    """Return the pipeline of the models that an app runs: an end-to-end model is its only stage.

    The stages that it replaces hold the same weights again, so an app does not ship them.
    """
    front = spec.front.models if spec.front else ()
    used = {name for model in (*front, *spec.served) for name in (*model.inputs, *model.outputs)}
    kept = tuple(tensor for tensor in spec.tensors if tensor.name in used)
    return replace(spec, tensors=kept, stages=spec.served, whole=None)


def write_app_bundle(bundle: Bundle, variant: Variant, goldens: str, folder: Path) -> int:
    """Write what an app ships into a new or empty folder, whole or not at all; returns its size in bytes.

    Args:
        bundle: What was exported.
        variant: The variant that goes along.
        goldens: ``GOLDENS_TENSORS`` keeps the tensors of the golden inputs that the models read and make,
            pictures that go into a model among them; photographs are never kept. Names of golden inputs,
            which may be people's, are numbers then.
        folder: Where to.

    Raises:
        UsageError: the folder holds something.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} exists and is not an empty folder; give a new one")
    kept = bundle.goldens if goldens == GOLDENS_TENSORS else ()
    nameless = [_Kept(f"golden-{number}", golden) for number, golden in enumerate(kept, start=1)]
    with OutputFolder.at(folder, BUNDLE).staged() as part:
        _fill(bundle, variant, nameless, part)
    return size_of(folder)


def write_small_bundle(bundle: Bundle, variant: Variant, goldens: Sequence[str], folder: Path) -> int:
    """Write one variant with some golden inputs as they are, photographs and names too; returns its size.

    For pictures that may be shown to everyone. What was written here before is replaced.

    Args:
        bundle: What was exported.
        variant: The variant that goes along.
        goldens: Names of the golden inputs that go along.
        folder: Where to.

    Raises:
        UsageError: the bundle has no such golden input, or the folder holds something else.
    """
    known = {golden.name: golden for golden in bundle.goldens}
    if unknown := sorted(set(goldens) - known.keys()):
        raise UsageError(f"the bundle has no golden input {unknown[0]}; it has {', '.join(known)}")
    with OutputFolder.at(folder, BUNDLE).staged() as part:
        whole = [_Kept(name, known[name], known[name].source, known[name].front) for name in goldens]
        _fill(bundle, variant, whole, part)
    return size_of(folder)


@dataclass(frozen=True)
class _Kept:
    """What goes along of a golden input: without its source, nothing is known of what the front found."""

    name: str
    golden: Golden
    source: Path | None = None
    front: Mapping[str, Any] = field(default_factory=dict)


def _fill(bundle: Bundle, variant: Variant, goldens: Sequence[_Kept], part: Path) -> None:
    spec = served_pipeline(bundle.spec)
    (described,) = (dict(one) for one in bundle.manifest["variants"] if one["name"] == variant.name)
    if bundle.spec.whole:  # which leaves nothing out
        described.pop("early_exit", None)
    files = {model.name: described["files"][model.name] for model in spec.models}
    for file in files.values():
        _copy(bundle.path / file, part / file)
    manifest = {
        **{key: value for key, value in bundle.manifest.items() if key not in ("left_out", "agreement")},
        **spec.record(),
        "platforms": {variant.platform: bundle.manifest["platforms"][variant.platform]},
        "variants": [{**described, "files": files}],
        "choice": {variant.platform: variant.name},
        "goldens": [_golden(spec, kept, part) for kept in goldens],
        "provenance": _provenance(bundle.manifest["provenance"]),
        "files": files_of(part),
    }
    (part / MANIFEST).write_text(json_text(manifest, indent=1) + "\n")


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, copy_function=shutil.copyfile)
    else:
        shutil.copyfile(source, target)


def _golden(spec: PipelineSpec, kept: _Kept, part: Path) -> dict[str, Any]:
    """Write what is kept of a golden input, and describe it."""
    folder = f"golden/{kept.name}"
    vectors = {tensor.name: f"{folder}/{tensor.name}.npy" for tensor in spec.tensors}
    for tensor, file in vectors.items():
        (part / file).parent.mkdir(parents=True, exist_ok=True)
        np.save(part / file, kept.golden.read(tensor))
    source = f"{folder}/{kept.source.name}" if kept.source else None
    if kept.source and source:
        _copy(kept.source, part / source)
    values = {tensor: value for tensor, value in kept.golden.values.items() if tensor in vectors}
    return {
        "name": kept.name,
        "source": source,
        "front": dict(kept.front),
        "values": values,
        "vectors": vectors,
    }


def _provenance(record: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out the hashes of the calibration photographs, by which each could be recognised."""
    calibration = {key: value for key, value in record["calibration"].items() if key != "images"}
    return {**record, "calibration": calibration}
