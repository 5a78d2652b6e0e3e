"""What scripts do with a bundle: rate a photograph, verify every variant. The light install has it all."""

from pathlib import Path

from mien.mobile_reference.bundle.reader import Bundle, open_bundle
from mien.mobile_reference.front.photograph import Pixels, read_photograph
from mien.mobile_reference.run.runner import DEFAULT_VARIANT, BundleRunner, Rating
from mien.mobile_reference.verify.stages import Verification, verify

__all__ = ["appraise", "verify_bundle"]


def appraise(
    photograph: Path | str | Pixels,
    bundle: Bundle | Path | str,
    *,
    variant: str = DEFAULT_VARIANT,
    threads: int = 1,
) -> Rating:
    """Rate one photograph with a bundle, as an app does.

    Args:
        photograph: a file, or its pixels: uint8 [height, width, 3], RGB, 0..255.
        bundle: a folder, or what ``open_bundle`` returned.
        variant: one of the bundle's variants.
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
    return BundleRunner(_opened(bundle), variant, threads).appraise(pixels)


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
    return verify(_opened(bundle), lambda _: None, threads)


def _opened(bundle: Bundle | Path | str) -> Bundle:
    return bundle if isinstance(bundle, Bundle) else open_bundle(Path(bundle))
