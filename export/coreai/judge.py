"""A bundle's golden inputs through Core AI packages of its pipeline, in Apple's runtime for Linux.

Beside it stand float32 TFLite in LiteRT and the float32 Core ML package in mien's evaluator: three programs
by three makers, held to the same gates.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from mien.export.component import components
from mien.export.variants import variant_named
from mien.mobile_reference.bundle.reader import Bundle, Variant
from mien.mobile_reference.errors import UsageError
from mien.mobile_reference.report.steps import Part, counted
from mien.mobile_reference.run.models import Model, load_model
from mien.mobile_reference.verify.stages import Deviation, Verification, comparisons, verify
from mien.models.pipeline import Pipeline

from .apple import NAME, SUFFIX, Apple

_BESIDE = ("tflite-fp32", "coreml-fp32")


def make_packages(
    apple: Apple, pipeline: Pipeline, folder: Path, progress: Callable[[Part], None]
) -> Variant:
    """Make a package of every model of a pipeline in ``folder``, and return them as a variant.

    Raises:
        ConversionError: a module does not reach Core AI.
    """
    files = {}
    made = components(pipeline)
    tell = counted(progress, len(made))
    for component in made:
        tell(f"converting {component.name}")
        files[component.name] = folder / f"{component.name}{SUFFIX}"
        apple.convert(component, files[component.name])
    return Variant(NAME, NAME.partition("-")[0], variant_named("coreml-fp32").tolerance, files)


def judge(
    apple: Apple, bundle: Bundle, packages: Variant, progress: Callable[[Part], None], pipeline: Pipeline
) -> tuple[Bundle, Verification]:
    """Judge packages by every gate for float32 and every golden input of a bundle.

    Returns:
        The bundle with the variants that were judged, and what was found.

    Raises:
        CoreAIError: Apple's runtime refuses a package.
    """
    beside = tuple(one for one in bundle.variants if one.name in _BESIDE)
    judged = replace(bundle, variants=(*beside, packages)).in_full()

    def load(bundle: Bundle, variant: Variant, name: str, threads: int) -> Model:
        if variant.name != NAME:
            return load_model(bundle, variant, name, threads)
        model, spec = bundle.spec.model(name), bundle.spec
        return apple.model(variant.files[name], spec.tensors_of(model.inputs), spec.tensors_of(model.outputs))

    tell = counted(progress, comparisons(judged))

    def show(one: Deviation) -> None:
        tell(f"{one.variant}: {one.face}, {one.stage}")

    return judged, verify(judged, show, metrics=pipeline.metrics, load=load)


def check_origin(bundle: Bundle, pipeline: Pipeline, source: Path | None) -> None:
    """Refuse a pipeline that the bundle was not made from, and a bundle with nothing exact to finish by.

    Raises:
        UsageError: it is another one, or lacks tflite-fp32.
    """
    made_from = bundle.manifest["provenance"]["checkpoint"]
    if pipeline.weights != made_from:
        raise UsageError(
            f"the bundle was made from weights {made_from[:12]}, {source or 'the pipeline that ships'} has "
            f"{pipeline.weights[:12]}; give the bundle's own with --pipeline"
        )
    bundle.variant(_BESIDE[0])
