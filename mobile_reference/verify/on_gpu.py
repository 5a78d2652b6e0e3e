"""A bundle's TFLite models on LiteRT's GPU delegate: what it takes, how far its shaders are from float.

The gates are those of ``stages``. Beside them stands what a gate may not see: a tensor that is all zero, a
value that is not finite, a model of which the GPU runs nothing.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.box import SIMPLE
from rich.table import Table
from rich.text import Text

from mien.mobile_reference.bundle.reader import Bundle, Variant
from mien.mobile_reference.errors import UsageError, VulkanError
from mien.mobile_reference.metrics import METRICS, Metric, allowed
from mien.mobile_reference.run.models import TFLITE, Arrays, Model, TFLiteModel
from mien.mobile_reference.run.vulkan import LAVAPIPE, SWIFTSHADER, SoftwareVulkan
from mien.mobile_reference.tflite.gpu import Arithmetic, GPUModel, Placement, has_half_floats

from .stages import Deviation, StageResult, Verification, verify

HALF_FACTOR = 3.0
"""Half floats may be this many times as far off as the variant of half-float weights."""
GPU_OR_MODEL = "the GPU's driver or the model is at fault: export again if it fails without --unit too"
"""What to do where a model cannot be run on a GPU, or the process ends."""
_STANDARD_OUTPUT, _STANDARD_ERROR = 1, 2
_HALF_WEIGHTS = "tflite-fp16"


@dataclass(frozen=True)
class Unit:
    """What runs the models instead of the CPU: a Vulkan by its folder in a cache, and an arithmetic.

    Its name is that of its set-up too.
    """

    name: str
    folder: str
    arithmetic: Arithmetic

    def vulkan(self, cache: Path) -> SoftwareVulkan:
        """Return its Vulkan in a cache folder, which need not be set up."""
        return SoftwareVulkan(cache / self.folder, self.name)

    def judged(self, bundle: Bundle, named: Sequence[str]) -> Bundle:
        """Return the bundle with what is judged on the unit: TFLite variants, on the full path.

        Where none is ``named``, of half floats the most exact one: all others compute the same in them.

        Raises:
            UsageError: none is left.
        """
        half = self.arithmetic is Arithmetic.HALF and not named
        names = [one.name for one in bundle.variants if one.platform == TFLITE]
        if not names:
            raise UsageError(
                "--unit checks TFLite variants, and none is among those asked for; leave --unit out"
            )
        return bundle.only([bundle.most_exact.name] if half else names).in_full()

    @property
    def label(self) -> str:
        """What may be said of its figures."""
        return (
            f"in {self.arithmetic.value} by LiteRT's GPU delegate on software Vulkan: its partitioner and "
            "shaders, not a phone's driver"
        )


UNITS = {
    unit.name: unit
    for unit in (
        Unit("gpu", SWIFTSHADER, Arithmetic.FLOAT32),
        Unit("gpu-half", LAVAPIPE, Arithmetic.HALF),
    )
}


@dataclass
class Placed:
    """A model on the GPU; of each output the largest value of all runs, and if all values were finite."""

    variant: str
    model: str
    placement: Placement
    largest: dict[str, float] = field(default_factory=dict)
    finite: dict[str, bool] = field(default_factory=dict)

    def watch(self, made: Arrays) -> None:
        """Note what a run made."""
        for name, values in made.items():
            numbers = values.astype(np.float64)
            self.finite[name] = self.finite.get(name, True) and bool(np.isfinite(numbers).all())
            self.largest[name] = max(self.largest.get(name, 0.0), float(np.abs(np.nan_to_num(numbers)).max()))

    def problems(self, zero_in_float: Mapping[str, bool]) -> Iterator[str]:
        """Say what no gate may see; ``zero_in_float`` tells which tensors are all zero in float too."""
        title = f"{self.variant}: model {self.model}"
        if not self.placement.on_gpu:
            yield f"{title}: the GPU runs none of its operations; {'; '.join(self.placement.refused)}"
        for name, finite in self.finite.items():
            if not finite:
                yield f"{title}: {name} has values that are not finite on the GPU"
            elif not self.largest[name] and not zero_in_float[name]:
                yield f"{title}: {name} is all zero on the GPU, and in float it is not"


@dataclass(frozen=True)
class OnGPU:
    """What ``verify_on_gpu`` found: where models run, the gates, and the problems that no gate shows."""

    unit: Unit
    placed: tuple[Placed, ...]
    verification: Verification
    zero_in_float: Mapping[str, bool]

    @property
    def problems(self) -> list[str]:
        """A line for each problem."""
        return [problem for one in self.placed for problem in self.problems_of(one)]

    def problems_of(self, placed: Placed) -> list[str]:
        """Say what is wrong with a model beside its gates."""
        return list(placed.problems(self.zero_in_float))


def verify_on_gpu(
    bundle: Bundle,
    unit: Unit,
    vulkan: SoftwareVulkan,
    progress: Callable[[Deviation], None],
    metrics: Mapping[str, Metric] = METRICS,
) -> OnGPU:
    """Judge every variant by every gate, its models on the GPU. Meant for a process of its own.

    Raises:
        VulkanError: there is no Vulkan that LiteRT can use, or it has no half floats and they are asked for.
        ModelError: LiteRT cannot load or run a model, or leaves operations to the CPU without naming them.
    """
    os.dup2(_STANDARD_ERROR, _STANDARD_OUTPUT)  # LiteRT writes to it, where the result alone belongs
    vulkan.find()
    placed: list[Placed] = []

    def load(bundle: Bundle, variant: Variant, name: str, threads: int) -> Model:
        return _watched(bundle, variant, name, unit.arithmetic, placed)

    try:
        if unit.arithmetic is Arithmetic.HALF and not has_half_floats():
            raise VulkanError("the Vulkan that is set up computes in float32 where half floats are asked for")
        found = verify(bundle, progress, metrics=metrics, load=load)
    except VulkanError as error:
        raise VulkanError(f"{error}; {vulkan.remedy}") from error
    if unit.arithmetic is Arithmetic.HALF:
        found = replace(found, results=tuple(_relaxed(result, metrics) for result in found.results))
    return OnGPU(unit, tuple(placed), found, _zero_in_float(bundle))


def _watched(
    bundle: Bundle, variant: Variant, name: str, arithmetic: Arithmetic, placed: list[Placed]
) -> Model:
    """Load a model on the GPU, and note in ``placed`` where it is and all that it makes."""
    opened: list[GPUModel] = []

    def load(file: Path, threads: int) -> GPUModel:
        opened.append(GPUModel(file, arithmetic))
        return opened[0]

    model, spec = bundle.spec.model(name), bundle.spec
    run = TFLiteModel(
        variant.files[name],
        spec.tensors_of(model.inputs),
        spec.tensors_of(model.outputs),
        1,
        load,
        GPU_OR_MODEL,
    )
    one = Placed(variant.name, name, opened[0].placement)
    placed.append(one)

    def watched(inputs: Arrays) -> dict[str, NDArray[Any]]:
        made = run(inputs)
        one.watch(made)
        return made

    return watched


def _relaxed(result: StageResult, metrics: Mapping[str, Metric]) -> StageResult:
    if result.gate is None or result.gate.metric not in metrics:
        return result
    half = allowed(result.gate, _HALF_WEIGHTS, metrics) or 0.0
    return replace(result, limit=max(result.limit, HALF_FACTOR * half))


def _zero_in_float(bundle: Bundle) -> dict[str, bool]:
    """Tell of every tensor if it is all zero in every golden input."""
    return {
        tensor.name: not any(
            golden.read(tensor.name).any() for golden in bundle.goldens if tensor.name in golden.vectors
        )
        for tensor in bundle.spec.tensors
    }


def placements_table(found: OnGPU) -> Table:
    """Show of every model how many of its operations the GPU runs, and what keeps it from others."""
    device = next((one.placement.device for one in found.placed), "no device")
    table = Table(
        title=f"operations on the GPU ({device})", title_justify="left", box=SIMPLE, padding=(0, 1, 0, 0)
    )
    for heading in ("variant", "model", "on GPU", "of", ""):
        table.add_column(heading, justify="right" if heading in ("on GPU", "of") else "left", overflow="fold")
    for one in found.placed:
        place = one.placement
        remark = "all" if place.is_full else "; ".join(place.refused)
        table.add_row(one.variant, one.model, str(place.on_gpu), str(place.operations), Text(remark))
    return table


def gpu_record(found: OnGPU) -> dict[str, Any]:
    """Describe where the models ran."""
    return {
        "unit": found.unit.name,
        "label": found.unit.label,
        "problems": found.problems,
        "models": [
            {
                "variant": one.variant,
                "model": one.model,
                "device": one.placement.device,
                "operations": one.placement.operations,
                "on_gpu": one.placement.on_gpu,
                "refused": list(one.placement.refused),
            }
            for one in found.placed
        ],
    }
