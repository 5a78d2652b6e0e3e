"""The measures in C follow the vectors, and its limits those of the runner."""

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mien.mobile_reference.contract import ABOVE, BELOW, LimitSpec
from mien.mobile_reference.front.quality import MEASURES, NOTE, OK, REFUSE, judge
from tests.mobile_reference.front.harness import compiled
from tests.mobile_reference.front.test_quality import CASES, TWO_PIXELS, VECTORS

ROOT = Path(__file__).parents[3]
NAMES = [measure.name for measure in MEASURES]
LIMITS = [
    (value, LimitSpec("turn", worse, note, refuse))
    for worse in (ABOVE, BELOW)
    for note, refuse in ((0.5, 0.5), (None, 0.5), (0.5, None), (None, None), (0.5, 0.9), (0.5, 0.1))
    for value in (-1.0, 0.1, 0.3, 0.5, 0.7, 0.9, 2.0, float("nan"))
]


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled("quality", tmp_path_factory.mktemp("harness"))


def _nan(bound: float | None) -> float:
    return float("nan") if bound is None else bound


def answer(harness: Path, case: dict[str, Any]) -> bytes:
    extent = case["photograph"]
    sizes = np.array(
        [extent["width"], extent["height"], VECTORS["size"], case["faces"], len(LIMITS)], np.int32
    )
    region = [*VECTORS["region_centre"], *VECTORS["region_radii"], VECTORS["region_exponent"]]
    numbers = [case["score"], *np.ravel(case["matrix"]), *np.ravel(case["keypoints"])]
    numbers += [*np.ravel(VECTORS["template"]), *region]
    limits = [[value, limit.worse == ABOVE, _nan(limit.note), _nan(limit.refuse)] for value, limit in LIMITS]
    parts = (sizes, np.array(numbers, float), bytes.fromhex(case["pixels"]), np.array(limits, float))
    given = b"".join(part if isinstance(part, bytes) else part.tobytes() for part in parts)
    return subprocess.run([harness], input=given, capture_output=True, check=True).stdout


@pytest.mark.parametrize("case", CASES)
def test_the_measures_in_c_follow_the_vectors(case: dict[str, Any], harness: Path):
    found = dict(zip(NAMES, np.frombuffer(answer(harness, case)[: 8 * len(NAMES)]), strict=True))
    expected = case["measures"]
    assert found.pop("outside") == pytest.approx(expected["outside"], abs=TWO_PIXELS)
    assert found == pytest.approx({name: expected[name] for name in found}, abs=1e-6)


def test_the_limits_in_c_are_those_of_the_runner(harness: Path):
    verdicts = [[OK, NOTE, REFUSE][code] for code in answer(harness, VECTORS["cases"][0])[8 * len(NAMES) :]]
    assert verdicts == [judge({"turn": value}, [limit])[0].verdict for value, limit in LIMITS]
    assert set(verdicts) == {OK, NOTE, REFUSE}
