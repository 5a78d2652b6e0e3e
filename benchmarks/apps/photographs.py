"""What an app recorded of golden photographs: gates from there on, and the bits of the early exit."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mien.benchmarks.pipeline import judged_limits, unit_of, worst
from mien.benchmarks.results.records import Parity
from mien.mobile_reference.bundle.reader import Bundle

from .generated_project import photograph_of

Block = Mapping[str, Any]
Scores = Sequence[Mapping[str, Any]]


def photograph_parity(bundle: Bundle, blocks: Sequence[Block]) -> Iterator[Parity]:
    """Hold the gates from the golden photographs on, and the early exit to the bits of all stages."""
    goldens = [golden.name for golden in bundle.goldens if photograph_of(bundle, golden)]
    for name, limit in judged_limits(bundle.spec, blocks[0]["variant"]).items() if goldens else ():
        tensor = bundle.spec.tensor(name)
        rated = [[s for s in block.get("photographs", ()) if s["golden"] in goldens] for block in blocks]
        errors = [largest(scores, goldens, name) for scores in rated]
        yield Parity(f"{name} from the photograph on", worst(errors), limit, unit_of(tensor))
    scores = [score for block in blocks for score in (*block["scores"], *block.get("photographs", ()))]
    for name in sorted({name for score in scores for name in score.get("changed", ())}):
        yield Parity(f"{name} with the early exit", 1, 0, "differ")


def largest(scores: Scores, goldens: Sequence[str], tensor: str) -> float:
    """Return a tensor's largest difference over golden inputs, each of which must be there once."""
    found = [score["differences"].get(tensor) for score in scores]
    complete = sorted(score["golden"] for score in scores) == sorted(goldens)
    return worst([math.inf if one is None else one for one in found]) if complete else math.inf
