"""What scripts do with a bundle: run it, rate a photograph, verify it. The light install has it all."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from mien.mobile_reference.bundle.reader import Bundle, open_bundle
from mien.mobile_reference.bundle.shipped import shipped_bundle
from mien.mobile_reference.contract import PipelineSpec
from mien.mobile_reference.errors import UsageError
from mien.mobile_reference.front.photograph import Pixels, read_photograph
from mien.mobile_reference.run.runner import BundleRunner, Rating
from mien.mobile_reference.verify.stages import Verification, verify

__all__ = ["appraise", "run_bundle", "verify_bundle"]


def appraise(
    photograph: Path | str | Pixels,
    bundle: Bundle | Path | str | None = None,
    *,
    variant: str | None = None,
    threads: int = 1,
) -> Rating:
    """Rate one photograph with a bundle, as an app does.

    Args:
        photograph: a file, or its pixels: uint8 [height, width, 3], RGB, 0..255.
        bundle: a folder, or what ``open_bundle`` returned; without one, the small bundle that ships.
        variant: one of the bundle's variants; without one, float32, or the first where it has none.
        threads: of one model's run.

    Returns:
        The rating: ``score`` is the value of the first gate's tensor (for the built-in appraisal 0..100,
        100 is a typical face); ``tensors`` has every output by name, shaped as in the manifest; ``prepared``
        what the front made of the photograph.

    Raises:
        BundleError: the bundle is incomplete or was changed.
        FaceError: the photograph cannot be read, or shows no face that can be rated.
        UsageError: the bundle has no such variant, or its pipeline takes no photographs.

    Example:
        >>> rating = mien.appraise("photo.jpg", "bundle")
        >>> 0 <= rating.score <= 100
        True
    """
    pixels = read_photograph(Path(photograph)) if isinstance(photograph, str | Path) else photograph
    return BundleRunner(opened(bundle or shipped_bundle()), variant, threads).appraise(pixels)


def run_bundle(
    bundle: Bundle | Path | str,
    inputs: Mapping[str, NDArray[Any]],
    *,
    variant: str | None = None,
    threads: int = 1,
) -> dict[str, NDArray[Any]]:
    """Run a bundle's models on tensors, as an app does that has them: without the front.

    Args:
        bundle: a folder, or what ``open_bundle`` returned.
        inputs: every input of the pipeline by name, of the shape, type and layout that the manifest states.
        variant: one of the bundle's variants; without one, float32, or the first where it has none.
        threads: of one model's run.

    Returns:
        The inputs, and what the models make of them, by name.

    Raises:
        BundleError: the bundle is incomplete or was changed.
        UsageError: the bundle has no such variant, or an input is missing, unknown, or of another form.

    Example:
        >>> import numpy as np
        >>> face = np.full((1, 256, 256, 3), 127, np.uint8)
        >>> mien.run_bundle("bundle", {"face": face}, variant="tflite-int8")["mask"].shape
        (1, 256, 256, 1)
    """
    known = opened(bundle)
    _check(known.spec, inputs)
    return BundleRunner(known, variant, threads).rate(inputs)


def _check(spec: PipelineSpec, inputs: Mapping[str, NDArray[Any]]) -> None:
    """Compare inputs with what the manifest states."""
    if set(inputs) != set(spec.inputs):
        raise UsageError(
            f"the inputs are {', '.join(sorted(inputs)) or 'none'}; pipeline {spec.name} takes "
            f"{', '.join(spec.inputs)}"
        )
    for tensor in spec.tensors_of(spec.inputs):
        given = inputs[tensor.name]
        if (given.shape, given.dtype.name) != (tensor.shape, tensor.dtype):
            raise UsageError(
                f"input {tensor.name} is {list(given.shape)} of {given.dtype}, expected "
                f"{list(tensor.shape)} of {tensor.dtype}"
            )


def verify_bundle(bundle: Bundle | Path | str, *, threads: int = 1) -> Verification:
    """Judge every variant of a bundle by its golden inputs: stage by stage, in cascade, and as a whole.

    Args:
        bundle: a folder, or what ``open_bundle`` returned.
        threads: of one model's run.

    Returns:
        ``results`` with the worst of each stage of each variant, and ``failures``, those whose gate failed.

    Raises:
        BundleError: the bundle is incomplete or was changed.

    Example:
        >>> mien.verify_bundle("bundle").failures
        ()
    """
    return verify(opened(bundle), lambda _: None, threads)


def opened(bundle: Bundle | Path | str) -> Bundle:
    """Return a bundle that is given as its folder or as what ``open_bundle`` returned."""
    return bundle if isinstance(bundle, Bundle) else open_bundle(bundle)
