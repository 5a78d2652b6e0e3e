"""How much time the harness adds on the double: ``python tests/benchmarks/double/overhead.py BUNDLE CACHE``.

Prints the wall time of 50 runs through adb and what of it the runner did not spend: asking, copying,
hashing, fetching. The double's shell is emulated, so a phone's own share is smaller.
"""

import os
import shutil
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from double.phone import make_phone, make_system, running
from mien.benchmarks.adb import choose_device, find_adb
from mien.benchmarks.android import AndroidTarget, Mode
from mien.benchmarks.kit import set_up_kit
from mien.benchmarks.phone import probe
from mien.benchmarks.records import BenchSpec
from mien.mobile_reference.bundle import open_bundle


def main(bundle: Path, cache: Path) -> None:
    """Measure twice: with everything to copy, and with nothing."""
    os.environ |= {"ANDROID_ADB_SERVER_PORT": "15238", "ADB_LOCAL_TRANSPORT_MAX_PORT": "5554"}
    kit, opened = set_up_kit(cache, "arm64-v8a", print), open_bundle(bundle)
    root = cache / "phone-overhead"
    shutil.rmtree(root, ignore_errors=True)
    mode = Mode(blocks=1, warmup=0, runs=50, seconds=0, limit=600, cool=0)
    spec = BenchSpec(opened, "tflite-int8", opened.goldens[0].photograph, 1, 0, 50, 1)
    with running(make_phone(make_system(cache), root)) as (port, _):
        os.system(f"adb connect 127.0.0.1:{port}")  # noqa: S605 - a number
        for what in ("everything to copy", "nothing to copy"):
            start = time.monotonic()
            adb = choose_device(find_adb(None), None)
            result = AndroidTarget(adb, probe(adb), kit, mode, lambda _: None).run(spec)
            wall = time.monotonic() - start
            latency = result.latency
            assert latency
            inside = sum(latency.stage("total").blocks[0]) + latency.load_ms[0] + latency.first_ms[0]
            print(f"{what}: {wall:.2f} s for 50 runs, {wall - inside / 1000:.2f} s of them overhead")  # noqa: T201
        os.system("adb kill-server")  # noqa: S605
    shutil.rmtree(root)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
