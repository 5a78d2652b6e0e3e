"""Deformities of known severity: bounded, seeded, where they belong, and growing with their severity."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Generator, Tensor

from mien.models.appraisal.networks.appraisal import AppraisalRule, face_region
from mien.models.appraisal.training import deformities
from mien.models.appraisal.training.deformities import DEFORMITIES, Deformity, cleft, deform, droop

SEEDS = st.integers(0, 2**31 - 1)
REACH = face_region(AppraisalRule(), 64)[0, 0]


def rng(seed: int) -> Generator:
    return Generator().manual_seed(seed)


def change(face: Tensor, deformity: Deformity, severity: float, seed: int) -> Tensor:
    """Return by how much each place [64, 64] of a face changes."""
    return (deformity(face, REACH, severity, rng(seed)) - face).abs().amax(dim=0)


@given(SEEDS)
def test_a_deformed_face_stays_in_range_and_follows_its_seed(small: Tensor, seed: int):
    face, severity = deform(small, REACH, rng(seed))
    assert face.shape == small.shape
    assert 0 <= face.min() <= face.max() <= 1
    assert 0.05 <= severity <= 1
    again = deform(small, REACH, rng(seed))
    assert torch.equal(face, again.face)
    assert severity == again.severity


@pytest.mark.parametrize("deformity", DEFORMITIES)
@given(seed=SEEDS)
@settings(max_examples=15)
def test_a_deformity_leaves_the_background_as_it_is(small: Tensor, deformity: Deformity, seed: int):
    # What is farther from the face than a deformity is wide; what is moved by nothing is resampled.
    assert change(small, deformity, 1.0, seed)[:6].max() < 1 / 255


@pytest.mark.parametrize("deformity", DEFORMITIES)
def test_a_deformity_grows_with_its_severity(small: Tensor, deformity: Deformity):
    little, some, much = (
        float(torch.stack([change(small, deformity, severity, seed) for seed in range(8)]).mean())
        for severity in (0.1, 0.4, 1.0)
    )
    assert 0 < 1.5 * little < some < much / 1.2


@pytest.mark.parametrize(
    ("deformity", "rows"), [(cleft, slice(30, 46)), (droop, slice(16, 56))], ids=["cleft", "droop"]
)
def test_a_deformity_of_a_part_lies_on_it(small: Tensor, deformity: Deformity, rows: slice):
    changed = torch.stack([change(small, deformity, 1.0, seed) for seed in range(8)]).mean(dim=0)
    assert changed[rows, 12:52].sum() > 0.9 * changed.sum()


def test_most_deformities_can_be_seen(small: Tensor):
    seen = [(deform(small, REACH, rng(seed)).face - small).abs().max() > 0.1 for seed in range(20)]
    assert sum(seen) > 10


def test_middling_severities_and_spots_and_swellings_are_drawn_more_often(
    small: Tensor, monkeypatch: pytest.MonkeyPatch
):
    drawn: list[str] = []

    def counted(name: str) -> Deformity:
        def draw(face: Tensor, _reach: Tensor, _severity: float, _rng: Generator) -> Tensor:
            drawn.append(name)
            return face

        return draw

    kinds = tuple(counted(draw.__name__) for draw in deformities._DRAWN)
    monkeypatch.setattr(deformities, "_DRAWN", kinds)
    count = 600
    severities = [deform(small, REACH, Generator().manual_seed(seed)).severity for seed in range(count)]
    middling = sum(0.3 <= severity <= 0.7 for severity in severities) / count
    # A half, and of the other half what an even draw has there; four standard deviations are 0.08.
    assert middling == pytest.approx(0.5 + 0.5 * 0.4 / 0.95, abs=0.08)
    assert min(severities) < 0.15
    assert max(severities) > 0.9
    shares = {name: drawn.count(name) / count for name in set(drawn)}
    expected = {"cleft": 0.1, "droop": 0.1, "scar": 0.2, "spot": 0.3, "swelling": 0.3}
    assert shares == pytest.approx(expected, abs=0.08)
