"""What scripts do to make a bundle."""

from collections.abc import Sequence
from pathlib import Path

from mien.mobile_reference.front.resize import parse_front
from mien.models.sources import Origin

from .exporter import ExportReport, ExportRequest, make_bundle

__all__ = ["export_bundle"]


def export_bundle(
    source: Path | str | None,
    output: Path | str,
    *,
    calibration: Sequence[Path | str] = (),
    golden: Sequence[Path | str] = (),
    variants: Sequence[str] = (),
    front: str | None = None,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
) -> ExportReport:
    """Make a bundle, or leave nothing.

    A script that calls this has to do so under ``if __name__ == "__main__":``, because converters run in
    processes of their own.

    Args:
        source: a file of Python that defines a pipeline and is executed, a ``.pt2`` or ``.onnx`` file, or a
            checkpoint of the built-in appraisal; None for the one that ships with mien.
        output: the folder of the bundle.
        calibration: files and folders of inputs that give the int8 ranges; without any those that come with
            the pipeline, which only the built-in one has.
        golden: likewise of those that the bundle is verified by; without any some of ``calibration``.
        variants: names of those to make; without any all that the source reaches.
        front: how pictures become the float32 input [1, C, H, W] of a ``.pt2`` or ``.onnx`` file, such as
            ``resize:224x224``, height first; without it inputs are ``.npz`` files.
        mean: with ``front``: of values of 0..1, one number or one for each channel; the model gets
            (pixel / 255 - mean) / std.
        std: likewise.

    Returns:
        What it took: ``seconds``, ``peak_memory`` of the largest converter in bytes, and ``warnings``.

    Raises:
        UsageError: the output folder holds something that is not a bundle as an export wrote it, or
            ``front``, ``mean`` and ``std`` cannot be understood.
        ExportError: a conversion failed.
        ModelsError: the pipeline cannot be opened, or an input cannot be used.

    Example:
        >>> import numpy as np, torch
        >>> pictures = np.random.default_rng(0).random((8, 3, 16, 16), np.float32)
        >>> np.savez("inputs.npz", input=pictures)
        >>> module = torch.nn.Conv2d(3, 2, 3).eval()
        >>> torch.export.save(torch.export.export(module, (torch.tensor(pictures[:1]),)), "model.pt2")
        >>> report = mien.export_bundle(
        ...     "model.pt2",
        ...     "exported",
        ...     calibration=["inputs.npz"],
        ...     variants=["tflite-fp32"],
        ... )
        >>> mien.open_bundle("exported").variants[0].name
        'tflite-fp32'
    """
    request = ExportRequest(
        Origin(
            Path(source) if source is not None else None,
            front=parse_front(front, _as_option(mean), _as_option(std)),
        ),
        tuple(map(Path, calibration)),
        Path(output),
        golden=tuple(map(Path, golden)),
        variants=tuple(variants),
    )
    return make_bundle(request, lambda *_: None)


def _as_option(numbers: float | Sequence[float] | None) -> str | None:
    """Say numbers as the command line has them."""
    if numbers is None:
        return None
    return ",".join(repr(float(one)) for one in (numbers if isinstance(numbers, Sequence) else (numbers,)))
