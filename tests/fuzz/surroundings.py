"""Sound input in odd surroundings: places that cannot be written to, full disks, closed streams."""

import io
import os
import resource
import stat
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from random import Random

from tests.fuzz.small_disk import full_disk

FOREIGN = "foreign"
"""What lies in this folder of a case is somebody else's: no command may change it."""
OWN, RATED, REPORT = "own", "rated", "report.json"
"""A folder of the case, in which a bundle, an output folder of ``mien appraise`` and a report lie."""
_MOST_FREE = 300_000


def _foreign(work: Path) -> Path:
    folder = work / FOREIGN
    folder.mkdir(exist_ok=True)
    (folder / "manifest.json").write_text('{"name": "a web app", "files": {}}')
    (folder / "thesis.txt").write_text("years of work")
    return folder


def _link(work: Path) -> Path:
    (work / "link").symlink_to(_foreign(work))
    return work / "link"


def _circle(work: Path) -> Path:
    (work / "one").symlink_to(work / "other")
    (work / "other").symlink_to(work / "one")
    return work / "one"


def pipe(work: Path) -> Path:
    """Make a pipe of somebody else's."""
    place = _foreign(work) / "pipe"
    os.mkfifo(place)
    return place


def _device(name: str, minor: int) -> Callable[[Path], Path]:
    """Return what makes a device as ``/dev`` has it, for a command that is at fault may replace it.

    Who may make none may replace none in ``/dev`` either.
    """

    def make(work: Path) -> Path:
        device = _foreign(work) / name
        try:
            os.mknod(device, stat.S_IFCHR | 0o666, os.makedev(1, minor))
        except PermissionError:
            return Path("/dev", name)
        return device

    return make


def linked(work: Path) -> Path:
    """Return an output folder in which every picture has become a link to what is somebody else's."""
    for picture in sorted((work / OWN / RATED).glob("*.png")):
        other = _foreign(work) / picture.name
        other.write_text("a year of work")
        picture.unlink()
        picture.symlink_to(other)
    return work / OWN / RATED


def _file(work: Path) -> Path:
    """Make a file that the user names, so it may be replaced."""
    (work / "file").write_text("before")
    return work / "file"


PLACES: tuple[Callable[[Path], Path], ...] = (
    _foreign,
    _link,
    _circle,
    pipe,
    _file,
    lambda work: _foreign(work) / "thesis.txt" / "below",
    lambda work: work / "new",
    lambda work: work / "deep" / "new",
    lambda work: work / os.fsdecode(b"n\xff\x1b[31m\n\xe2\x80\xae"),
    lambda work: work / ("x" * 300),
    lambda _: Path("/" + "x/" * 3000),
    linked,
    _device("null", 3),
    _device("full", 7),
    lambda _: Path("/proc/nobody/new"),
    lambda _: Path("/"),
    lambda _: Path(),
)
"""Each makes a place for output in a folder of its own."""


def _full_output() -> None:
    os.dup2(os.open("/dev/full", os.O_WRONLY), 1)


def _closed_output() -> None:
    os.close(1)
    sys.stdout = None  # type: ignore[assignment]  # as Python has it


def _closed_input() -> None:
    os.close(0)


def _ascii_output() -> None:
    sys.stdout = io.TextIOWrapper(io.FileIO(1, "w", closefd=False), encoding="ascii")


def _few_files() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (16, 16))


def _no_working_folder() -> None:
    folder = Path.cwd() / "gone"
    folder.mkdir()
    os.chdir(folder)
    folder.rmdir()


def _no_home() -> None:
    os.environ.pop("HOME", None)
    os.environ["XDG_CACHE_HOME"] = "/dev/null"


Surrounding = Callable[[Path, Random], AbstractContextManager[None]]


def _for_good(change: Callable[[], None]) -> Surrounding:
    """Return what changes the process and never changes it back."""

    def surround(_work: Path, _random: Random) -> AbstractContextManager[None]:
        change()
        return nullcontext()

    return surround


_USUAL: Surrounding = lambda _work, _random: nullcontext()  # noqa: E731
SURROUNDINGS: tuple[Surrounding, ...] = (
    _USUAL,
    _USUAL,
    *map(_for_good, (_full_output, _closed_output, _closed_input, _ascii_output)),
    lambda work, random: full_disk(work, random.randrange(_MOST_FREE)),
    *map(_for_good, (_few_files, _no_working_folder, _no_home)),
)
"""Each changes what surrounds a command, in the process that becomes it, while the command runs."""

COMMANDS: tuple[Callable[[Path, Path], tuple[object, ...]], ...] = (
    lambda bundle, place: ("appraise", "--bundle", bundle, bundle / "noise.png", "--json", "-o", place),
    lambda bundle, place: ("appraise", "--bundle", bundle, "--json", place),
    lambda bundle, place: ("appraise", "--bundle", place, bundle / "noise.png"),
    lambda bundle, place: ("verify", bundle, "-o", place),
    lambda bundle, place: ("verify", place),
    lambda bundle, place: ("pack", bundle, "--for", "android", "--variant", "tflite-fp32", "-o", place),
    lambda bundle, place: ("pack", place, "--for", "ios", "-o", bundle.parent / "app"),
    lambda bundle, place: ("bench", bundle, "--target", "android", "--generate", place),
    lambda _, place: ("bench", "page", place, "-o", place),
    lambda bundle, place: ("bench", "page", bundle.parent / REPORT, "-o", place),
    lambda bundle, place: ("init", bundle.parent / f"{place.name}.py"),
    lambda _, place: ("coreml", "run", place, "--input", place),
    lambda _, place: ("doctor",),
)
"""Commands that read or write at a place; the first is what is done where nothing is odd."""


def drawn(data: bytes, work: Path) -> tuple[object, ...]:
    """Draw a command and its place."""
    random = Random(data)  # noqa: S311 - damage, no secrets
    return random.choice(COMMANDS)(work / OWN / "bundle", random.choice(PLACES)(work))


def surround(data: bytes, work: Path) -> AbstractContextManager[None]:
    """Change the surroundings of this process as ``data`` draws it."""
    random = Random(data + b"surroundings")  # noqa: S311
    return random.choice(SURROUNDINGS)(work, random)


def kept(work: Path) -> Mapping[str, tuple[int, bytes]]:
    """Tell of what kind everything is that is somebody else's, and what it holds."""
    return {path.relative_to(work).as_posix(): _held(path) for path in sorted((work / FOREIGN).rglob("*"))}


def _held(path: Path) -> tuple[int, bytes]:
    kind = stat.S_IFMT(path.lstat().st_mode)
    return kind, path.read_bytes() if stat.S_ISREG(kind) else b""
