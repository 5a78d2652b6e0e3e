"""mien: from trained PyTorch components to a verified app bundle for Android and iOS.

What an engineer scripts with. Names are imported when they are first used, so ``import mien`` is quick and
works in the light install, which has no PyTorch. What is not listed here belongs to the rooms below and may
change without notice.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mien.benchmarks.scripting import bench_bundle
    from mien.export.scripting import export_bundle
    from mien.mobile_reference.bundle.reader import open_bundle
    from mien.mobile_reference.contract import SkipSpec
    from mien.mobile_reference.scripting import appraise, run_bundle, verify_bundle
    from mien.models.appraisal.parts import appraisal
    from mien.models.gates import correlation, iou, judged_by, psnr, relative, scalar, top1
    from mien.models.label_metrics import accuracy, mean_iou, scored_by
    from mien.models.pipeline import Pipeline, Stage

    __version__: str

__all__ = [
    "Pipeline",
    "SkipSpec",
    "Stage",
    "__version__",
    "accuracy",
    "appraisal",
    "appraise",
    "bench_bundle",
    "correlation",
    "export_bundle",
    "iou",
    "judged_by",
    "mean_iou",
    "open_bundle",
    "psnr",
    "relative",
    "run_bundle",
    "scalar",
    "scored_by",
    "top1",
    "verify_bundle",
]

_HOMES = {
    "Pipeline": "mien.models.pipeline",
    "SkipSpec": "mien.mobile_reference.contract",
    "Stage": "mien.models.pipeline",
    "accuracy": "mien.models.label_metrics",
    "appraisal": "mien.models.appraisal.parts",
    "appraise": "mien.mobile_reference.scripting",
    "bench_bundle": "mien.benchmarks.scripting",
    "correlation": "mien.models.gates",
    "export_bundle": "mien.export.scripting",
    "iou": "mien.models.gates",
    "judged_by": "mien.models.gates",
    "mean_iou": "mien.models.label_metrics",
    "open_bundle": "mien.mobile_reference.bundle.reader",
    "psnr": "mien.models.gates",
    "relative": "mien.models.gates",
    "run_bundle": "mien.mobile_reference.scripting",
    "scalar": "mien.models.gates",
    "scored_by": "mien.models.label_metrics",
    "top1": "mien.models.gates",
    "verify_bundle": "mien.mobile_reference.scripting",
}
"""Where each name is defined."""


def __getattr__(name: str) -> Any:
    """Import a public name from its room, or look the version up."""
    if name == "__version__":
        from importlib.metadata import version

        return version("mien")
    if name not in _HOMES:
        raise AttributeError(f"module 'mien' has no attribute {name!r}; it has {', '.join(sorted(__all__))}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """List the public names."""
    return sorted(__all__)
