"""Which of the variants that were made keep what their names promise.

A variant that computes what a milder one computes is not packed under a name that promises more, and one of
which a model is missing is not packed at all.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path

from mien.export.variants import VARIANTS, VariantSpec
from mien.mobile_reference.contract import PipelineSpec
from mien.mobile_reference.coreml import load_package
from mien.mobile_reference.coreml.products import share_compressed, share_int8
from mien.mobile_reference.coreml.program import Function

from .variant_selection import model_of

# The share that a variant's name promises to be more than none, and what it is a share of.
_PROMISES: Mapping[str, tuple[Callable[[Sequence[Function]], float], str]] = {
    "coreml-int8w": (share_compressed, "no weights of its products are stored in eight bits"),
    "coreml-w8a8": (share_int8, "none of its multiplications are int8"),
}


def broken_promises(folder: Path, spec: PipelineSpec) -> dict[str, str]:
    """Say of the variants under ``folder`` which must not be packed, and why; palettes are made later."""
    found: dict[str, str] = {}
    seen: dict[tuple[bytes, ...], str] = {}
    for variant in VARIANTS:
        if variant.bits is None:
            for reason in _reasons(folder, variant, spec, seen):
                found.setdefault(variant.name, f"{variant.name} is left out: {reason}")
    return found


def is_complete(folder: Path, variant: str, spec: PipelineSpec) -> bool:
    """Tell whether a variant has every model."""
    return all(model_of(folder, variant, model.name).exists() for model in spec.models)


def _reasons(
    folder: Path, variant: VariantSpec, spec: PipelineSpec, seen: dict[tuple[bytes, ...], str]
) -> Iterator[str]:
    if not is_complete(folder, variant.name, spec):
        yield "it has not every model"
        return
    content = tuple(_content(model_of(folder, variant.name, model.name)) for model in spec.models)
    milder = seen.setdefault(content, variant.name)
    if milder != variant.name:
        yield f"it computes what {milder} computes"
    if variant.name in _PROMISES:
        share, lack = _PROMISES[variant.name]
        if not share(functions_of(folder, variant, spec)):
            yield lack


def functions_of(folder: Path, variant: VariantSpec, spec: PipelineSpec) -> list[Function]:
    """Return the functions of what an app runs: the end-to-end package, or else those of all stages."""
    programs = [load_package(model_of(folder, variant.name, model.name)) for model in spec.served]
    return [program.functions[program.default_function] for program in programs]


def _content(model: Path) -> bytes:
    """Digest a model: a file, or a folder of files."""
    digest = sha256()
    for file in sorted(file for file in (model.rglob("*") if model.is_dir() else [model]) if file.is_file()):
        digest.update(file.relative_to(model.parent).as_posix().encode())
        digest.update(file.read_bytes())
    return digest.digest()
