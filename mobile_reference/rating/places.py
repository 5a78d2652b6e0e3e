"""Where photographs lie: on this machine, and where fsspec reaches by the schemes that were asked for."""

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import IO, Any
from urllib.parse import unquote, urlsplit

from mien.mobile_reference.errors import PhotographError, UsageError
from mien.mobile_reference.front.photograph import MAX_BYTES, open_photograph
from mien.mobile_reference.output.text import path_text

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_FILE = "file"


@dataclass(frozen=True)
class LocalFile:
    """A file, or a folder, of this machine."""

    path: Path

    @property
    def name(self) -> str:
        """What rows call it: as it was typed, what is not UTF-8 escaped."""
        return path_text(self.path)

    @property
    def stem(self) -> str:
        """Its name without folders and ending."""
        return self.path.stem

    @property
    def suffix(self) -> str:
        """The ending of its name in small letters, such as ``.jpg``."""
        return self.path.suffix.lower()

    def absolute(self) -> "LocalFile":
        """Return it with a path that means the same in every working directory."""
        return LocalFile(self.path.absolute())

    def holds(self, other: "Place") -> bool:
        """Tell whether another place lies in this folder, or is it."""
        here = Path(os.path.realpath(self.path))
        return isinstance(other, LocalFile) and Path(os.path.realpath(other.path)).is_relative_to(here)

    def photograph(self) -> IO[bytes]:
        """Open it as a photograph.

        Raises:
            PhotographError: it is not a file, cannot be read, is empty or too large.
        """
        return open_photograph(self.path)

    def stream(self) -> IO[bytes]:
        """Open it as a shard of any size, to be read at any place.

        Raises:
            PhotographError: it is not a file, or cannot be read.
        """
        if self.path.exists() and not self.path.is_file():
            raise PhotographError(f"{self.path} is not a regular file; give a tar or Parquet file")
        try:
            return self.path.open("rb")
        except OSError as error:
            raise PhotographError(
                f"{self.path} cannot be read ({error.strerror}); give another path"
            ) from error

    def listed(self) -> list["Place"] | None:
        """Return the files of a folder and of the folders in it, by name; None: it is not a folder.

        Hidden ones are left out, and links to folders are not followed.
        """
        try:
            if not self.path.is_dir():
                return None
        except OSError:  # a name that is too long, or a folder that may not be entered: its row says so
            return None
        files = (file for file in self.path.rglob("*") if file.is_file())
        return [LocalFile(file) for file in sorted(files) if not _is_hidden(file.relative_to(self.path))]


@dataclass(frozen=True)
class RemoteFile:
    """A file, a folder or a pattern with ``*`` that fsspec reaches."""

    url: str

    @property
    def name(self) -> str:
        """What rows call it."""
        return self.url

    @property
    def stem(self) -> str:
        """Its name without folders and ending."""
        return PurePosixPath(self.url).stem

    @property
    def suffix(self) -> str:
        """The ending of its name in small letters, such as ``.jpg``."""
        return PurePosixPath(self.url).suffix.lower()

    def absolute(self) -> "RemoteFile":
        """Return it as it is."""
        return self

    def holds(self, other: "Place") -> bool:
        """Tell whether another place lies in this folder, or is it."""
        return isinstance(other, RemoteFile) and f"{other.url}/".startswith(f"{self.url.rstrip('/')}/")

    def photograph(self) -> IO[bytes]:
        """Fetch it as a photograph.

        Raises:
            PhotographError: it cannot be fetched, or is too large.
        """
        with _refusals_of(self.url), self.stream() as stream:
            data = stream.read(MAX_BYTES + 1)
        if not data:
            raise PhotographError(f"{self.url} is empty (0 bytes); give a JPEG, PNG or WebP file")
        if len(data) > MAX_BYTES:
            raise PhotographError(
                f"{self.url} has more than {MAX_BYTES} bytes, the most that are read; give a smaller file"
            )
        return BytesIO(data)

    def stream(self) -> IO[bytes]:
        """Open it as a shard of any size, to be read at any place.

        Raises:
            PhotographError: it cannot be fetched.
        """
        with _refusals_of(self.url):
            system, path = filesystem(self.url)
            opened: IO[bytes] = system.open(path, "rb")
            return opened

    def listed(self) -> list["Place"] | None:
        """Return the files of a folder, or those that fit a pattern, by name; None: it is neither.

        Raises:
            PhotographError: it cannot be listed.
        """
        with _refusals_of(self.url):
            system, path = filesystem(self.url)
            if "*" in path:
                found = system.glob(path)
            elif system.isdir(path):
                found = [file for file in system.find(path) if not _is_hidden(PurePosixPath(file))]
            else:
                return None
            return [RemoteFile(system.unstrip_protocol(file)) for file in sorted(found)]


Place = LocalFile | RemoteFile


def place_of(text: str | Path, schemes: Iterable[str]) -> Place:
    """Return where a path or address leads; ``file://`` is this machine.

    Raises:
        UsageError: the address has a scheme that is not among ``schemes``, or is a chain of several.
    """
    if isinstance(text, Path) or not (found := _SCHEME.match(text)):
        return LocalFile(Path(text))
    scheme = found[1].lower()
    if "::" in text:
        raise UsageError(f"{text} is a chain of addresses; give one address")
    if scheme == _FILE:
        return LocalFile(Path(unquote(urlsplit(text).path)))
    if scheme not in {one.lower() for one in schemes}:
        raise UsageError(f"{text} has the scheme {scheme}, which was not asked for; add --scheme {scheme}")
    need("fsspec")
    return RemoteFile(text)


def need(module: str) -> None:
    """Say so before the work begins if a module is not installed, without importing it.

    Raises:
        ModuleNotFoundError: it is not; the command line says what installs it.
    """
    if find_spec(module) is None:
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)


def filesystem(url: str) -> tuple[Any, str]:
    """Return the file system of fsspec that an address names, and the path in it.

    Raises:
        UsageError: fsspec does not know the scheme, or lacks the package that reaches it.
    """
    import fsspec

    try:
        system, path = fsspec.core.url_to_fs(url)
    except (ValueError, ImportError) as error:
        raise UsageError(f"{url} cannot be reached: {error}") from error
    return system, path


@contextmanager
def _refusals_of(url: str) -> Iterator[None]:
    """Turn what a file system raises into one line; each has errors of its own."""
    try:
        yield
    except (PhotographError, UsageError, MemoryError):
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise PhotographError(f"{url} cannot be read ({reason:.200}); give another address") from error


def _is_hidden(path: Path | PurePosixPath) -> bool:
    return any(part.startswith(".") for part in path.parts)
