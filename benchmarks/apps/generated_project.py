"""Folders that commands generate for other machines: whole or not at all, equal bytes for equal bundles."""

import hashlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import as_file, files
from pathlib import Path, PurePosixPath
from typing import Any

from mien.benchmarks.pipeline import front_models
from mien.mobile_reference.bundle.reader import Bundle, Golden, Variant
from mien.mobile_reference.contract import PipelineSpec, StageSpec
from mien.mobile_reference.errors import UsageError
from mien.mobile_reference.output.folder import Kind, OutputFolder
from mien.mobile_reference.output.json_text import json_text

SPEC = "spec.json"
"""The file that says what was generated, and by which a generated folder is known."""
RESULTS = "results"
"""The folder that only a measurement makes."""
GENERATED = Kind("generated project")


def variants_for(bundle: Bundle, names: Sequence[str], platform: str, takes: str) -> list[Variant]:
    """Choose what to measure on a platform: the named variants, or all of it.

    Args:
        bundle: Whose variants.
        names: Of variants; none for all.
        platform: What they must be for.
        takes: The beginning of the error: who takes what.

    Raises:
        UsageError: there are none, or a named one is for another platform.
    """
    chosen = [bundle.variant(name) for name in dict.fromkeys(names)] or [
        variant for variant in bundle.variants if variant.platform == platform
    ]
    foreign = [variant.name for variant in chosen if variant.platform != platform]
    if foreign or not chosen:
        raise UsageError(
            f"{takes}, got {', '.join(foreign) or 'a bundle without any'}; "
            f"name a {platform} variant, or export one"
        )
    return chosen


def models_of(spec: PipelineSpec, variant: Variant) -> tuple[StageSpec, ...]:
    """List the models that an app may run of a variant: the front's, and those of its early exit."""
    return (*front_models(spec), *(spec.served_early if variant.early_exit else spec.served))


def photograph_of(bundle: Bundle, golden: Golden) -> str | None:
    """Return the path in the bundle of the photograph of a golden input, if the front takes one."""
    if golden.source is None or bundle.spec.front is None:
        return None
    return golden.source.relative_to(bundle.path).as_posix()


def spec_text(spec: Mapping[str, Any]) -> str:
    """Return what ``spec.json`` holds."""
    return json_text(spec, indent=1, sort_keys=True) + "\n"


def identified(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Add ``id``, the hash of the rest."""
    return {**spec, "id": hashlib.sha256(spec_text(spec).encode()).hexdigest()}


def copy_sources(source: str, folder: Path) -> None:
    """Copy a folder of this package into another one, beside what is there."""
    with as_file(files(__package__).joinpath(*source.split("/"))) as sources:
        shutil.copytree(sources, folder, dirs_exist_ok=True, copy_function=shutil.copyfile)


def measured(spec: Mapping[str, Any], folder: Path, place: PurePosixPath) -> bool:
    """Tell whether a folder holds the very package of ``spec``, at ``place`` in it, and results of it."""
    found = folder / place
    return (folder / RESULTS).is_dir() and found.is_file() and found.read_text() == spec_text(spec)


def write_folder(folder: Path, spec: PurePosixPath, fill: Callable[[Path], None]) -> None:
    """Let ``fill`` write into a folder that takes its place when it is complete.

    Args:
        folder: What to make, or to replace where nothing was measured with it.
        spec: Where its ``spec.json`` lies in it.
        fill: Writes everything.

    Raises:
        UsageError: the folder holds results, or anything that was not generated or was changed.
    """
    if (folder / spec).is_file() and (folder / RESULTS).exists():
        raise UsageError(f"{folder} holds results of a measurement; keep them and give a new folder")
    with OutputFolder.at(folder, GENERATED).staged() as part:
        fill(part)
