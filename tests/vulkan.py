"""The software Vulkan of this machine's chromium, for tests that ask LiteRT's GPU delegate."""

from pathlib import Path

import pytest

from mien.benchmarks.emulation.software_vulkan import CHROMIUM, set_up_swiftshader


def with_swiftshader(cache: Path) -> Path:
    """Set the unit gpu up in a cache folder, and return it; nothing is fetched.

    Skips the test where there is no chromium.
    """
    if not (CHROMIUM / "libvk_swiftshader.so").is_file():
        pytest.skip(f"there is no SwiftShader in {CHROMIUM}; apt-get install chromium")
    set_up_swiftshader(cache, lambda _: None)
    return cache
