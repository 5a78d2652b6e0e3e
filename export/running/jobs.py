"""Conversions run some at a time, each as soon as what it needs is there."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mien.export.errors import ConversionError

from .isolation import Conversion, Limits, Usage, finished

Progress = Callable[[str, int, int], None]
"""Told what was finished, how many steps are done, and of how many."""


@dataclass(frozen=True)
class Job:
    """One conversion: ``work`` runs it in the current process, once the jobs titled ``after`` have ended."""

    title: str
    log: Path
    work: Callable[[], None]
    after: tuple[str, ...] = ()


def run_jobs(
    jobs: Sequence[Job], workers: int, progress: Progress, limits: Limits | None = None
) -> dict[str, Usage]:
    """Run conversions, ``workers`` at a time, and return what each used, by title.

    A job stands behind those that it comes after. Whatever ends this function, an interrupt too, ends those
    that run, and no other is begun.

    Raises:
        ConversionError: converters failed; raised after the others ended, and says what was lost.
    """
    waiting, running = list(jobs), list[Conversion]()
    ended: dict[str, Usage | ConversionError] = {}
    try:
        while waiting or running:
            _begin(waiting, running, ended, workers, limits or Limits())
            for one in finished(running):
                running.remove(one)
                ended[one.title] = _outcome(one)
                if isinstance(ended[one.title], Usage):
                    progress(one.title, len(ended), len(jobs))
    finally:
        for one in running:
            one.end()
    lost = {title: end for title, end in ended.items() if isinstance(end, ConversionError)}
    if lost:
        reasons = "; ".join(str(lost[title]) for title in sorted(lost))
        raise ConversionError(f"{len(lost)} of {len(jobs)} conversions lost, no bundle is made: {reasons}")
    return {title: end for title, end in ended.items() if isinstance(end, Usage)}


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


def _outcome(one: Conversion) -> Usage | ConversionError:
    try:
        return one.result()
    except ConversionError as error:
        return error
