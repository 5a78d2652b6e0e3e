"""``mien appraise --ray`` on a cluster of this machine: no row is lost or doubled, whatever process dies.

2,000 photographs in tar shards, a Parquet file and files of their own, rated by a bundle of tiny models. When
a process is killed is drawn by ``SEED``, which may be set in the environment; the bytes are those of
``--jobs 2``.
"""

import io
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from tests.benchmarks.tinymodels import tiny_bundle
from tests.mobile_reference.rating.calls import rows_of, write_tar

pytest.importorskip("ray")
import pyarrow as arrow
from pyarrow import parquet

ROWS = 2000
BAD = 7
"""Every so many photographs of the files of their own are none."""
SEED = int(os.environ.get("SEED", "1"))
PROGRAMS = Path(sys.executable).parent
MIEN = (sys.executable, "-m", "mien", "appraise")
ONE_THREAD = os.environ | {"OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"}


class Cluster(NamedTuple):
    """Where a cluster is, and the process that leads its session."""

    address: str
    process: int


def _jpeg(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    made = io.BytesIO()
    Image.fromarray(pixels).save(made, "JPEG")
    return made.getvalue()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with photographs and the bundle, and the rows of ``--jobs 2`` in ``alone``."""
    here = tmp_path_factory.mktemp("cluster")
    given = here / "given"
    given.mkdir()
    tiny_bundle(here / "bundle")
    for shard in range(20):
        members = {f"{one}.jpg": _jpeg(50 * shard + one) for one in range(50)}
        write_tar(given / f"{shard:02}.tar", members)
    cells = [_jpeg(number) for number in range(1000, 1500)]
    parquet.write_table(arrow.table({"image": cells}), given / "some.parquet", row_group_size=100)
    for number in range(1500, ROWS):
        (given / f"{number}.jpg").write_bytes(b"none" if number % BAD == 0 else _jpeg(number))
    done = subprocess.run(_command("alone", "--jobs", "2"), cwd=here, env=ONE_THREAD, check=False)
    assert done.returncode == 2
    return here


def _command(shards: str, *options: str) -> list[str]:
    given = ("given", "--bundle", "bundle", "--shard-rows", "50")
    return [*MIEN, *given, "--shards", shards, *options]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A cluster of two cores, which is ended with all its processes."""
    port = _free_port()
    place = Path(f"/tmp/mien-ray-{port}")  # noqa: S108 - names of sockets may be 107 bytes long
    command = [str(PROGRAMS / "ray"), "start", "--head", "--block", f"--port={port}", "--num-cpus=2"]
    command += ["--include-dashboard=false", "--object-store-memory=150000000", f"--temp-dir={place}"]
    process = subprocess.Popen(
        command,
        env=ONE_THREAD,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert any("Ray runtime started" in line for line in process.stdout)
        yield Cluster(f"127.0.0.1:{port}", process.pid)
    finally:
        for number in (process.pid, *_of(process.pid)):
            with suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
        process.wait()
        shutil.rmtree(place, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return int(asked.getsockname()[1])


def _wait(is_so: Callable[[], bool], seconds: float = 900) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.05)


def _of(session: int) -> list[int]:
    """Return the processes of a session."""
    found = []
    for number in (int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()):
        with suppress(ProcessLookupError):
            if os.getsid(number) == session:
                found.append(number)
    return found


def _workers(cluster: Cluster) -> list[int]:
    """Return the processes that rate, by what Ray calls them: actors, and the children in which they rate."""
    found = []
    for number in _of(cluster.process):
        with suppress(OSError):
            if b"MapWorker" in Path(f"/proc/{number}/cmdline").read_bytes():
                found.append(number)
    return found


def _assert_same(folder: Path, shards: str) -> None:
    """Compare all bytes, and count the photographs."""
    one, other = ({f.name: f.read_bytes() for f in (folder / name).iterdir()} for name in (shards, "alone"))
    assert one == other
    rows = [json.loads(line) for line in rows_of(folder / shards).splitlines()]
    assert len({row["photo"] for row in rows}) == len(rows) == ROWS
    assert sum(row["error"] is not None for row in rows) == sum(
        number % BAD == 0 for number in range(1500, ROWS)
    )


def _shards(folder: Path, name: str) -> int:
    return len(list((folder / name).glob("part-*")))


def _begin(folder: Path, name: str, options: Sequence[str]) -> "subprocess.Popen[str]":
    """Begin to rate on the cluster, and return when a drawn number of shards is there, at a drawn row."""
    draw = random.Random(f"{SEED} {name}")  # noqa: S311
    process = subprocess.Popen(
        _command(name, *options), cwd=folder, env=ONE_THREAD, stdout=subprocess.PIPE, text=True
    )
    first = draw.randrange(1, 25)
    _wait(lambda: process.poll() is not None or _shards(folder, name) >= first)
    assert process.poll() is None
    time.sleep(draw.uniform(0, 0.5))
    return process


def test_a_worker_that_is_killed_costs_and_doubles_no_row(folder: Path, cluster: Cluster):
    """Whether it is an actor of Ray or the child that rates in it is drawn too."""
    process = _begin(folder, "worker", ["--ray", cluster.address])
    before = _shards(folder, "worker")
    killed = random.Random(SEED).choice(_workers(cluster))  # noqa: S311
    os.kill(killed, signal.SIGKILL)
    said, _ = process.communicate(timeout=1800)
    assert process.returncode == 2  # some photographs are none
    assert said.splitlines()[-1].startswith(f"{ROWS} rows in ")
    assert before < _shards(folder, "worker") - 1
    _assert_same(folder, "worker")


def test_a_command_that_is_killed_goes_on(folder: Path, cluster: Cluster):
    process = _begin(folder, "driver", ["--ray", cluster.address])
    process.kill()
    process.communicate()
    before = _shards(folder, "driver")
    assert 0 < before < _shards(folder, "alone")
    done = subprocess.run(
        _command("driver", "--ray", cluster.address, "--resume"),
        cwd=folder,
        env=ONE_THREAD,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout.startswith(f"{ROWS} rows in ")
    _assert_same(folder, "driver")


def test_a_run_on_this_machine_that_is_killed_goes_on(folder: Path):
    process = _begin(folder, "here", ["--jobs", "2"])
    process.kill()
    process.communicate()
    assert 0 < _shards(folder, "here") < _shards(folder, "alone")
    subprocess.run(_command("here", "--jobs", "2", "--resume"), cwd=folder, env=ONE_THREAD, check=False)
    _assert_same(folder, "here")


def _refused(folder: Path, address: str) -> float:
    """Rate on a cluster that is not there, and return the seconds that it took to say so."""
    start = time.monotonic()
    command = _command("nowhere", "--ray", address)
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith(f"mien: no Ray cluster at {address} (")
    return time.monotonic() - start


def test_a_cluster_that_cannot_be_reached_is_one_line_in_time(folder: Path):
    """A busy machine is slow to begin at all, which a closed port tells; quiet ones need less than 15 s."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{other.getsockname()[1]}"
        at_once = _refused(folder, address)
        other.listen()
        assert _refused(folder, address) < 10 + 4 * at_once
