"""Comparing the files of two bundles: equal bytes, equal but for names, or different."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import numpy as np

from .canonical import Canonical, canonical_json, canonical_package, canonical_tflite, differing_parts
from .goldens import Difference, Runnable, array_difference, compare_on_goldens, load_coreml, load_tflite

MANIFEST = "manifest.json"
GOLDENS = "golden"
_PACKAGE = ".mlpackage"


class Verdict(StrEnum):
    """What became of a file."""

    EQUAL = "equal"
    NAMES = "equal but for names"
    DIFFERS = "differs"
    ONLY_OLD = "only in old"
    ONLY_NEW = "only in new"


@dataclass(frozen=True)
class FileVerdict:
    """What became of one file, or of one Core ML package, which is a folder.

    Attributes:
        name: the path in the bundle.
        verdict: the judgement.
        parts: the tensors, operations or values that differ.
        outputs: for models that were run, the worst difference on the golden faces by output.
        note: why something could not be found out; empty if all could.
    """

    name: str
    verdict: Verdict
    parts: tuple[str, ...] = ()
    outputs: Mapping[str, Difference] = field(default_factory=dict)
    note: str = ""

    @property
    def equal(self) -> bool:
        """Tell whether the file computes and holds what it did."""
        return self.verdict in (Verdict.EQUAL, Verdict.NAMES)


@dataclass(frozen=True)
class _Kind:
    """How a kind of file is read without its names and, if it is a model, run."""

    canonical: Callable[[Path], Canonical]
    load: Callable[[Path], Runnable] | None = None


_KINDS: Mapping[str, _Kind] = {
    ".tflite": _Kind(canonical_tflite, load_tflite),
    _PACKAGE: _Kind(canonical_package, load_coreml),
    ".json": _Kind(canonical_json),
}


def compare_files(old: Path, new: Path) -> Iterator[FileVerdict]:
    """Compare every file of two bundles but the manifest; yields as soon as one is judged."""
    before, after = _units(old), _units(new)
    for name in sorted(before.keys() | after.keys()):
        if name not in after:
            yield FileVerdict(name, Verdict.ONLY_OLD)
        elif name not in before:
            yield FileVerdict(name, Verdict.ONLY_NEW)
        else:
            yield _compare(name, before[name], after[name], old / GOLDENS)


def is_model(name: str) -> bool:
    """Tell whether a file of a bundle is a model."""
    kind = _KINDS.get(Path(name).suffix)
    return kind is not None and kind.load is not None


def _units(bundle: Path) -> dict[str, Path]:
    """Return what is compared by its path in the bundle: files, and packages as a whole."""
    found = {}
    for file in bundle.rglob("*"):
        relative = file.relative_to(bundle)
        inside = any(parent.suffix == _PACKAGE for parent in relative.parents)
        if relative.as_posix() != MANIFEST and not inside and (file.is_file() or file.suffix == _PACKAGE):
            found[relative.as_posix()] = file
    return found


def _compare(name: str, old: Path, new: Path, goldens: Path) -> FileVerdict:
    if _content(old) == _content(new):
        return FileVerdict(name, Verdict.EQUAL)
    kind = _KINDS.get(old.suffix)
    try:
        if kind:
            return _compare_named(name, kind, old, new, goldens)
        if old.suffix == ".npy":
            arrays = (np.load(file, allow_pickle=False) for file in (old, new))
            return FileVerdict(name, Verdict.DIFFERS, outputs={old.stem: array_difference(*arrays)})
    except Exception as error:  # a damaged file of either side is a finding and hides no other
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        return FileVerdict(name, Verdict.DIFFERS, note=f"not compared to the end: {reason}")
    return FileVerdict(name, Verdict.DIFFERS)


def _compare_named(name: str, kind: _Kind, old: Path, new: Path, goldens: Path) -> FileVerdict:
    before, after = kind.canonical(old), kind.canonical(new)
    outputs = compare_on_goldens(kind.load(old), kind.load(new), goldens) if kind.load else {}
    if before.content != after.content:
        parts = differing_parts(before, after) or ("outside of tensors and operations",)
        return FileVerdict(name, Verdict.DIFFERS, parts, outputs)
    ran = bool(outputs) or kind.load is None
    same = ran and all(difference.equal for difference in outputs.values())
    return FileVerdict(name, Verdict.NAMES if same else Verdict.DIFFERS, outputs=outputs)


def _content(unit: Path) -> dict[str, bytes]:
    files = [unit] if unit.is_file() else (file for file in unit.rglob("*") if file.is_file())
    return {file.relative_to(unit).as_posix(): file.read_bytes() for file in files}
