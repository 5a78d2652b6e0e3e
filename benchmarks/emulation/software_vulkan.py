"""Software Vulkan for ``mien verify --unit gpu``: SwiftShader, as Debian's chromium carries it.

A chromium of this machine gives its two libraries; where there is none, they are taken out of Debian's
package, and nothing is installed.
"""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from mien.benchmarks.errors import SetupError
from mien.mobile_reference.output.json_text import json_text
from mien.mobile_reference.run.vulkan import DRIVER, LOADER, READY, SWIFTSHADER, SoftwareVulkan

from .sysroot import call_tool, unpack_alone

CHROMIUM = Path("/usr/lib/chromium")
_PACKAGE = "chromium-common"
_LIBRARY = "libvk_swiftshader.so"


def is_vulkan_ready(cache: Path) -> bool:
    """Tell whether ``set_up_vulkan`` ended well in this folder."""
    return SoftwareVulkan(cache / SWIFTSHADER).is_ready


def set_up_vulkan(cache: Path, progress: Callable[[str], None], installed: Path = CHROMIUM) -> None:
    """Copy or fetch SwiftShader and Vulkan's loader; does nothing when they are there.

    Raises:
        SetupError: a tool is missing, a download failed, or the package does not hold them.
    """
    if is_vulkan_ready(cache):
        return
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix="setup-") as name:
        part = Path(name) / SWIFTSHADER
        part.mkdir()
        source = installed if _has_both(installed) else _fetched(Path(name), progress)
        for library in (LOADER, _LIBRARY):
            shutil.copy(source / library, part)
        driver = {"library_path": f"./{_LIBRARY}", "api_version": "1.0.5"}
        (part / DRIVER).write_text(json_text({"file_format_version": "1.0.0", "ICD": driver}, indent=1))
        # Written last: a set-up that was interrupted begins anew.
        (part / READY).write_text(json_text({"from": source.name}, indent=1))
        shutil.rmtree(cache / SWIFTSHADER, ignore_errors=True)
        part.rename(cache / SWIFTSHADER)


def _has_both(folder: Path) -> bool:
    return all((folder / name).is_file() for name in (LOADER, _LIBRARY))


def _fetched(scratch: Path, progress: Callable[[str], None]) -> Path:
    """Unpack Debian's package, and return the folder with the libraries."""
    for tool in ("apt-get", "dpkg"):
        if shutil.which(tool) is None:
            raise SetupError(f"'{tool}' was not found, and this machine has no chromium; use Debian")
    progress("fetching Debian's chromium")
    root = scratch / "root"
    architecture = call_tool(["dpkg", "--print-architecture"]).strip()
    unpack_alone(_PACKAGE, root, scratch / "apt", architecture)
    folder = root / CHROMIUM.relative_to("/")
    if not _has_both(folder):
        raise SetupError(f"Debian's {_PACKAGE} holds no {LOADER} or no {_LIBRARY}; report this")
    return folder
