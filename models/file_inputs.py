"""The inputs of a pipeline from files: by the user's ``prepare``, or arrays by name in ``.npz`` files."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.mobile_reference.arrays import read_arrays
from mien.mobile_reference.bundle.reader import sha256 as file_hash
from mien.mobile_reference.contract import PICTURE
from mien.mobile_reference.errors import PhotographError
from mien.mobile_reference.front.photograph import read_photograph
from mien.mobile_reference.front.resize import ResizeRule
from mien.mobile_reference.labels import parsed, read_labels
from mien.mobile_reference.report.steps import Progress, Step, quietly

from .errors import InputError, PipelineError
from .label_metrics import metric_of_labels
from .pipeline import (
    LONGEST_AXIS,
    MOST_AXES,
    RUNNING,
    TYPES,
    Arrays,
    Calibration,
    Gathered,
    Golden,
    HeldOut,
    Inputs,
    LabelledInputs,
    Pipeline,
    Sample,
    Stage,
    can_be_stated,
)
from .user_file import RAISED, shortened

MOST_CALIBRATION = 128
"""Of more inputs so many are taken, evenly: each keeps the tensors of every stage."""
_MOST_GOLDEN = 8
_PICTURES = "or pictures to an export with --front resize:HxW --mean ... --std ..., "
_LARGEST = 1 << 30
"""Bytes that one ``.npz`` file unpacks to, at most."""


@dataclass(frozen=True)
class Prepared:
    """One input: a ``name`` for it, its arrays, the file that it is from, and the hashes of both."""

    name: str
    arrays: Arrays
    file: Path
    digest: str
    file_digest: str


@dataclass(frozen=True)
class FileInputs(Inputs):
    """Inputs from files and folders of them.

    ``source`` is the file that ``prepare`` stands in; ``expected`` are shapes [1, ...] as modules have them,
    where the source says them. A file that cannot be read stops all, or is left out if ``skip`` says so.
    With ``front`` the files are pictures, which it makes the one expected tensor of.
    """

    source: Path | None = None
    expected: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    skip: bool = False
    front: ResizeRule | None = None

    def gather(
        self,
        pipeline: Pipeline,
        calibration: Sequence[Path],
        golden: Sequence[Path],
        progress: Progress = quietly,
    ) -> Gathered:
        """Prepare all inputs, find shapes and spans by them, and run the float pipeline on each.

        Raises:
            InputError: an input cannot be prepared, or gives another shape than the first.
            PipelineError: a stage fails, is random, or makes what is not a number.
        """
        if not calibration:
            raise InputError(
                f"pipeline {pipeline.name} comes with no inputs; give a folder of them with --calibration"
            )
        left_out: list[str] = []
        ranged = self._prepared(pipeline, calibration, left_out)
        judged, ranged = (self._prepared(pipeline, golden, left_out), ranged) if golden else _split(ranged)
        _check_disjoint(ranged, judged)
        warnings = [f"left out {reason}" for reason in left_out]
        if len(ranged) > MOST_CALIBRATION:
            warnings.append(f"took {MOST_CALIBRATION} of {len(ranged)} calibration inputs, evenly")
            ranged = [ranged[place * len(ranged) // MOST_CALIBRATION] for place in range(MOST_CALIBRATION)]
        pipeline = self._opened(pipeline, ranged[0])
        _check_repeats(pipeline, judged[0])
        step = Step(RUNNING, len(ranged) + len(judged), progress)
        samples = tuple(_sample(pipeline, one) for one in step.over(ranged))
        goldens = tuple(Golden(_sample(pipeline, one), None, {}) for one in step.over(judged))
        pipeline = with_spans(pipeline, samples)
        files = tuple(sorted({one.file_digest for one in ranged}))
        return Gathered(pipeline, Calibration(samples, files, tuple(warnings)), goldens)

    def judging(self, pipeline: Pipeline, goldens: Sequence[Golden], progress: Progress) -> Sequence[Sample]:
        """Take the golden inputs as they are."""
        return [golden.sample for golden in goldens]

    def held_out(self, pipeline: Pipeline, folder: Path) -> HeldOut:
        """Prepare the inputs of a folder."""
        left_out: list[str] = []
        prepared = self._prepared(pipeline, (folder,), left_out)
        settled = self._opened(pipeline, prepared[0])
        files = tuple(one.file_digest for one in prepared)

        def samples(share: slice) -> Iterator[Sample]:
            return (_sample(settled, one) for one in prepared[share])

        return HeldOut(pipeline.weights, len(prepared), files, tuple(left_out), samples)

    def labelled(self, pipeline: Pipeline, file: Path) -> LabelledInputs:
        """Prepare the inputs that a CSV file labels, as ``mobile_reference.labels`` reads it.

        Raises:
            InputError: the pipeline has no metric, or a file cannot be prepared or holds several inputs.
            UsageError: the file or a label cannot be used.
        """
        if pipeline.metric is None and self.source is not None:
            raise InputError(
                f"pipeline {pipeline.name} says nothing of labels; give Pipeline(metric=mien.accuracy(...)), "
                "or mean_iou or scored_by, in a file of Python"
            )
        rows = read_labels(file)
        settled = self._opened(pipeline, self._single(pipeline, rows[0].file))
        outputs = [settled.spec.tensor(name) for name in settled.stages[-1].outputs]
        metric = pipeline.metric or metric_of_labels(file, rows, outputs)
        labels = parsed(rows, file, metric, settled.spec.tensor(metric.tensor))

        def samples() -> Iterator[Sample]:
            return (_sample(settled, self._single(pipeline, row.file)) for row in rows)

        return LabelledInputs(metric, labels, tuple(file_hash(row.file) for row in rows), samples)

    def _single(self, pipeline: Pipeline, file: Path) -> Prepared:
        """Prepare a file that holds one input."""
        prepared = self._prepared(pipeline, (file,), [])
        if len(prepared) != 1:
            raise InputError(f"{file} holds {len(prepared)} inputs, and has one label; give a file for each")
        return prepared[0]

    def _opened(self, pipeline: Pipeline, first: Prepared) -> Pipeline:
        """Give the pipeline its first input, by which it finds shapes."""
        layout = dict(pipeline.layout)
        for name, shape in self.expected.items():
            given = first.arrays[name].shape
            if given != shape and len(given) == 4:
                layout[name] = PICTURE
        return replace(pipeline, example=first.arrays, layout=layout)

    def _prepared(self, pipeline: Pipeline, given: Sequence[Path], left_out: list[str]) -> list[Prepared]:
        """Prepare every file; those that cannot be are named, in ``left_out`` if they may be skipped."""
        found: list[Prepared] = []
        names: set[str] = set()
        for file in _files(given):
            try:
                for arrays in self._arrays(pipeline, file):
                    _check_arrays(pipeline, file, arrays, found)
                    found.append(_prepared(file, arrays, names))
            except InputError as error:
                if not self.skip:
                    raise
                left_out.append(str(error))
        if not found:
            raise InputError(f"none of the files under {given[0]} can be used; the first: {left_out[0]}")
        return found

    def _arrays(self, pipeline: Pipeline, file: Path) -> Iterable[Arrays]:
        if pipeline.prepare is not None:
            return [_by_prepare(pipeline, self.source or file, file)]
        if self.front is not None:
            (name,) = self.expected
            return [{name: _by_front(self.front, file)}]
        if file.suffix == ".npz":
            return map(self._as_pictures, self._split_batch(file, _narrowed(file, read_inputs(file))))
        wanted = ", ".join(
            f"{name} {list(self.expected[name])}" if name in self.expected else name
            for name in pipeline_inputs(pipeline.stages)
        )
        raise InputError(
            f"{file} is not an .npz file, and nothing says how it becomes the inputs {wanted}; give .npz "
            f"files of these names, {_PICTURES if self.expected else ''}or a file of Python whose pipeline "
            "has prepare"
        )

    def _as_pictures(self, arrays: Arrays) -> Arrays:
        """Give pixels channels last, as an app has them, which come channels second, as a module has them."""
        return {
            name: np.moveaxis(array, 1, 3) if _channels_second(array, self.expected.get(name, ())) else array
            for name, array in arrays.items()
        }

    def _split_batch(self, file: Path, arrays: Arrays) -> Iterable[Arrays]:
        """Yield single inputs of arrays [N, ...] where the model takes [1, ...]."""
        lengths = {len(array) if array.ndim else 0 for array in arrays.values()}
        single = self.expected and all(shape[:1] == (1,) for shape in self.expected.values())
        if not single or lengths == {1}:
            yield arrays
            return
        if len(lengths) != 1 or 0 in lengths:
            raise InputError(
                f"{file}: arrays have {sorted(lengths)} inputs along their first axis; give as many of each"
            )
        for place in range(lengths.pop()):
            yield {name: array[place : place + 1].copy() for name, array in arrays.items()}


def _narrowed(file: Path, arrays: Arrays) -> Arrays:
    """Give whole numbers, which numpy has 64 bits for, the 32 that apps have for them."""
    return {name: _as_int32(file, name, array) for name, array in arrays.items()}


def _as_int32(file: Path, name: str, array: NDArray[Any]) -> NDArray[Any]:
    if array.dtype != np.int64:
        return array
    narrow = array.astype(np.int32)
    if not np.array_equal(narrow, array):
        raise InputError(
            f"{file} gives {name} of int64 with values from {array.min()} to {array.max()}, which int32 does "
            "not hold; an app gives int32"
        )
    return narrow


def _channels_second(array: NDArray[Any], expected: tuple[int, ...]) -> bool:
    """Tell whether pixels have the ``expected`` axes of a module [1, C, H, W], and no other reading."""
    if array.dtype != np.uint8 or array.ndim != 4 or array.shape != expected:
        return False
    return array.shape != tuple(expected[axis] for axis in (0, 2, 3, 1))


def pipeline_inputs(stages: Sequence[Stage]) -> tuple[str, ...]:
    """Name what no stage makes."""
    made = {name for stage in stages for name in stage.outputs}
    return tuple(dict.fromkeys(name for stage in stages for name in stage.inputs if name not in made))


def with_spans(pipeline: Pipeline, samples: Sequence[Sample]) -> Pipeline:
    """Give tensors without a scale the span of their values over samples.

    Raises:
        PipelineError: a tensor that is gated has one value in all of them, so no error could be judged by it.
    """
    gated = {gate.tensor for gate in pipeline.spec.gates}
    scale = dict(pipeline.scale)
    for tensor in pipeline.spec.tensors:
        if tensor.name in scale:
            continue
        values = [sample.tensors[tensor.name] for sample in samples]
        span = max(float(v.max()) for v in values) - min(float(v.min()) for v in values)
        if not span and tensor.name in gated:
            raise PipelineError(
                f"{tensor.name} has the same value for all {len(samples)} calibration inputs, so its errors "
                f"have no scale; give more inputs, or Pipeline(scale={{'{tensor.name}': ...}})"
            )
        scale[tensor.name] = span or 1.0
    tensors = tuple(replace(tensor, full_scale=scale[tensor.name]) for tensor in pipeline.spec.tensors)
    return replace(pipeline, scale=scale, known=replace(pipeline.spec, tensors=tensors))


def read_inputs(file: Path) -> Arrays:
    """Read the named arrays of a ``.npz`` file, unpickling nothing.

    Raises:
        InputError: it is not such a file, holds objects, or unpacks to too much.
    """
    try:
        return read_arrays(file, _LARGEST)
    except ValueError as error:
        raise InputError(
            f"{file} is not an .npz file of arrays ({error!s:.200}); write it with numpy.savez"
        ) from error


def _files(given: Sequence[Path]) -> list[Path]:
    found: list[Path] = []
    for path in given:
        if not path.exists():
            raise InputError(f"{path} does not exist; give a folder of inputs, or a file")
        if path.is_file():
            found.append(path)
            continue
        inside = sorted(p for p in path.iterdir() if p.is_file() and not p.name.startswith("."))
        found += inside
        if not inside:
            raise InputError(f"{path} holds no file; give a folder of inputs")
    return found


def _by_prepare(pipeline: Pipeline, source: Path, file: Path) -> Arrays:
    assert pipeline.prepare is not None  # noqa: S101
    try:
        arrays = pipeline.prepare(file)
    except RAISED as error:
        raise InputError(
            f"prepare cannot read {file}: {shortened(source, error)}; take it out of what is given, or "
            "export with --skip-unreadable"
        ) from error
    if not isinstance(arrays, Mapping) or not all(isinstance(a, np.ndarray) for a in arrays.values()):
        kinds = {k: type(a).__name__ for k, a in arrays.items()} if isinstance(arrays, Mapping) else arrays
        raise InputError(f"prepare made {kinds!r:.200} of {file}, expected numpy arrays by name")
    return _narrowed(file, arrays)


def _by_front(rule: ResizeRule, file: Path) -> NDArray[np.float32]:
    try:
        return rule.tensor(read_photograph(file))
    except PhotographError as error:
        raise InputError(str(error)) from error


def _check_arrays(pipeline: Pipeline, file: Path, arrays: Arrays, before: Sequence[Prepared]) -> None:
    wanted = pipeline_inputs(pipeline.stages)
    for name in sorted(set(wanted) ^ arrays.keys()):
        if name in wanted:
            reader = next(stage.name for stage in pipeline.stages if name in stage.inputs)
            raise InputError(
                f"stage {reader} reads {name}, which no stage makes and {file} does not give "
                f"(it gives {', '.join(sorted(arrays)) or 'nothing'})"
            )
        raise InputError(
            f"{file} gives {name}, which is not an input of the pipeline; it has {', '.join(wanted)}"
        )
    for name, array in arrays.items():
        _check_array(file, name, array)
        first = before[0].arrays[name] if before else array
        if (array.shape, array.dtype) != (first.shape, first.dtype):
            raise InputError(
                f"{file} gives {name} of shape {list(array.shape)} of {array.dtype}, {before[0].file.name} "
                f"gave {list(first.shape)} of {first.dtype}; an app's model has one shape: resize all alike"
            )


def _check_array(file: Path, name: str, array: NDArray[Any]) -> None:
    if array.dtype.name not in TYPES:
        raise InputError(
            f"{file} gives {name} of {array.dtype}, expected {', '.join(TYPES)}; convert it with .astype"
        )
    if not can_be_stated(array.shape):
        raise InputError(
            f"{file} gives {name} of shape {list(array.shape)}, expected one to {MOST_AXES} axes of 1 to "
            f"{LONGEST_AXIS}"
        )
    if array.dtype == np.float32 and not np.isfinite(array).all():
        raise InputError(f"{file} gives {name} with values that are not finite; leave the file out")


def _prepared(file: Path, arrays: Arrays, names: set[str]) -> Prepared:
    stem = re.sub(r"[^A-Za-z0-9._-]", "-", file.stem).lstrip("._-")[:80] or "input"
    name = stem
    while name in names:
        name = f"{stem}-{len(names)}"
    names.add(name)
    state = sha256()
    for key in sorted(arrays):
        state.update(f"{key} {arrays[key].shape} {arrays[key].dtype}\n".encode())
        state.update(np.ascontiguousarray(arrays[key]).tobytes())
    # Copies: what Pillow gives cannot be written to, which PyTorch does not like.
    own = {key: np.array(array, order="C") for key, array in arrays.items()}
    return Prepared(name, own, file, state.hexdigest(), file_hash(file))


def _split(prepared: Sequence[Prepared]) -> tuple[list[Prepared], list[Prepared]]:
    """Hold a fourth of the inputs out as golden ones, evenly, and return them and the rest."""
    distinct = list({one.digest: one for one in prepared}.values())
    if len(distinct) < 2:
        raise InputError(
            f"{prepared[0].file} alone cannot give ranges and judge them; give two or more, or --golden"
        )
    count = max(1, min(_MOST_GOLDEN, len(distinct) // 4))
    chosen = {place * len(distinct) // count for place in range(count)}
    golden = [one for place, one in enumerate(distinct) if place in chosen]
    return golden, [one for place, one in enumerate(distinct) if place not in chosen]


def _check_disjoint(ranged: Sequence[Prepared], judged: Sequence[Prepared]) -> None:
    seen = {one.digest: one for one in ranged}
    for one in judged:
        same = seen.get(one.digest)
        if same is not None:
            raise InputError(
                f"the golden input {one.file} is the same as the calibration input {same.file}; give others"
            )


def _sample(pipeline: Pipeline, one: Prepared) -> Sample:
    tensors = pipeline.run(one.arrays)
    for name, value in tensors.items():
        if not np.isfinite(value).all():
            maker = pipeline.spec.maker(name)
            raise PipelineError(
                f"stage {maker} makes {name} with values that are not finite for {one.file}; mend it, "
                "or leave the file out"
            )
    return Sample(one.name, tensors)


def _check_repeats(pipeline: Pipeline, one: Prepared) -> None:
    """Refuse a pipeline that makes something else of the same input."""
    first, second = pipeline.run(one.arrays), pipeline.run(one.arrays)
    for name, value in first.items():
        if not np.array_equal(value, second[name], equal_nan=value.dtype == np.float32):
            maker = pipeline.spec.maker(name)
            raise PipelineError(
                f"stage {maker} makes another {name} of the same input each time; take out what is random"
            )
