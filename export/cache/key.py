"""The keys of exports: hashes of everything that their bundles follow from.

Whatever is not certain to be in a key makes an export that is not kept: files that others refer to, packages
that can change without a new version. What a file of Python executes is not in the bytes of that file: such
an export has the key of its contents, once the pipeline was opened and its inputs were prepared.
"""

import hashlib
import json
import os
import platform
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import Distribution, distributions
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mien.export.environments import TFLITE
from mien.export.packing.commit import source_commit
from mien.mobile_reference.bundle.reader import sha256
from mien.mobile_reference.files import default_cache
from mien.mobile_reference.output.json_text import json_text

if TYPE_CHECKING:
    from mien.mobile_reference.front.resize import ResizeRule

ROOMS = ("mobile_reference", "models", "calibration", "export")
"""Those that an export imports."""
_OWN = "mien"
_PYTHON = ".py"
# The key under which ONNX files say where weights lie that are not in them.
_ELSEWHERE = b"location"
# What these libraries read from the environment may change the last bits of what they compute.
_HEEDED = (
    "ATEN_",
    "DNNL_",
    "GOMP_",
    "KMP_",
    "LD_",
    "LITERT",
    "MKL",
    "NPY_",
    "OMP_",
    "ONEDNN_",
    "ONNX",
    "OPENBLAS",
    "PYTHON",
    "PYTORCH",
    "TF",
    "TORCH",
    "XNN",
)

_ABLE = ("model name", "flags", "Features", "CPU part")
"""How the lines of /proc/cpuinfo begin that say what a processor can, on x86 and on ARM."""


@dataclass(frozen=True)
class Asked:
    """What of an export's options decides which bundle is made: paths and names as they were given."""

    source: Path | None
    calibration: tuple[Path, ...]
    golden: tuple[Path, ...]
    variants: tuple[str, ...]
    precision: Path | None
    skip_unreadable: bool
    trust_pt2: bool
    front: "ResizeRule | None" = None


def key_of(asked: Asked, environment: Mapping[str, str] = os.environ) -> str | None:
    """Return the key of an export, 64 hexadecimal digits; None for one that is not kept.

    It has the bytes of every file that was named, or that lies in a folder that was named; of every file of
    mien; of every other installed package the list of its files with their hashes; Python, the processor, and
    what numerical libraries read from the environment.

    Raises:
        OSError: something cannot be read.
    """
    named = [asked.source, *asked.calibration, *asked.golden, asked.precision]
    if not is_whole(asked.source) or any(map(_leads_elsewhere, filter(None, named))):
        return None
    around = surroundings(environment)
    if around is None:
        return None
    record = {
        "named": [None if path is None else hashed_files(path) for path in named],
        "calibration": len(asked.calibration),
        "variants": asked.variants,
        "skip_unreadable": asked.skip_unreadable,
        "trust_pt2": asked.trust_pt2,
        "front": None if asked.front is None else asdict(asked.front),
        "commit": source_commit(),
    }
    return record_hash(record | around)


def surroundings(environment: Mapping[str, str]) -> dict[str, Any] | None:
    """Record what every export follows from, whatever it is of; None where that is not certain.

    Raises:
        OSError: something cannot be read.
    """
    packages = list(_packages())
    if None in packages or os.environ.get("PYTHONPATH"):  # modules from there belong to no package
        return None
    return {
        "rooms": [hashed_files(_folder_of(room)) for room in ROOMS],
        "packages": sorted(map(str, packages)),
        "python": [sys.version, platform.machine(), platform.platform(), _processor()],
        "environment": sorted(pair for pair in environment.items() if pair[0].startswith(_HEEDED)),
    }


def is_whole(source: Path | None) -> bool:
    """Tell whether the bytes of a source are all that is computed with."""
    if source is None:
        return True
    if source.suffix == _PYTHON:
        return False
    return source.suffix != ".onnx" or _ELSEWHERE not in source.read_bytes()


def record_hash(record: Mapping[str, Any]) -> str:
    """Return the key of a record: 64 hexadecimal digits."""
    return hashlib.sha256(json_text(_plain(record)).encode()).hexdigest()


def _leads_elsewhere(path: Path) -> bool:
    """Tell whether a link in a folder names another folder, whose files would not be hashed."""
    return any(file.is_symlink() and file.is_dir() for file in path.rglob("*"))


def hashed_files(path: Path) -> list[tuple[str, str]]:
    """List a file, or the files in a folder at any depth: their places, and the hashes of their bytes."""
    place = Path(os.path.abspath(path))  # noqa: PTH100 - links are part of the place
    inside = sorted(place.rglob("*")) if place.is_dir() else [place]
    return [(str(file), sha256(file)) for file in inside if file.is_file() and file.suffix != ".pyc"]


def _folder_of(room: str) -> Path:
    spec = find_spec(f"{_OWN}.{room}")
    assert spec is not None  # noqa: S101 - rooms are installed together
    assert spec.origin is not None  # noqa: S101
    return Path(spec.origin).parent


def _packages() -> Iterator[str | None]:
    """Hash the list of every package's files, of the converter's environment too.

    None stands for one whose files may change without it.
    """
    for package in (*distributions(), *TFLITE.packages(default_cache())):
        # Our own files are hashed themselves, but for where the rooms are entered.
        yield package.read_text("entry_points.txt") if package.name == _OWN else _listed(package)


def _listed(package: Distribution) -> str | None:
    listed, origin = package.read_text("RECORD"), package.read_text("direct_url.json")
    if listed is None or (origin and json.loads(origin).get("dir_info", {}).get("editable")):
        return None
    return f"{package.name} {package.version} {hashlib.sha256(listed.encode()).hexdigest()}"


def _processor() -> list[str]:
    """Say what the processor can: libraries choose by it how they add."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return [platform.processor()]
    return sorted({line for line in lines if line.startswith(_ABLE)})


def _plain(value: Any) -> Any:
    """Write names that are not Unicode so that JSON can have them."""
    if isinstance(value, str):
        return os.fsencode(value).decode("utf-8", "backslashreplace")
    if isinstance(value, Sequence):
        return [_plain(one) for one in value]
    return {name: _plain(one) for name, one in value.items()} if isinstance(value, dict) else value
