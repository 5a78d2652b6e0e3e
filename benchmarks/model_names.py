"""The names that a TFLite file gives its tensors, which a runtime on a phone finds them by."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mien.mobile_reference.bundle.reader import Variant
from mien.mobile_reference.contract import StageSpec
from mien.mobile_reference.errors import BundleError, ModelError
from mien.mobile_reference.run.child import Limits, each_in_child
from mien.mobile_reference.tflite.litert import LiteRTModel

SIGNATURE = "serving_default"
"""What converters call a model's one signature, and the generated Kotlin asks for."""


def check_names(variant: Variant, models: Iterable[StageSpec], signature: str | None = None) -> None:
    """Check that every tensor is found by its name where the contract says that it stands.

    The reference runner takes tensors by position. What finds them by name, as phones do, must find the same
    ones: those of the file's signature, or of its tensors where it has none. Apps ask for a ``signature`` by
    its name, which every model must have then.

    Raises:
        BundleError: a file has other names, has them elsewhere, or lacks the signature.
    """
    files = [(model, variant.files[model.name]) for model in models]
    for (model, file), told in zip(files, _told([file for _, file in files]), strict=True):
        inputs, outputs = told.names
        for side, found, wanted in (("inputs", inputs, model.inputs), ("outputs", outputs, model.outputs)):
            if found != list(wanted):
                raise BundleError(
                    f"{file} has the {side} {', '.join(found)}, its manifest says {', '.join(wanted)}; "
                    "export the bundle again"
                )
        if signature is not None and signature not in told.signatures:
            raise BundleError(
                f"{file} has the signatures {', '.join(sorted(told.signatures)) or 'none'}, apps ask for "
                f"{signature}; export the bundle again"
            )


@dataclass(frozen=True)
class _Told:
    """What a file says of itself: ``names`` of its inputs and outputs, and of its ``signatures``."""

    names: tuple[list[str], list[str]]
    signatures: tuple[str, ...]


def _told(files: Sequence[Path]) -> list[_Told]:
    """Read files in a process of their own: LiteRT may die of what is damaged.

    Raises:
        BundleError: one cannot be loaded.
        ChildError: the process died.
    """

    def read(file: Path) -> _Told:
        model = LiteRTModel(file)
        return _Told(model.names, model.signatures)

    try:
        return each_in_child(read, files, Limits())
    except ModelError as error:
        raise BundleError(f"{error}; export the bundle again") from error
