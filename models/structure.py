"""What is wrong with the stages of a pipeline by their names alone, before anything runs."""

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, count

from mien.mobile_reference.contract import AS_IT_IS, PICTURE, GateSpec
from mien.mobile_reference.labels import LabelMetric

from .errors import PipelineError
from .gates import FunctionGate, data_of
from .pipeline import WHOLE, Pipeline, Stage

_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_TENSOR = re.compile(r"[A-Za-z]\w{0,99}", re.ASCII)


def identifier(name: str) -> str:
    """Turn a name of a file or of a graph into one that every platform takes."""
    found = re.sub(r"\W", "_", name, flags=re.ASCII).lstrip("_")[:99]
    return found if found[:1].isalpha() else f"t_{found}"


def identifiers(names: Iterable[str]) -> list[str]:
    """Turn names of one graph into ones that every platform takes, each another: a.b and a_b are two."""
    found: list[str] = []
    for name in names:
        plain = identifier(name)
        others = (f"{plain[:90]}_{number}" for number in count(2))
        found.append(next(one for one in chain([plain], others) if one not in found))
    return found


def check_structure(pipeline: Pipeline) -> None:
    """Refuse stages that contradict each other.

    Raises:
        PipelineError: it says in one line what is wrong.
    """
    for problem in chain(_problems(pipeline.stages), _kinds(pipeline), _asked(pipeline)):
        raise PipelineError(f"pipeline {pipeline.name}: {problem}")
    if not _MODEL.fullmatch(pipeline.name):
        raise PipelineError(
            f"a pipeline is named {pipeline.name!r:.110}; use letters, digits, dots and dashes"
        )


def _problems(stages: Sequence[Stage]) -> Iterator[str]:
    if not stages:
        yield "it has no stages; give at least one"
    for stage in stages:
        yield from _names(stage)
    names = [stage.name for stage in stages]
    if WHOLE in names:
        yield f"a stage is named {WHOLE}, which is the name of the end-to-end model; give it another"
    yield from (f"two stages are named {name}" for name in sorted(names) if names.count(name) > 1)
    makers: dict[str, str] = {}
    for stage in stages:
        for name in stage.outputs:
            if name in makers:
                yield f"stages {makers[name]} and {stage.name} both make {name}; give each tensor one name"
            makers[name] = stage.name
    yield from _order(stages, makers)


def _kinds(pipeline: Pipeline) -> Iterator[str]:
    """Find what is not of the kind that it has to be."""
    if not isinstance(pipeline.metric, LabelMetric | None):
        yield f"metric is {pipeline.metric!r:.80}, expected accuracy(...), mean_iou(...) or scored_by(...)"
    gates: Sequence[object] = pipeline.gates
    for gate in gates:
        if not isinstance(gate, GateSpec | FunctionGate):
            yield (
                f"a gate is {gate!r:.80}, expected one of scalar(...), relative(...) and the like; "
                "a function goes into judged_by(tensor, function, ...)"
            )


def _asked(pipeline: Pipeline) -> Iterator[str]:
    """Find what is said of tensors that there are not, and what cannot be taken as it is said."""
    before = pipeline.front.models if pipeline.front else ()
    tensors = {name for stage in (*before, *pipeline.stages) for name in (*stage.inputs, *stage.outputs)}
    said = {
        "a gate": [gate.tensor for gate in data_of(pipeline.gates)],
        "a view": [view.tensor for view in pipeline.views],
        "the metric": [pipeline.metric.tensor] if pipeline.metric else [],
        "layout": pipeline.layout,
        "scale": pipeline.scale,
        "ranges": pipeline.ranges,
    }
    there = ", ".join(sorted(tensors))
    for what, names in said.items():
        unknown = (name for name in names if name not in tensors)
        yield from (
            f"{what} names {name}, which no stage reads or makes; there are {there}" for name in unknown
        )
    for name, scale in pipeline.scale.items():
        if not (math.isfinite(scale) and scale > 0):
            yield f"the scale of {name} is {scale}, expected a number above 0"
    for name, layout in pipeline.layout.items():
        if layout not in (PICTURE, AS_IT_IS):
            yield f"the layout of {name} is {layout!r:.40}, expected {PICTURE!r} or {AS_IT_IS!r}"


def _names(stage: Stage) -> Iterator[str]:
    if not _MODEL.fullmatch(stage.name):
        yield f"a stage is named {stage.name!r:.110}; use letters, digits, dots and dashes"
    for kind, names in (("inputs", stage.inputs), ("outputs", stage.outputs)):
        if isinstance(names, str):
            yield f'stage {stage.name} has {kind}="{names}", expected a list; write [{names!r}]'
        elif not names:
            yield f"stage {stage.name} has no {kind}"
        yield from (
            f"stage {stage.name} has a tensor named {name!r:.110}; use letters, digits and underscores"
            for name in names
            if not isinstance(name, str) or not _TENSOR.fullmatch(name)
        )


def _order(stages: Sequence[Stage], makers: dict[str, str]) -> Iterator[str]:
    """Find stages that wait for one that is not there yet, or for each other."""
    reads = {stage.name: {makers[name] for name in stage.inputs if name in makers} for stage in stages}
    done: set[str] = set()
    for stage in stages:
        late = sorted(reads[stage.name] - done)
        if late and stage.name in _behind(late[0], reads):
            yield f"stages {stage.name} and {late[0]} wait for each other; a pipeline has no cycles"
        elif late:
            yield f"stage {stage.name} reads what {late[0]} makes; list {late[0]} before it"
        done.add(stage.name)


def _behind(stage: str, reads: dict[str, set[str]]) -> set[str]:
    """Name all stages that a stage waits for."""
    found: set[str] = set()
    waiting = [stage]
    while waiting:
        for name in reads[waiting.pop()] - found:
            found.add(name)
            waiting.append(name)
    return found
