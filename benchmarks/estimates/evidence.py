"""The verdict for each class of phones: a phone that was measured outranks an estimate."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mien.benchmarks.results.records import (
    ANDROID,
    BUDGET_MS,
    IPHONE,
    MET,
    NO_EVIDENCE,
    NOT_MET,
    UNSTABLE_NOTE,
    Result,
)
from mien.benchmarks.results.targets_met import Goal

from .published import read_groups

_PHONES = (ANDROID, IPHONE)


@dataclass(frozen=True)
class BudgetVerdict:
    """Whether one class of phones keeps the budget. ``basis`` says on what that rests."""

    phones: str
    state: str
    basis: str


def class_verdicts(
    results: Sequence[Result], estimates: Sequence[Mapping[str, Any]]
) -> Iterator[BudgetVerdict]:
    """Judge every class of phones that was measured or estimated, measured phones first.

    Args:
        results: What targets measured. Hosts, Macs and emulators are not phones and are left out, and so is
            what says nothing about the whole way.
        estimates: The ``estimates`` of a report of ``mien bench --estimate``.
    """
    measured: dict[str, list[Result]] = {}
    for result in results:
        if result.device.kind in _PHONES and result.verdict != NO_EVIDENCE:
            measured.setdefault(_class_of(result.device.name), []).append(result)
    for phones, own in measured.items():
        fastest = min(own, key=lambda result: result.p90_ms or BUDGET_MS)
        basis = f"measured: {fastest.variant}, p90 {fastest.p90_ms:.0f} ms on {fastest.device.name}"
        if any(note.startswith(UNSTABLE_NOTE) for note in fastest.notes):
            basis += ", unstable"
        yield BudgetVerdict(phones, fastest.verdict, basis)
    for phones in dict.fromkeys(entry["phones"] for entry in estimates):
        if phones not in measured:
            yield _estimated(phones, [entry for entry in estimates if entry["phones"] == phones])


def _class_of(device: str) -> str:
    """Find the class of phones with the same chip as a measured one, or let the phone stand for itself."""
    words = set(re.findall(r"\w+", device))
    return next((group.phones for group in read_groups() if group.soc in words), device)


def _estimated(phones: str, entries: Sequence[Mapping[str, Any]]) -> BudgetVerdict:
    """Judge by the row that claims least; nothing is denied while a row decides nothing."""
    claimed = [entry for entry in entries if entry["claim_ms"] is not None]
    if not claimed:
        return BudgetVerdict(phones, NO_EVIDENCE, f"not estimated: {entries[0]['refused']}")
    best = min(claimed, key=lambda entry: float(entry["claim_ms"]))
    state = best["verdict"]
    if state == NOT_MET and len(claimed) < len(entries):
        state = NO_EVIDENCE
    unit, precision = best["unit"], best["precision"]
    verb = "under" if state == MET else "not under"
    basis = f"estimated, no phone: {unit}, {precision}, claim {best['claim_ms']:.0f} ms is {verb} the budget"
    return BudgetVerdict(phones, state, basis)


@dataclass(frozen=True)
class _Wanted:
    """What mien wants an estimate to claim for one class of phones."""

    phones: str
    unit: str
    ms: float


_CLAIMS = (_Wanted("2020 mid-range", "CPU", 1000.0), _Wanted("2022 flagship", "NPU", 100.0))


def claim_goals(estimates: Sequence[Mapping[str, Any]]) -> Iterator[Goal]:
    """Compare what is wanted with the least claim of a class of phones; without one there is no figure."""
    for wanted in _CLAIMS:
        own = [e for e in estimates if e["phones"] == wanted.phones and e["unit"].startswith(wanted.unit)]
        claims = [float(entry["claim_ms"]) for entry in own if entry["claim_ms"] is not None]
        yield Goal(
            what=f"claim for {wanted.phones} {wanted.unit}",
            found=min(claims, default=None),
            limit=wanted.ms,
            unit="ms",
            basis="published times of phones",
        )
