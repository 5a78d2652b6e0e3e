"""What is done on a Ray cluster, as far as it needs no Ray; tests/cluster has the cluster itself."""

import pickle
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from mien.mobile_reference.commands.appraise import _rater, _row_for
from mien.mobile_reference.errors import UsageError
from mien.mobile_reference.rating.on_ray import ActorJob, _Actor, _knock
from mien.mobile_reference.rating.photographs import units_of
from mien.mobile_reference.rating.places import LocalFile
from mien.mobile_reference.rating.shards import JSON_LINES, ShardFolder, versions
from tests.mobile_reference.rating.calls import Call

Jpegs = Sequence[bytes]


@pytest.fixture
def job(call: Call, tiny: Path, jpegs: Jpegs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ActorJob:
    """Three photographs in two units, whose rows are in ``alone``; the working directory is the bundle."""
    for number in range(3):
        (tmp_path / f"{number}.jpg").write_bytes(jpegs[number])
    for name in ("alone", "rows"):
        call(*(f"{number}.jpg" for number in range(3)), "--bundle", tiny, "--shards", name, "--shard-rows", 2)
    for file in (tmp_path / "rows").glob("part-*"):
        file.unlink()
    folder = ShardFolder(LocalFile(tmp_path / "rows"), JSON_LINES)
    monkeypatch.chdir(tiny)
    open_rater = partial(_rater, None, None, 1, False, False)  # noqa: FBT003 - as click passes flags
    return ActorJob(open_rater, _row_for(folder), folder, tmp_path, folder.settings(), versions())


def _rate(job: ActorJob) -> list[dict[str, object]]:
    actor = pickle.loads(pickle.dumps(partial(_Actor, job)))()  # noqa: S301
    units = units_of([LocalFile(Path(f"{number}.jpg")) for number in range(3)], "image", 2)
    return [actor({"item": pickle.dumps(unit)}) for unit in units]


def test_an_actor_writes_the_shards_of_a_run_here(job: ActorJob, tmp_path: Path) -> None:
    assert _rate(job) == [{"rows": 2, "failed": 0, "error": ""}, {"rows": 1, "failed": 0, "error": ""}]
    one, other = ({f.name: f.read_bytes() for f in (tmp_path / n).iterdir()} for n in ("rows", "alone"))
    assert one == other


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"settings": b"{}"}, "is another folder there; give one that all machines share"),
        ({"versions": {"mien": "9"}}, "install the same on all machines"),
    ],
)
def test_a_machine_that_differs_writes_nothing_and_says_so(
    job: ActorJob, tmp_path: Path, change: dict[str, object], part: str
) -> None:
    told = _rate(replace(job, **change))  # type: ignore[arg-type]
    assert all(part in str(one["error"]) for one in told)
    assert not list((tmp_path / "rows").glob("part-*"))


@pytest.mark.parametrize("address", ["nonsense", "127.0.0.1:99999", "127.0.0.1:-1", ":", "[::1]:x"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(UsageError, match="no Ray cluster at"):
        _knock(address)


def test_where_nobody_listens_there_is_no_cluster() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        with pytest.raises(UsageError, match="no Ray cluster at"):
            _knock(f"127.0.0.1:{other.getsockname()[1]}")


def test_what_waits_in_native_code_is_given_up_with_one_line() -> None:
    code = (
        "import os, time\n"
        "from mien.mobile_reference.rating.on_ray import _given_up_after\n"
        "with _given_up_after(600, 'not this'): os.write(2, b'native words')\n"
        "with _given_up_after(0.3, 'it does not answer'): time.sleep(600)"
    )
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "mien: it does not answer\n")
    assert time.monotonic() - start < 300
