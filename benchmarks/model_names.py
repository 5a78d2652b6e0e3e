"""The names that a TFLite file gives its tensors, which a runtime on a phone finds them by."""

import os
from collections.abc import Iterable
from pathlib import Path

from ai_edge_litert.interpreter import Interpreter

from mien.mobile_reference.bundle.reader import Variant
from mien.mobile_reference.contract import StageSpec
from mien.mobile_reference.errors import BundleError

SIGNATURE = "serving_default"
"""What converters call a model's one signature, and the generated Kotlin asks for."""


def check_names(variant: Variant, models: Iterable[StageSpec]) -> None:
    """Check that every tensor is found by its name where the contract says that it stands.

    The reference runner takes tensors by position. What finds them by name, as phones do, must find the same
    ones: those of the file's signature, or of its tensors where it has none.

    Raises:
        BundleError: a file has other names, or has them elsewhere.
    """
    for model in models:
        file = variant.files[model.name]
        inputs, outputs = _names(file)
        for side, found, wanted in (("inputs", inputs, model.inputs), ("outputs", outputs, model.outputs)):
            if found != list(wanted):
                raise BundleError(
                    f"{file} has the {side} {', '.join(found)}, its manifest says {', '.join(wanted)}; "
                    "export the bundle again"
                )


def check_signatures(variant: Variant, models: Iterable[StageSpec]) -> None:
    """Check that every model has the signature that an app asks for by its name.

    Raises:
        BundleError: a file has none, or calls it otherwise.
    """
    for model in models:
        found = sorted(_loaded(variant.files[model.name]).get_signature_list())
        if SIGNATURE not in found:
            raise BundleError(
                f"{variant.files[model.name]} has the signatures {', '.join(found) or 'none'}, apps ask for "
                f"{SIGNATURE}; export the bundle again"
            )


def _names(file: Path) -> tuple[list[str], list[str]]:
    """Return the names of inputs and outputs in the order of the file's positions."""
    interpreter = _loaded(file)
    details = interpreter.get_input_details(), interpreter.get_output_details()
    signatures = list(interpreter.get_signature_list())
    if not signatures:
        inputs, outputs = ([str(one["name"]) for one in side] for side in details)
        return inputs, outputs
    runner = interpreter.get_signature_runner(signatures[0])
    inputs = [_name_at(runner.get_input_details(), one["index"]) for one in details[0]]
    return inputs, [_name_at(runner.get_output_details(), one["index"]) for one in details[1]]


def _loaded(file: Path) -> Interpreter:
    try:
        return Interpreter(os.fsencode(file))
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise BundleError(f"LiteRT cannot load {file}: {reason}; export the bundle again") from error


def _name_at(by_name: dict[str, dict[str, object]], index: int) -> str:
    return next((name for name, one in by_name.items() if one["index"] == index), "?")
