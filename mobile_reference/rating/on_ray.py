"""Rating on a Ray cluster by Ray Data: one actor a core, which rates unit by unit and writes their shards.

Ray hands units out, gives those of a lost process to another, and carries the bundle to every machine. A
shard depends on its unit alone and is written whole or not at all, so one that is written twice is the same.
"""

import logging
import os
import pickle
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mien.mobile_reference.errors import UsageError
from mien.mobile_reference.output.text import say

from .photographs import Unit
from .rows import MakeRow, Portion, Rater, Share
from .shards import ShardFolder, Written, versions

AUTO = "auto"
_ADDRESS = "RAY_ADDRESS"
_SECONDS = 8
"""As long the cluster may take to answer."""


@dataclass(frozen=True)
class ActorJob:
    """What every actor does: rate with a bundle, whose folder ``open_rater`` is given, and write shards.

    ``here`` is where relative paths begin, ``settings`` what the folder of shards says of its rows, and
    ``versions`` are those of the packages that compute them.
    """

    open_rater: Callable[[Path], Rater]
    make_row: MakeRow
    folder: ShardFolder
    here: Path
    settings: bytes | None
    versions: Mapping[str, str]


def written_on_ray(
    address: str, bundle: Path, job: ActorJob, units: Sequence[Unit], actors: int | None
) -> Iterator[Written]:
    """Rate units on a cluster, and yield what was written as it comes, in any order.

    Args:
        address: ``HOST:PORT`` of the cluster, or ``auto`` for the one that runs on this machine.
        bundle: The bundle's folder here.
        job: What every actor does.
        units: What is rated.
        actors: The most actors; none: one for each core of the cluster.

    Raises:
        UsageError: there is no such cluster, one of its machines cannot do the job, or Ray gave up.
    """
    with _connected(address, bundle):
        import ray
        from ray import data

        logging.getLogger("ray.data").setLevel(logging.ERROR)
        data.DataContext.get_current().enable_progress_bars = False
        most = actors or max(int(ray.cluster_resources().get("CPU", 1)), 1)
        packed = [pickle.dumps(unit) for unit in units]
        rated = data.from_items(packed, override_num_blocks=len(packed)).map(
            _Actor,
            fn_constructor_args=(job,),
            num_cpus=1,
            compute=data.ActorPoolStrategy(size=min(most, len(packed))),
        )
        try:
            for told in rated.iter_rows():
                if told["error"]:
                    raise UsageError(told["error"])
                yield Written(told["rows"], told["failed"])
        except ray.exceptions.RayError as error:  # its text has the traceback of another machine
            reason = str(error).strip().rpartition("\n")[2]
            raise UsageError(
                f"Ray gave the work up ({reason:.300}); mend that, and go on by --resume"
            ) from error


class _Actor:
    """Holds the bundle, which Ray has put into the working directory of its process."""

    def __init__(self, job: ActorJob) -> None:
        self._job = job
        self._open_rater = partial(job.open_rater, Path.cwd())
        if job.here.is_dir():
            os.chdir(job.here)

    def __call__(self, told: dict[str, Any]) -> dict[str, Any]:
        """Rate a unit and write its shard; a typed error is told, since Ray would bury it in its own."""
        unit: Unit = pickle.loads(told["item"])  # noqa: S301 - of our own command
        try:
            written = self._write(unit)
        except Exception as error:
            if not hasattr(error, "exit_code"):
                raise
            return {"rows": 0, "failed": 0, "error": f"{socket.gethostname()}: {error}"}
        return {**written._asdict(), "error": ""}

    def _write(self, unit: Unit) -> Written:
        folder = self._job.folder
        if versions() != self._job.versions:
            raise UsageError(
                f"it has {dict(versions())}, not {dict(self._job.versions)}; install the same on all machines"
            )
        if folder.settings() != self._job.settings:
            raise UsageError(f"{folder.place.name} is another folder there; give one that all machines share")
        share = Share(self._open_rater, Portion((unit,)), self._job.make_row)
        try:
            return folder.write(unit.number, [row.record for row in share])
        finally:
            share.end()


@contextmanager
def _connected(address: str, bundle: Path) -> Iterator[None]:
    """Be connected with a cluster, which puts a copy of the bundle on each of its machines.

    Raises:
        UsageError: nothing answers there, or what answers is not a cluster of this version of Ray.
    """
    address = os.environ.get(_ADDRESS, AUTO) if address == AUTO else address
    if address != AUTO:
        _knock(address)
    os.environ.setdefault(
        "RAY_BACKEND_LOG_LEVEL", "fatal"
    )  # before Ray is imported; its errors are raised too
    import ray

    connect = partial(ray.init, address=address, logging_level=logging.ERROR, log_to_driver=False)
    try:
        with _given_up_after(_SECONDS, str(_no_cluster(address, "it does not answer as one"))):
            connect()
        ray.shutdown()
        connect(runtime_env={"working_dir": str(bundle.absolute())})  # a large bundle may take its time
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise _no_cluster(address, error) from error
    with redirect_stdout(sys.stderr):  # Ray prints when a worker dies, and once more at its end
        try:
            yield
        finally:
            ray.shutdown()


def _knock(address: str) -> None:
    """Ask whether anything listens there."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _SECONDS).close()
    except (OSError, ValueError, OverflowError) as error:
        raise _no_cluster(address, error) from error


def _no_cluster(address: str, reason: object) -> UsageError:
    text = " ".join(str(reason).split())
    return UsageError(
        f"no Ray cluster at {address} ({text:.160}); begin one by 'ray start --head', "
        "or give the HOST:PORT of its head"
    )


@contextmanager
def _given_up_after(seconds: float, message: str) -> Iterator[None]:
    """End this process with a message if what is done takes longer; until then native code says nothing.

    Ray waits for minutes in native code, which no exception reaches. Nothing is lost: no row is there yet.
    """
    errors, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)

    def give_up() -> None:
        os.dup2(errors, 2)
        say(message)
        os._exit(UsageError.exit_code)

    waiting = threading.Timer(seconds, give_up)
    waiting.daemon = True
    os.dup2(nowhere, 2)
    waiting.start()
    try:
        yield
    finally:
        waiting.cancel()
        os.dup2(errors, 2)
        os.close(errors)
        os.close(nowhere)
