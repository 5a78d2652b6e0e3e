"""Vulkan in software, which ``mien setup`` fetches: where it lies, and how this process finds it.

Its shaders run on the processor. So it tells what LiteRT's GPU delegate takes and computes, and neither how
long a phone's GPU takes nor what a phone's driver makes of a shader.
"""

import ctypes
import json
import os
from dataclasses import dataclass
from pathlib import Path

from mien.mobile_reference.errors import VulkanError

READY, DRIVER = "ready.json", "driver.json"
LOADER = "libvulkan.so.1"
SWIFTSHADER, LAVAPIPE = "vulkan-swiftshader", "vulkan-lavapipe"
"""Their folders in the cache."""
LIBRARIES = "libraries"
"""What ``ready.json`` lists under this name is loaded, in this order."""


@dataclass(frozen=True)
class SoftwareVulkan:
    """A folder with Vulkan's loader, and a driver that ``driver.json`` names; ``setup`` makes it."""

    folder: Path
    setup: str

    @property
    def is_ready(self) -> bool:
        """Tell whether it was set up to the end."""
        return (self.folder / READY).is_file()

    @property
    def remedy(self) -> str:
        """What helps where it was set up and does not work."""
        return f"delete {self.folder} and run mien setup {self.setup}"

    def find(self) -> None:
        """Let this process find it, and no other Vulkan: of this machine's GPU nothing is known.

        It cannot be undone, so it is meant for a process of its own.

        Raises:
            VulkanError: it is not set up, or a library does not load.
        """
        if not self.is_ready:
            raise VulkanError(f"no Vulkan for this is set up; mien setup {self.setup}")
        # What LiteRT loads by name is what is loaded already; LD_LIBRARY_PATH is read at the start alone.
        for name in json.loads((self.folder / READY).read_text())[LIBRARIES]:
            try:
                ctypes.CDLL(str(self.folder / name))
            except OSError as error:
                raise VulkanError(f"Vulkan's {name} does not load ({error}); {self.remedy}") from error
        for name in ("VK_DRIVER_FILES", "VK_ICD_FILENAMES"):  # the second is that of older loaders
            os.environ[name] = str(self.folder / DRIVER)
        # Mesa compiles for a minute what it then finds here.
        os.environ["MESA_SHADER_CACHE_DIR"] = str(self.folder / "shaders")
