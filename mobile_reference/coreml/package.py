"""From a ``.mlpackage`` folder to `Program`.

A package is a folder with ``Manifest.json``, which names the items in ``Data/``. Item paths come
from the file, so each is resolved and must stay inside the package.
"""

import mmap
from pathlib import Path
from typing import Any

from mien.mobile_reference.errors import PackageError
from mien.mobile_reference.output.json_text import parse_json

from .blob import BlobFile
from .parse import parse_model
from .program import Program

MAX_MANIFEST_BYTES = 2**20
MAX_MODEL_BYTES = 2**29
MODEL_PATH = "@model_path/"


def load_package(path: str | Path) -> Program:
    """Read and check a saved Core ML package.

    Weights stay on disk, mapped into memory, until something asks for them.

    Args:
        path: the ``.mlpackage`` folder.

    Returns:
        The program with all its functions.

    Raises:
        PackageError: the package is damaged, names files outside itself, or is not an ML Program.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise PackageError(f"'{folder}' is not a folder; a Core ML package is a folder *.mlpackage")
    try:
        return _load(folder)
    except PackageError as error:
        raise PackageError(f"{folder.name}: {error}") from error


def _load(folder: Path) -> Program:
    model = root_model(folder)
    with model.open("rb") as stream:
        data = memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))
    return parse_model(data, _Blobs(folder, model.parent))


def root_model(folder: Path) -> Path:
    """The path of the model file that ``Manifest.json`` names as the root."""
    entries, root = read_manifest(folder)
    entry = entries.get(root)
    if not isinstance(entry, dict) or not isinstance(entry.get("path"), str):
        raise PackageError(f"Manifest.json has no entry with a path for its root model '{root}'")
    model = _inside(folder, folder / "Data" / entry["path"])
    _sized(model, MAX_MODEL_BYTES)
    return model


def read_manifest(folder: Path) -> tuple[dict[str, Any], str]:
    """Read ``Manifest.json``.

    Returns:
        The item entries by identifier, and the identifier of the root model.
    """
    path = folder / "Manifest.json"
    _sized(path, MAX_MANIFEST_BYTES)
    try:
        manifest = parse_json(path.read_bytes())
    except ValueError as error:
        raise PackageError(f"Manifest.json is not JSON: {error}") from error
    entries = manifest.get("itemInfoEntries") if isinstance(manifest, dict) else None
    root = manifest.get("rootModelIdentifier") if isinstance(manifest, dict) else None
    if not isinstance(entries, dict) or not isinstance(root, str):
        raise PackageError("Manifest.json lacks 'itemInfoEntries' or 'rootModelIdentifier'")
    return entries, root


class _Blobs:
    """Opens each weight file once."""

    def __init__(self, folder: Path, model_path: Path) -> None:
        self._folder = folder
        self._model_path = model_path
        self._open: dict[str, BlobFile] = {}

    def __call__(self, name: str) -> BlobFile:
        if not name.startswith(MODEL_PATH):
            raise PackageError(f"weight file '{name}' is not below {MODEL_PATH}")
        if name not in self._open:
            path = _inside(self._folder, self._model_path / name.removeprefix(MODEL_PATH))
            if not path.is_file():
                raise PackageError(f"weight file '{name}' is missing")
            self._open[name] = BlobFile(path)
        return self._open[name]


def _inside(folder: Path, path: Path) -> Path:
    try:
        resolved = path.resolve()
    except (OSError, ValueError, RuntimeError) as error:
        raise PackageError(f"the path '{path.name}' cannot be resolved: {error}") from error
    if not resolved.is_relative_to(folder.resolve()):
        raise PackageError(f"the path '{path}' leaves the package; the package is not to be trusted")
    return resolved


def _sized(path: Path, limit: int) -> None:
    if not path.is_file():
        raise PackageError(f"{path.name} is missing")
    size = path.stat().st_size
    if not 0 < size <= limit:
        raise PackageError(f"{path.name} has {size} bytes; between 1 and {limit} are read")
