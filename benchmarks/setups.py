"""What the targets of ``mien bench`` need set up: see ``mien setup``."""

from pathlib import Path

from mien.mobile_reference.setups import Progress, Setup

from .emulation.software_vulkan import (
    is_lavapipe_ready,
    is_swiftshader_ready,
    set_up_lavapipe,
    set_up_swiftshader,
)
from .emulation.sysroot import is_set_up, set_up
from .phone.phone_runner import ABIS, is_phone_runner_ready, set_up_phone_runner


def _set_up_emulation(cache: Path, progress: Progress) -> None:
    set_up(cache, progress)


def _are_phone_runners_ready(cache: Path) -> bool:
    return all(is_phone_runner_ready(cache, abi) for abi in ABIS)


def _set_up_phone_runners(cache: Path, progress: Progress) -> None:
    for abi in ABIS:
        set_up_phone_runner(cache, abi, progress)


ARM64 = Setup("arm64", "bench --target arm64", "60 MB", is_set_up, _set_up_emulation)
ANDROID = Setup("android", "bench --target android", "50 MB", _are_phone_runners_ready, _set_up_phone_runners)
GPU = Setup("gpu", "verify --unit gpu", "32 MB", is_swiftshader_ready, set_up_swiftshader)
GPU_HALF = Setup("gpu-half", "verify --unit gpu-half", "60 MB", is_lavapipe_ready, set_up_lavapipe)
