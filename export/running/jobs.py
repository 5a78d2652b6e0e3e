"""Conversions run some at a time, each as soon as what it needs is there."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from mien.export.errors import ConversionError
from mien.mobile_reference.report.steps import Progress

from .isolation import Conversion, Limits, Usage, finished

REUSED = Usage(0.0, 0)
"""What a conversion used that was made before."""


@dataclass(frozen=True)
class Job:
    """One conversion: ``work`` runs it in the current process, once the jobs titled ``after`` have ended.

    ``makes`` are the files and folders that it may leave in the folder of the export, by which a conversion
    that was made before stands for it; ``reads`` are files that decide what it makes, beside what all
    conversions of an export follow from.
    """

    title: str
    log: Path
    work: Callable[[], None]
    after: tuple[str, ...] = ()
    makes: tuple[str, ...] = ()
    reads: tuple[Path, ...] = ()


class Made(Protocol):
    """Knows conversions that were made before."""

    def fetch(self, job: Job) -> bool:
        """Put what a conversion makes into its place; tell whether it was made before."""
        ...

    def keep(self, job: Job) -> None:
        """Remember what a conversion made."""
        ...


@dataclass(frozen=True)
class Ran:
    """What conversions ``used``, by title, and why others were ``lost``."""

    used: Mapping[str, Usage]
    lost: Mapping[str, ConversionError]


def run_jobs(
    jobs: Sequence[Job],
    workers: int,
    progress: Progress,
    limits: Limits | None = None,
    made: Made | None = None,
) -> Ran:
    """Run conversions, ``workers`` at a time; one that is lost ends no other but those behind it.

    A job stands behind those that it comes after. Whatever ends this function, an interrupt too, ends those
    that run, and no other is begun. What was ``made`` before is taken from there (``REUSED``).
    """
    found = [job for job in jobs if made and made.fetch(job)]
    waiting, running = [job for job in jobs if job not in found], list[Conversion]()
    ended: dict[str, Usage | ConversionError] = {job.title: REUSED for job in found}
    by_title = {job.title: job for job in jobs}
    try:
        while waiting or running:
            _begin(waiting, running, ended, workers, limits or Limits())
            for one in finished(running):
                running.remove(one)
                ended[one.title] = _outcome(one, by_title[one.title], made)
                if isinstance(ended[one.title], Usage):
                    progress(one.title, len(ended), len(jobs))
    finally:
        for one in running:
            one.end()
    return Ran(
        {title: end for title, end in ended.items() if isinstance(end, Usage)},
        {title: end for title, end in ended.items() if isinstance(end, ConversionError)},
    )


def all_lost(lost: Mapping[str, ConversionError], count: int) -> ConversionError:
    """Return the error of conversions, ``lost`` out of so many, without which no bundle is made."""
    reasons = "; ".join(str(lost[title]) for title in sorted(lost))
    return ConversionError(f"{len(lost)} of {count} conversions lost, no bundle is made: {reasons}")


def _begin(
    waiting: list[Job],
    running: list[Conversion],
    ended: dict[str, Usage | ConversionError],
    workers: int,
    limits: Limits,
) -> None:
    """Begin as many jobs as there are free workers; those whose needs were lost end at once."""
    for job in tuple(waiting):
        lost = next((title for title in job.after if isinstance(ended.get(title), ConversionError)), None)
        if lost is not None:
            waiting.remove(job)
            ended[job.title] = ConversionError(f"{job.title}: needs what {lost} makes, which was lost")
        elif len(running) < workers and all(title in ended for title in job.after):
            waiting.remove(job)
            running.append(Conversion(job.work, job.log, limits, job.title))


def _outcome(one: Conversion, job: Job, made: Made | None) -> Usage | ConversionError:
    try:
        used = one.result()
    except ConversionError as error:
        return error
    if made:
        made.keep(job)
    return used
