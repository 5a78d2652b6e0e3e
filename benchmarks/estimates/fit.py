"""The fit of published times: a line in four sizes, judged by networks that it has not seen.

ms = start + dense / r1 + depthwise / r2 + activations / r3 + parameters / r4, none of them negative,
fitted to the logarithm of the ratio with a soft-L1 loss, so that ten per cent count alike for small and
large networks and one strange network does not decide. Needs scipy, which the extra ``export`` brings.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray

from mien.mobile_reference.errors import UsageError
from mien.mobile_reference.output.json_text import json_text

from .published import Fit, Group, Published, read_groups, sizes_of

Floats = NDArray[np.float64]
CLAIM = 3.0
"""A claim is this many times the estimate."""
_LIMITS_MS = (3, 10, 30, 100, 300, 1000)
_DIGITS = 5
# A coefficient at its bound of 0 ends at some 1e-13, differently on every machine.
_NOTHING = 1e-9


def fit_all() -> str:
    """Return ``fit.json``: one fit for each group.

    Raises:
        UsageError: scipy is not installed.
    """
    fits = {group.name: asdict(fit_group(group)) for group in read_groups()}
    return json_text(fits, indent=1) + "\n"


def fit_group(group: Group) -> Fit:
    """Fit one group and judge the fit by leaving one network out at a time."""
    ratios = np.array(list(_left_out(group.times)))
    errors = np.abs(1 / ratios - 1)
    coefficients = _fit(group.times)
    return Fit(
        start=_short(coefficients[0]),
        rates=tuple(_short(value) for value in coefficients[1:]),
        networks=len(group.times),
        median_error=_short(np.median(errors)),
        p90_error=_short(np.quantile(errors, 0.9)),
        slowest=_short(ratios.max()),
        false_claims=_short(_false_claims(group.times, ratios)),
    )


def _short(value: float | np.floating) -> float:
    return float(f"{value:.{_DIGITS}g}") if abs(float(value)) > _NOTHING else 0.0


def _left_out(times: Sequence[Published]) -> Iterator[float]:
    """Yield true time / predicted time of each network, predicted without it."""
    for position, published in enumerate(times):
        coefficients = _fit([*times[:position], *times[position + 1 :]])
        yield published.ms / float(coefficients @ [1, *published.size.values])


def _false_claims(times: Sequence[Published], ratios: Floats) -> float:
    true = np.array([published.ms for published in times])[:, None]
    claimed = CLAIM * true / ratios[:, None] < _LIMITS_MS
    return float((claimed & (true >= _LIMITS_MS)).sum() / max(claimed.sum(), 1))


def _fit(times: Sequence[Published]) -> Floats:
    try:
        from scipy.optimize import least_squares, nnls
    except ImportError as error:
        raise UsageError("fitting needs scipy; pip install '.[export]' in a clone of mien") from error
    sizes = sizes_of(times)
    matrix = np.hstack([np.ones((len(times), 1)), sizes])
    true = np.array([published.ms for published in times])
    scale = np.maximum(np.abs(matrix).max(axis=0), 1e-12)
    scaled = matrix / scale
    # Relative errors are linear in the coefficients: a start that is near the end.
    start, _ = nnls(scaled / true[:, None], np.ones(len(times)))

    def residuals(coefficients: Floats) -> Floats:
        return np.asarray(np.log(np.maximum(scaled @ coefficients, 1e-9) / true))

    found = least_squares(residuals, start + 1e-6, bounds=(0, np.inf), loss="soft_l1", x_scale="jac")
    return np.asarray(found.x / scale)
