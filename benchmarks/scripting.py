"""What scripts do to time a bundle on the machine that they run on."""

from collections.abc import Sequence
from pathlib import Path

from mien.mobile_reference.bundle.reader import Bundle
from mien.mobile_reference.scripting import opened

from .pipeline import first_given, timed_variants
from .results.records import BenchSpec, Result
from .targets.host import HostTarget

__all__ = ["bench_bundle"]


def bench_bundle(
    bundle: Bundle | Path | str,
    *,
    variants: Sequence[str] = (),
    photograph: Path | str | None = None,
    threads: int = 1,
    processes: int = 5,
    runs: int = 10,
    warmup: int = 3,
) -> tuple[Result, ...]:
    """Time variants of a bundle on this machine, which says nothing of a phone.

    Args:
        bundle: a folder, or what ``open_bundle`` returned.
        variants: names of those to time; without any all TFLite ones.
        photograph: a file that every run begins with, where the pipeline takes photographs; without one, the
            first golden input.
        threads: of one model's run.
        processes: how many fresh processes time each variant.
        runs: timed runs of each process.
        warmup: untimed runs of each process, before.

    Returns:
        One result for each variant: ``latency`` with the milliseconds of every stage and run, ``parity`` with
        how far the timed runs were from float, ``failures`` with what makes a result worthless.

    Raises:
        BundleError: the bundle is incomplete or was changed.
        UsageError: the bundle has no such variant, or takes no photographs.
        TargetError: a process that measures failed or took too long.

    Example:
        >>> (result,) = mien.bench_bundle("bundle", variants=["tflite-int8"], processes=1, runs=2)
        >>> list(result.failures)
        []
    """
    known = opened(bundle)
    given = first_given(known, Path(photograph) if photograph is not None else None)
    target = HostTarget(lambda _: None)
    return tuple(
        target.run(BenchSpec(known, name, given, threads, warmup, runs, processes))
        for name in timed_variants(known, variants)
    )
