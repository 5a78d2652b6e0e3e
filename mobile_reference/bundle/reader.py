"""The bundle: a folder with a manifest, read strictly. The format is described in docs/manifest.md."""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.mobile_reference.arrays import read_array
from mien.mobile_reference.contract import AS_IT_IS, FrontSpec, PipelineSpec, problems, read_pipeline
from mien.mobile_reference.errors import BundleError, UsageError
from mien.mobile_reference.front.alignment import AlignmentRule
from mien.mobile_reference.front.photograph import Pixels, read_photograph
from mien.mobile_reference.front.resize import RESIZE, rule_problem
from mien.mobile_reference.metrics import allowed, error_of
from mien.mobile_reference.output.json_text import parse_json
from mien.mobile_reference.output.text import nearest, shown
from mien.mobile_reference.schema import Schema

MANIFEST = "manifest.json"
FORMAT = 2
FACE_ALIGNMENT = "face-alignment"
"""The kind of front that finds a face in a photograph and frames it."""
CANDIDATE = 17
"""Numbers of one candidate for a face: score, box, six keypoints."""
DEFAULT_VARIANT = "tflite-fp32"
"""What is run where no variant is named."""
_MAX_MANIFEST_BYTES = 4 << 20
_MAX_VECTOR_BYTES = 64 << 20
_MAX_VALUES = 1 << 26
"""Of one tensor: 256 MiB of float32."""


@dataclass(frozen=True)
class Variant:
    """One precision of one platform; ``files`` are its models by name.

    ``tolerance`` is the largest loss that the pipeline's first gate allows, for most metrics its limit.
    ``early_exit`` tells whether stages may be left out: the export found the same bits without them.
    """

    name: str
    platform: str
    tolerance: float
    files: Mapping[str, Path]
    early_exit: bool = False


@dataclass(frozen=True)
class Golden:
    """An input of the float pipeline, and where its tensors of every stage lie.

    ``source`` is the file that the front is given, none where the pipeline has no front; ``front`` is what
    the front found; ``values`` are outputs of one value, by tensor.
    """

    name: str
    source: Path | None
    front: Mapping[str, Any]
    values: Mapping[str, float]
    vectors: Mapping[str, Path]
    spec: PipelineSpec

    @property
    def rating(self) -> float:
        """The float value of the tensor of the first gate, which must be of one value."""
        return self.values[self.spec.rating.tensor]

    def error(self, outputs: Mapping[str, NDArray[Any]]) -> float:
        """Return how far ``outputs`` are from the float pipeline's by the first gate."""
        name = self.spec.rating.tensor
        return error_of(self.spec, {name: self.read(name)}, outputs)

    def read_photograph(self) -> Pixels:
        """Read the source as a photograph, [H, W, 3].

        Raises:
            BundleError: the golden input has no source.
        """
        if self.source is None:
            raise BundleError(
                f"golden input {self.name} has no photograph: its pipeline has no front, or it was packed"
            )
        return read_photograph(self.source)

    def read(self, name: str) -> NDArray[Any]:
        """Read the float tensor ``name``, shaped as the manifest says.

        Raises:
            BundleError: the file is not an array, or of another shape or type than the tensor's.
        """
        array, tensor = read_vector(self.vectors[name]), self.spec.tensor(name)
        if (array.shape, array.dtype.name) != (tensor.shape, tensor.dtype):
            raise BundleError(
                f"{self.vectors[name]} has shape {array.shape} of {array.dtype.name}, its manifest says "
                f"{tensor.shape} of {tensor.dtype}; export the bundle again"
            )
        if not np.isfinite(array).all():
            # Every comparison with it would say nothing, and might be taken for "no difference".
            raise BundleError(f"{self.vectors[name]} has values that are not finite; export the bundle again")
        return array

    def inputs(self) -> dict[str, NDArray[Any]]:
        """Read the pipeline's inputs."""
        return {name: self.read(name) for name in self.spec.inputs}


@dataclass(frozen=True)
class Bundle:
    """A verified bundle: every file is there and has the hash that the manifest states.

    ``variants`` are those that are looked at, ``packed`` all that it has. ``kept`` are its golden inputs; a
    bundle that was packed for an app may have none.
    """

    path: Path
    spec: PipelineSpec
    variants: tuple[Variant, ...]
    packed: tuple[Variant, ...]
    kept: tuple[Golden, ...]
    manifest: Mapping[str, Any]

    @property
    def goldens(self) -> tuple[Golden, ...]:
        """The golden inputs, by which the bundle is judged: there is at least one.

        Raises:
            UsageError: the bundle has none, so nothing could be judged, and nothing may seem to have passed.
        """
        if not self.kept:
            raise UsageError(
                f"{self.path} has no golden inputs to judge it by; give the bundle that it was packed from, "
                "or pack it with --goldens tensors"
            )
        return self.kept

    @property
    def name(self) -> str:
        """The pipeline's name."""
        return self.spec.name

    @property
    def most_exact(self) -> Variant:
        """The float32 TFLite variant, be it looked at or not; in a bundle packed without it, the first."""
        named = (variant for variant in self.packed if variant.name == DEFAULT_VARIANT)
        return next(named, self.packed[0])

    def in_full(self) -> "Bundle":
        """Return this bundle with no variant that leaves a stage out, to judge and measure the full path."""
        full = [
            tuple(replace(one, early_exit=False) for one in each) for each in (self.variants, self.packed)
        ]
        return replace(self, variants=full[0], packed=full[1])

    def only(self, names: Sequence[str]) -> "Bundle":
        """Return this bundle with the named variants alone, in the manifest's order; without names, with all.

        Raises:
            UsageError: it has no such variant.
        """
        wanted = {self.variant(name).name for name in names}
        kept = tuple(variant for variant in self.variants if variant.name in wanted)
        return replace(self, variants=kept) if names else self

    def variant(self, name: str) -> Variant:
        """Find a variant by name."""
        for variant in self.variants:
            if variant.name == name:
                return variant
        known = [variant.name for variant in self.variants]
        meant = nearest(name, known)
        raise UsageError(f"the bundle has no variant '{name}'; it has {', '.join(known)}{meant}")


def read_vector(path: Path) -> NDArray[Any]:
    """Read a ``.npy`` file of a bundle.

    Raises:
        BundleError: the file does not hold an array of numbers, or is too large.
    """
    try:
        return read_array(path, _MAX_VECTOR_BYTES)
    except ValueError as error:
        raise BundleError(
            f"{path} is not a numpy array of numbers ({error!s:.200}); export the bundle again"
        ) from error


def open_bundle(path: Path | str) -> Bundle:
    """Read and check a bundle.

    Args:
        path: its folder.

    Returns:
        The bundle: ``spec`` is its pipeline as data, ``variants`` and ``goldens`` are those of the manifest.

    Raises:
        BundleError: the manifest is missing, of an unknown version or not as its schema says; a file is
            missing, changed, or outside the bundle.

    Example:
        >>> bundle = mien.open_bundle("bundle")
        >>> bundle.spec.inputs, bundle.variants[0].name
        (('face',), 'tflite-fp32')
    """
    path = Path(path)
    manifest = _read_manifest(path)
    spec = read_pipeline(manifest)
    for problem in chain(problems(spec), _large(spec), _front_problems(spec)):
        raise BundleError(f"{path / MANIFEST}: {problem}; export the bundle again")
    for name, entry in manifest["files"].items():
        _check_file(path, name, entry)
    _check_choice(path, manifest)
    variants = tuple(_variant(path, spec, manifest, entry) for entry in manifest["variants"])
    return Bundle(
        path=path,
        spec=spec,
        variants=variants,
        packed=variants,
        kept=tuple(_golden(path, spec, manifest, entry) for entry in manifest["goldens"]),
        manifest=manifest,
    )


def sha256(file: Path) -> str:
    """Return the hash of a file's bytes, in hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def size_of(model: Path) -> int:
    """Return the bytes of a model, which may be a folder."""
    files_ = [model] if model.is_file() else [file for file in model.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files_)


@cache
def manifest_schema() -> Schema:
    """Return the JSON Schema of manifests, which ships with mien."""
    return Schema(json.loads(Path(__file__).with_name("manifest.schema.json").read_text()))


def _read_manifest(path: Path) -> dict[str, Any]:
    file = path / MANIFEST
    if not file.is_file():
        raise BundleError(f"{path} is not a bundle: it has no {MANIFEST}; make one with 'mien export'")
    if file.stat().st_size > _MAX_MANIFEST_BYTES:
        raise BundleError(f"{file} is larger than {_MAX_MANIFEST_BYTES} bytes; export the bundle again")
    try:
        manifest = parse_json(file.read_bytes())
    except ValueError as error:
        raise BundleError(f"{file} is not JSON: {error}; export the bundle again") from error
    version = manifest.get("format") if isinstance(manifest, dict) else None
    if version != FORMAT:
        raise BundleError(
            f"{file} has format {version!r:.40}, this mien reads {FORMAT}; export again with this mien"
        )
    for problem in manifest_schema().problems(manifest):
        where, message = shown(problem.where) or "the manifest", shown(problem.message)
        raise BundleError(f"{file}: {where:.200}: {message:.200}; export the bundle again")
    result: dict[str, Any] = manifest
    return result


def _check_file(root: Path, name: str, entry: Mapping[str, Any]) -> None:
    file = inside(root, name)
    if not file.is_file():
        raise BundleError(
            f"{root} lacks {name!r:.200}, which its manifest lists; export or copy the bundle again"
        )
    size = file.stat().st_size
    if size != entry["bytes"] or sha256(file) != entry["sha256"]:
        raise BundleError(f"{file} is not the file that was packed (its hash differs); copy the bundle again")


def inside(root: Path, name: str) -> Path:
    """Resolve a manifest's path, which must stay inside the bundle and pass no symbolic link."""
    relative = PurePosixPath(name)
    file = root / relative
    if relative.is_absolute() or ".." in relative.parts or "\\" in name or not name.isprintable():
        raise BundleError(
            f"the manifest names {name!r:.200}, which leaves the bundle; do not use this bundle"
        )
    try:
        linked = file.is_symlink() or _leaves(root, file, len(relative.parts))
    except (OSError, RuntimeError) as error:  # a name too long for a file, or links in a circle
        raise BundleError(f"the manifest names {name!r:.200}, which cannot be a file here") from error
    if linked:
        raise BundleError(f"{file} is a link out of the bundle; do not use this bundle")
    return file


def _leaves(root: Path, file: Path, depth: int) -> bool:
    """Tell whether a file so deep in a folder is outside by a link; without a link on its way it is not."""
    on_its_way = list(file.parents)[: depth - 1]
    linked = any(folder.is_symlink() for folder in on_its_way)
    return linked and not file.resolve().is_relative_to(root.resolve())


def _listed(root: Path, manifest: Mapping[str, Any], name: str) -> Path:
    """Return a file that the manifest names, which must be among its hashed files (or a folder of them)."""
    files_ = manifest["files"]
    if name in files_:  # looked at when its hash was
        return root / PurePosixPath(name)
    if not any(other.startswith(name + "/") for other in files_):
        raise BundleError(f"the manifest names {name!r:.200} without its hash; export the bundle again")
    return inside(root, name)


def face_front(spec: PipelineSpec) -> FrontSpec:
    """Return a pipeline's front, which must be ``face-alignment``.

    Raises:
        UsageError: the pipeline has another front, or none.
    """
    if spec.front is None or spec.front.kind != FACE_ALIGNMENT:
        raise UsageError(
            f"pipeline {spec.name} has no front that aligns a face, so it takes no photographs; give a "
            "bundle of one that has, or judge this one with 'mien verify'"
        )
    return spec.front


def _large(spec: PipelineSpec) -> Iterator[str]:
    """Name tensors for which no phone has the memory: they are refused before anything is allocated."""
    for tensor in spec.tensors:
        if math.prod(tensor.shape) > _MAX_VALUES:
            yield f"tensor {tensor.name} has {math.prod(tensor.shape)} values, at most {_MAX_VALUES} are read"


def _front_problems(spec: PipelineSpec) -> Iterator[str]:
    """Say where the tensors of a front are not what its rule makes and reads."""
    if spec.front is None:
        return
    if spec.front.kind == RESIZE:
        tensor = spec.tensor(spec.front.outputs[0])
        shape = tensor.shape if (tensor.dtype, tensor.layout) == ("float32", AS_IT_IS) else ()
        problem = rule_problem(spec.front.rule, shape)
        yield from (problem,) if problem else ()
        return
    (model,), (face,) = spec.front.models, spec.front.outputs
    if (len(model.inputs), len(model.outputs)) != (1, 1):
        yield f"model {model.name} of the front has not one input and one output"
        return
    for name, side in ((model.inputs[0], spec.front.rule["detector_size"]), (face, spec.front.rule["size"])):
        tensor = spec.tensor(name)
        if not tensor.rgb or tensor.shape != (1, side, side, 3):
            yield f"the front makes {name} of {side} x {side} RGB pixels, which tensor {name} is not"
    if _falls_together(spec.front.rule["template"]):
        yield "the points of the front's template fall together, so no face could be turned to them"
    candidates = spec.tensor(model.outputs[0])
    if (len(candidates.shape), candidates.shape[-1:]) != (3, (CANDIDATE,)):
        yield f"the front reads rows of {CANDIDATE} numbers, {candidates.name} is {list(candidates.shape)}"


def rule_problems(rule: Mapping[str, Any]) -> Iterator[str]:
    """Say in one line each which fields of a ``face-alignment`` rule are not as the schema has them."""
    definitions = manifest_schema().definition["$defs"]
    fields = definitions["face_alignment"]["properties"]
    for name, value in rule.items():
        schema = Schema({**fields[name], "$defs": definitions})
        yield from (f"{name}: {problem.message:.200}" for problem in schema.problems(value))
    if _falls_together(rule["template"]):
        yield "the points of the template fall together, so no face could be turned to them"


def _falls_together(template: Sequence[Sequence[float]]) -> bool:
    return float(np.ptp(np.array(template, np.float64), axis=0).max()) < 1


def alignment_rule(spec: PipelineSpec) -> AlignmentRule:
    """Return the rule of a pipeline's front, which must be ``face-alignment``.

    Raises:
        UsageError: the pipeline has another front, or none.
    """
    values = face_front(spec).rule
    template = tuple((float(x), float(y)) for x, y in values["template"])
    numbers = {
        key: values[key] for key in ("size", "score", "overlap", "second_look", "smallest", "detector_size")
    }
    return AlignmentRule(template=template, sure=values.get("sure", 0.0), **numbers)


def _variant(
    root: Path, spec: PipelineSpec, manifest: Mapping[str, Any], values: Mapping[str, Any]
) -> Variant:
    name, described = values["name"], {model.name for model in spec.models}
    models = {model: _listed(root, manifest, file) for model, file in values["files"].items()}
    if models.keys() != described:
        (other, *_) = sorted(models.keys() ^ described)
        raise BundleError(
            f"{root}: variant {name} and its manifest's models differ by {other!r:.200}; "
            "export the bundle again"
        )
    tolerance = allowed(spec.rating, name)
    if not tolerance:
        raise BundleError(f"{root}: no gate holds for variant {name}; export the bundle again")
    return Variant(name, values["platform"], tolerance, models, values.get("early_exit") is not None)


def _check_choice(root: Path, manifest: Mapping[str, Any]) -> None:
    platforms = {entry["name"]: entry["platform"] for entry in manifest["variants"]}
    for platform, name in manifest.get("choice", {}).items():
        if platforms.get(name) != platform:
            raise BundleError(
                f"{root} chooses {name} for {platform}, which it lacks; export the bundle again"
            )


def _golden(root: Path, spec: PipelineSpec, manifest: Mapping[str, Any], values: Mapping[str, Any]) -> Golden:
    named = {tensor for model in spec.models for tensor in (*model.inputs, *model.outputs)}
    lacking = sorted(named - values["vectors"].keys())
    valued = spec.tensor(spec.rating.tensor).values == 1
    if lacking or (valued and spec.rating.tensor not in values["values"]):
        lacked = lacking[0] if lacking else f"value of {spec.rating.tensor}"
        raise BundleError(f"{root}: golden input {values['name']} lacks {lacked}; export the bundle again")
    source = values["source"]
    return Golden(
        name=values["name"],
        source=None if source is None else _listed(root, manifest, source),
        front=values["front"],
        values=values["values"],
        vectors={key: _listed(root, manifest, name) for key, name in values["vectors"].items()},
        spec=spec,
    )
