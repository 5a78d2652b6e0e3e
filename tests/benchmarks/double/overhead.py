"""How much time the harness adds on the double: ``python tests/benchmarks/double/overhead.py BUNDLE CACHE``.

Prints the wall time of 50 runs through adb, what of it the runner did not spend (asking, copying, hashing,
fetching) and how often adb was called. The double's shell is emulated, so a phone's own share is smaller.
"""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from double.phone import NAMESPACE, make_phone, running
from mien.benchmarks.adb import Adb, Answer, choose_device, find_adb
from mien.benchmarks.android import AndroidTarget
from mien.benchmarks.kit import set_up_kit
from mien.benchmarks.phone import probe
from mien.benchmarks.records import BenchSpec
from mien.benchmarks.session import Mode, Session
from mien.mobile_reference.bundle import open_bundle

GOAL_S = 2.0
# The goal is about the first; the second shows what a process of its own for every ten runs costs.
WAYS = ((1, 50), (5, 10))


class CountingAdb(Adb):
    """Counts its calls."""

    calls = 0

    def _call(self, *arguments: object) -> Answer:
        CountingAdb.calls += 1
        return super()._call(*arguments)  # type: ignore[arg-type]


def main(bundle: Path, cache: Path) -> None:
    """Measure each way twice: with everything to copy, and with nothing."""
    os.environ |= {"ANDROID_ADB_SERVER_PORT": "15238", "ADB_LOCAL_TRANSPORT_MAX_PORT": "5554"}
    kit, opened = set_up_kit(cache, NAMESPACE.abi, print), open_bundle(bundle)
    root = cache / "phone-overhead"
    for blocks, runs in WAYS:
        shutil.rmtree(root, ignore_errors=True)
        mode = Mode(blocks=blocks, warmup=0, runs=runs, seconds=0, limit=1200, cool=0)
        spec = BenchSpec(opened, "tflite-int8", opened.goldens[0].photograph, 1, 0, runs, blocks)
        with running(make_phone(cache, root, NAMESPACE), NAMESPACE) as (port, _):
            subprocess.run(["adb", "connect", f"127.0.0.1:{port}"], capture_output=True, check=True)
            for what in ("everything to copy", "nothing to copy"):
                CountingAdb.calls, start = 0, time.monotonic()
                adb = CountingAdb(**vars(choose_device(find_adb(None), None)))
                result = AndroidTarget(Session(adb, probe(adb), mode, lambda _: None), kit).run(spec)
                wall = time.monotonic() - start
                latency = result.latency
                assert latency
                inside = sum(map(sum, latency.stage("total").blocks)) + sum(
                    latency.load_ms + latency.first_ms
                )
                added = wall - inside / 1000
                goal = f"goal {GOAL_S:g}: {'met' if added < GOAL_S else 'missed'}"
                print(  # noqa: T201
                    f"{blocks} x {runs} runs, {what}: {wall:.2f} s, {added:.2f} s of them overhead "
                    f"({goal}), {CountingAdb.calls} calls of adb"
                )
            subprocess.run(["adb", "disconnect"], capture_output=True, check=False)
    subprocess.run(["adb", "kill-server"], capture_output=True, check=False)
    shutil.rmtree(root)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
