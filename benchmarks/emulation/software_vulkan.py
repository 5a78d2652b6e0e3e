"""Software Vulkan for ``mien verify --unit``: SwiftShader for float32, Mesa's lavapipe for half floats.

A chromium of this machine gives SwiftShader; where there is none, it is taken out of Debian's package.
Lavapipe comes out of Debian's Mesa, of the backports before the release's own. Nothing is installed.
"""

import ctypes
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from mien.benchmarks.errors import SetupError
from mien.mobile_reference.output.json_text import json_text
from mien.mobile_reference.run.child import Limits, in_child
from mien.mobile_reference.run.vulkan import (
    DRIVER,
    LAVAPIPE,
    LIBRARIES,
    LOADER,
    READY,
    SWIFTSHADER,
    SoftwareVulkan,
)

from .sysroot import backports, call_tool, unpack_alone, unpack_packages

CHROMIUM = Path("/usr/lib/chromium")
_CHROMIUM_PACKAGE, _SWIFTSHADER_LIBRARY = "chromium-common", "libvk_swiftshader.so"
_MESA_PACKAGE, _LAVAPIPE_LIBRARY = "mesa-vulkan-drivers", "libvulkan_lvp.so"
_LEAST_MESA = 24
"""The first Mesa whose lavapipe has all that LiteRT's half-float shaders need."""


def swiftshader(cache: Path) -> SoftwareVulkan:
    """Return SwiftShader's place in a cache folder."""
    return SoftwareVulkan(cache / SWIFTSHADER, "gpu")


def lavapipe(cache: Path) -> SoftwareVulkan:
    """Return lavapipe's place in a cache folder."""
    return SoftwareVulkan(cache / LAVAPIPE, "gpu-half")


def is_swiftshader_ready(cache: Path) -> bool:
    """Tell whether ``set_up_swiftshader`` ended well in this folder."""
    return swiftshader(cache).is_ready


def is_lavapipe_ready(cache: Path) -> bool:
    """Tell whether ``set_up_lavapipe`` ended well in this folder."""
    return lavapipe(cache).is_ready


def set_up_swiftshader(cache: Path, progress: Callable[[str], None], installed: Path = CHROMIUM) -> None:
    """Copy or fetch SwiftShader and Vulkan's loader; does nothing when they are there.

    Raises:
        SetupError: a tool is missing, a download failed, or the package does not hold them.
    """
    if is_swiftshader_ready(cache):
        return
    with _scratch(cache) as scratch:
        source = installed if _has_swiftshader(installed) else _fetched_chromium(scratch, progress)
        libraries = [source / LOADER]
        _finish(swiftshader(cache), scratch, libraries, source / _SWIFTSHADER_LIBRARY)


def set_up_lavapipe(cache: Path, progress: Callable[[str], None]) -> None:
    """Fetch Mesa's lavapipe, Vulkan's loader and what this machine lacks for them, some 60 MB.

    Raises:
        SetupError: a tool is missing, a download failed, or there is no Mesa that is new enough.
    """
    if is_lavapipe_ready(cache):
        return
    _require_debian()
    with _scratch(cache) as scratch:
        progress("fetching Debian's Mesa")
        root = scratch / "root"
        packages = unpack_packages(
            (_MESA_PACKAGE, "libvulkan1"), root, scratch / "apt", _architecture(), backports()
        )
        check_mesa(packages)
        folders = [file.parent for file in root.glob(f"**/{_LAVAPIPE_LIBRARY}")]
        folders += [root / folder.relative_to(root / "usr") for folder in folders]

        def ordered() -> list[Path]:
            return [*load_order(_LAVAPIPE_LIBRARY, folders), *load_order(LOADER, folders)]

        # In a process of its own: what is loaded stays.
        libraries = in_child(ordered, Limits(), "Debian's Mesa")
        _finish(lavapipe(cache), scratch, libraries, libraries[0].with_name(_LAVAPIPE_LIBRARY))


@contextmanager
def _scratch(cache: Path) -> Iterator[Path]:
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix="setup-") as name:
        yield Path(name)


def _finish(vulkan: SoftwareVulkan, scratch: Path, libraries: Sequence[Path], driver: Path) -> None:
    """Put libraries, the driver and what names both into place."""
    part = scratch / "vulkan"
    part.mkdir()
    for library in {*libraries, driver}:
        shutil.copy(library, part)
    icd = {"library_path": f"./{driver.name}", "api_version": "1.3.0"}
    (part / DRIVER).write_text(json_text({"file_format_version": "1.0.0", "ICD": icd}, indent=1))
    (part / READY).write_text(json_text({LIBRARIES: [library.name for library in libraries]}, indent=1))
    shutil.rmtree(vulkan.folder, ignore_errors=True)
    part.rename(vulkan.folder)


def load_order(library: str, folders: Sequence[Path]) -> list[Path]:
    """Load a library of some folders, after those of them that it needs and this machine lacks.

    Returns:
        Their files in the order in which they were loaded, itself last.

    Raises:
        SetupError: one is not there, or does not load.
    """
    file = next((folder / library for folder in folders if (folder / library).is_file()), None)
    if file is None:
        raise SetupError(f"Debian's packages hold no {library}; report this")
    order: list[Path] = []
    while True:
        try:
            ctypes.CDLL(str(file))
        except OSError as error:
            missing = str(error).partition(":")[0]
            if missing in (library, *(known.name for known in order)):
                raise SetupError(f"{library} does not load: {error}; report this") from error
            order += load_order(missing, folders)
        else:
            return [*order, file]


def check_mesa(packages: Sequence[str]) -> None:
    """Look for a Mesa with half floats among files of packages.

    Raises:
        SetupError: it is too old.
    """
    (name,) = (package for package in packages if package.startswith(f"{_MESA_PACKAGE}_"))
    found = re.search(r"_(\d+)", name)
    major = int(found.group(1)) if found else 0
    if major < _LEAST_MESA:
        raise SetupError(
            f"this Debian has Mesa {major}, half floats need {_LEAST_MESA}; use Debian 13 or backports"
        )


def _has_swiftshader(folder: Path) -> bool:
    return all((folder / name).is_file() for name in (LOADER, _SWIFTSHADER_LIBRARY))


def _fetched_chromium(scratch: Path, progress: Callable[[str], None]) -> Path:
    """Unpack Debian's package, and return the folder with the libraries."""
    _require_debian()
    progress("fetching Debian's chromium")
    root = scratch / "root"
    unpack_alone(_CHROMIUM_PACKAGE, root, scratch / "apt", _architecture())
    folder = root / CHROMIUM.relative_to("/")
    if not _has_swiftshader(folder):
        raise SetupError(
            f"Debian's {_CHROMIUM_PACKAGE} lacks {LOADER} or {_SWIFTSHADER_LIBRARY}; report this"
        )
    return folder


def _architecture() -> str:
    return call_tool(["dpkg", "--print-architecture"]).strip()


def _require_debian() -> None:
    for tool in ("apt-get", "dpkg"):
        if shutil.which(tool) is None:
            raise SetupError(f"'{tool}' was not found, and Vulkan in software comes from Debian; use Debian")
