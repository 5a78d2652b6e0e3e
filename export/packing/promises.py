"""Which of the variants that were made keep what their names promise.

A variant that computes what a milder one computes is not packed under a name that promises more, and one of
which a model is missing is not packed at all. Judged is what an app runs: the end-to-end model, or else all
stages.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path

from mien.export.variants import COREML_INT8, TFLITE, TFLITE_DYNAMIC, TFLITE_INT8, VARIANTS, VariantSpec
from mien.mobile_reference.contract import PipelineSpec
from mien.mobile_reference.coreml import load_package
from mien.mobile_reference.coreml.products import share_compressed, share_int8
from mien.mobile_reference.coreml.program import Function
from mien.mobile_reference.tflite.model_file import read_tflite

from .variant_selection import model_of


def broken_promises(folder: Path, spec: PipelineSpec, names: Sequence[str]) -> dict[str, str]:
    """Say which of the variants ``names`` under ``folder`` must not be packed, and why.

    Palettes are made later; ``lacks`` tells of one of them.
    """
    found: dict[str, str] = {}
    seen: dict[tuple[bytes, ...], str] = {}
    for variant in VARIANTS:
        if variant.bits is None and variant.name in names:
            for reason in _reasons(folder, variant, spec, seen):
                found.setdefault(variant.name, f"{variant.name} is left out: {reason}")
    return found


def is_complete(folder: Path, variant: str, spec: PipelineSpec) -> bool:
    """Tell whether a variant has every model."""
    return all(model_of(folder, variant, model.name).exists() for model in spec.models)


def share_of_int8(folder: Path, spec: PipelineSpec, variant: VariantSpec) -> float:
    """Return the share of multiplications of what an app runs that are of int8; 0 without any."""
    if variant.platform != TFLITE:
        return share_int8(_functions(folder, spec, variant))
    files = [read_tflite(model_of(folder, variant.name, model.name)) for model in spec.served]
    macs = sum(file.macs.total() for file in files)
    return sum(file.integer_macs for file in files) / macs if macs else 0.0


def lacks(folder: Path, spec: PipelineSpec, variant: VariantSpec) -> str | None:
    """Say what a variant promises and has nothing of; None where it keeps its promise."""
    promise = "coreml-palettes" if variant.bits else variant.name
    if promise not in _PROMISES:
        return None
    share, lack = _PROMISES[promise]
    return None if share(folder, spec, variant) else lack


def _share_of_eight_bits(folder: Path, spec: PipelineSpec, variant: VariantSpec) -> float:
    """Return the share of multiplications by weights of eight bits; 0 without any."""
    files = [read_tflite(model_of(folder, variant.name, model.name)) for model in spec.served]
    macs = sum(file.macs.total() for file in files)
    return sum(file.eight_bit_macs for file in files) / macs if macs else 0.0


def _share_of_compressed(folder: Path, spec: PipelineSpec, variant: VariantSpec) -> float:
    return share_compressed(_functions(folder, spec, variant))


# The share that a variant's name promises to be more than none, and what it is a share of.
_PROMISES: Mapping[str, tuple[Callable[[Path, PipelineSpec, VariantSpec], float], str]] = {
    TFLITE_DYNAMIC: (_share_of_eight_bits, "no weights of its products are stored in eight bits"),
    TFLITE_INT8: (share_of_int8, "none of its multiplications are int8"),
    "coreml-int8w": (_share_of_compressed, "no weights of its products are stored in eight bits"),
    COREML_INT8: (share_of_int8, "none of its multiplications are int8"),
    "coreml-palettes": (_share_of_compressed, "no weights of its products are stored as palettes"),
}


def _reasons(
    folder: Path, variant: VariantSpec, spec: PipelineSpec, seen: dict[tuple[bytes, ...], str]
) -> Iterator[str]:
    if not is_complete(folder, variant.name, spec):
        yield "it has not every model"
        return
    content = tuple(_content(model_of(folder, variant.name, model.name)) for model in spec.served)
    milder = seen.setdefault(content, variant.name)
    if milder != variant.name:
        yield f"it computes what {milder} computes"
    lack = lacks(folder, spec, variant)
    if lack is not None:
        yield lack


def _functions(folder: Path, spec: PipelineSpec, variant: VariantSpec) -> list[Function]:
    programs = [load_package(model_of(folder, variant.name, model.name)) for model in spec.served]
    return [program.functions[program.default_function] for program in programs]


def _content(model: Path) -> bytes:
    """Digest a model: a file, or a folder of files."""
    digest = sha256()
    for file in sorted(file for file in (model.rglob("*") if model.is_dir() else [model]) if file.is_file()):
        digest.update(file.relative_to(model.parent).as_posix().encode())
        digest.update(file.read_bytes())
    return digest.digest()
