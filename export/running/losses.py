"""What an export leaves out because a conversion was lost, and when that ends it."""

from collections.abc import Iterator, Mapping, Sequence

from mien.export.errors import ConversionError
from mien.export.variants import NAMES

from .jobs import Job, all_lost


def lost_variants(
    jobs: Sequence[Job], lost: Mapping[str, ConversionError], asked: Sequence[str]
) -> dict[str, ConversionError]:
    """Return why a variant has not all of its models, by name; ``lost`` are conversions by title.

    Raises:
        ConversionError: float32 of TFLite is among them, by which others are judged, or every variant that
            was asked for.
    """
    found: dict[str, ConversionError] = {}
    for job in (job for job in jobs if job.title in lost):
        for variant in _variants(job):
            found.setdefault(variant, lost[job.title])
    if NAMES[0] in found or (asked and found.keys() >= set(asked)):
        raise all_lost(lost, len(jobs))
    return found


def _variants(job: Job) -> Iterator[str]:
    """Name the variants of which a conversion makes a model."""
    return (folder for place in job.makes if (folder := place.partition("/")[0]) in NAMES)


def told(lost: Mapping[str, ConversionError], variants: Sequence[str]) -> list[str]:
    """Say which of ``variants`` are left out and why, those for one reason in one line."""
    by_reason: dict[str, list[str]] = {}
    for name in (name for name in variants if name in lost):
        by_reason.setdefault(str(lost[name]), []).append(name)
    return [
        f"{', '.join(names)} left out, for a conversion was lost: {reason}"
        for reason, names in by_reason.items()
    ]
