"""From a peer's anomaly score, of any unit, to mien's scale: 0..100, 100 for a typical face."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mien.models.appraisal.training.normal import EVIDENCE_SHARE, SCORE_THERE

Scores = NDArray[np.float64]


@dataclass(frozen=True)
class Scale:
    """A map of mien's own form, score = 100 t / (t + e), where e is what exceeds ``typical``.

    Faces below that tie at 100, which costs a rater AUROC: it has to be low.
    """

    typical: float
    tolerated: float

    def score(self, anomaly: Scores) -> Scores:
        """Map anomaly scores [N], the larger the more unusual, to 0..100."""
        evidence = np.maximum(anomaly - self.typical, 0)
        return 100 * (self.tolerated / (self.tolerated + evidence))


def fit_scale(untouched: Scores) -> Scale:
    """Fit the map to anomaly scores [N] of untouched faces.

    The most typical scores 100, and the one at mien's own rank of evidence scores what it scores there.

    Raises:
        ValueError: the scores do not differ, so that they have no scale.
    """
    typical, there = np.quantile(untouched, (0, EVIDENCE_SHARE))
    if not there > typical:
        raise ValueError(f"{len(untouched)} anomaly scores about {typical:g} have no spread to scale by")
    return Scale(float(typical), float((there - typical) / (100 / SCORE_THERE - 1)))
