"""Which variant of a platform an app should take: the smallest that errs by at most a third of its tolerance.

Judged is the end-to-end model by the golden inputs, from which neither weights nor ranges were made, as they
are and varied: the easiest alone forgive almost everything. What ``mien verify --faces`` finds over more
inputs may be worse, and it says so.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mien.export.variants import variant_named
from mien.mobile_reference.bundle.reader import size_of
from mien.mobile_reference.contract import PipelineSpec
from mien.mobile_reference.run.models import open_model
from mien.mobile_reference.run.runner import rating_of
from mien.models.pipeline import Sample

# Other inputs err more: a palette that had 0.20 points here had 0.50 on 132 held-out faces.
_MARGIN = 1 / 3


@dataclass(frozen=True)
class Judgement:
    """What an end-to-end model weighs in ``bytes``, and the worst error of its rating in ``points``."""

    name: str
    tolerance: float
    bytes: int
    points: float

    @property
    def passed(self) -> bool:
        """Tell whether a third of the tolerance holds; a rating that is not a number never passes."""
        return self.points <= self.tolerance * _MARGIN

    @property
    def platform(self) -> str:
        """The platform that the variant is for."""
        return self.name.partition("-")[0]


def model_of(folder: Path, variant: str, model: str) -> Path:
    """Say where a conversion puts a model."""
    return folder / variant / f"{model}{variant_named(variant).suffix}"


def judge(folder: Path, variant: str, spec: PipelineSpec, samples: Sequence[Sample]) -> Judgement:
    """Rate ``samples`` by what the conversions made under ``folder``/``variant``."""
    models = {
        model.name: open_model(
            variant_named(variant).platform, model_of(folder, variant, model.name), spec, model.name
        )
        for model in spec.served
    }
    errors = []
    for sample in samples:
        known = {name: sample.tensors[name] for name in spec.inputs}
        for model in spec.served:
            known |= models[model.name]({name: known[name] for name in model.inputs})
        errors.append(abs(rating_of(spec, known) - rating_of(spec, sample.tensors)))
    worst = math.nan if any(map(math.isnan, errors)) else max(errors)
    size = sum(size_of(model_of(folder, variant, model.name)) for model in spec.served)
    tolerance = spec.rating.limit(variant) or variant_named(variant).tolerance
    # Four digits, so that another order of sums on another host leaves the manifest the same.
    return Judgement(variant, tolerance, size, round(worst, 4))


def choose(judged: Sequence[Judgement]) -> dict[str, str]:
    """Name the smallest variant that passes, by platform; a platform where none does is not named."""
    passing = sorted((j for j in judged if j.passed), key=lambda j: j.bytes, reverse=True)
    return {judgement.platform: judgement.name for judgement in passing}
