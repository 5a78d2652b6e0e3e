"""The verdict for each class of phones: measured before estimated, and never more than is known."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mien.benchmarks.errors import ReportError
from mien.benchmarks.estimates.evidence import claim_goals, class_verdicts
from mien.benchmarks.reporting.page import make_page
from mien.benchmarks.results.records import Device, Latency, Result, Stage, make_report
from mien.mobile_reference.bundle.reader import open_bundle
from mien.mobile_reference.commands.console import main

SETTINGS = {
    "input": "face.png",
    "input_sha256": "0" * 64,
    "blocks": 1,
    "runs": 2,
    "warmup": 1,
    "cpus": [],
}


def phone(soc: str, ms: float, kind: str = "android") -> Result:
    device = Device(kind, f"maker model, {soc}, 2x2.40 GHz", "arm64-v8a", 8, "Android 15", "litert")
    stages = (Stage("step", "total", ((ms, ms),)),)
    return Result("android", "tflite-fp32", device, 1, Latency(stages, (1.0,), (1.0,), 1), ())


def estimated(phones: str, claim: float | None, verdict: str, **more: Any) -> dict[str, Any]:
    return {
        "phones": phones,
        "unit": "CPU 4 threads",
        "precision": "float",
        "claim_ms": claim,
        "verdict": verdict,
        "refused": None if claim else "too large",
    } | more


def states(results: list[Result], estimates: list[dict[str, Any]]) -> dict[str, str]:
    return {verdict.phones: verdict.state for verdict in class_verdicts(results, estimates)}


def test_a_measured_phone_outranks_the_estimate_of_its_chip() -> None:
    estimates = [estimated("2020 mid-range", 500.0, "met"), estimated("2018 flagship", 400.0, "met")]
    found = list(class_verdicts([phone("SM7250", 1500.0)], estimates))
    assert [(v.phones, v.state) for v in found] == [("2020 mid-range", "not met"), ("2018 flagship", "met")]
    assert found[0].basis.startswith("measured: tflite-fp32, p90 1500 ms")
    assert "no phone" in found[1].basis
    doubtful = replace(phone("SM7250", 1500.0), notes=("unstable: the battery saver is on",))
    assert next(class_verdicts([doubtful], estimates)).basis.endswith(", unstable")


def test_a_phone_of_no_class_stands_for_itself() -> None:
    assert states([phone("unheard", 20.0)], [estimated("2018 flagship", 400.0, "met")]) == {
        "maker model, unheard, 2x2.40 GHz": "met",
        "2018 flagship": "met",
    }


@pytest.mark.parametrize("kind", ["host", "android-emulator", "mac"])
def test_what_is_no_phone_decides_nothing(kind: str) -> None:
    assert states([phone("SM7250", 20.0, kind)], [estimated("2020 mid-range", None, "no evidence")]) == {
        "2020 mid-range": "no evidence"
    }


def test_nothing_is_denied_while_a_row_says_nothing() -> None:
    slow = estimated("x", 4000.0, "not met")
    assert states([], [slow]) == {"x": "not met"}
    assert states([], [slow, estimated("x", None, "no evidence")]) == {"x": "no evidence"}
    assert states([], [slow, estimated("x", 300.0, "met")]) == {"x": "met"}


def test_a_goal_says_by_how_much_it_is_kept_or_missed() -> None:
    found = [estimated("2020 mid-range", claim, "no evidence") for claim in (1400.0, None, 1200.0)]
    cpu, npu = claim_goals([*found, estimated("2020 flagship", 10.0, "met")])
    assert cpu.line == "claim for 2020 mid-range CPU: 1,200 ms; goal 1,000 ms, missed"
    assert npu.line == "claim for 2022 flagship NPU: none; goal 100.0 ms, no figure"


def test_measurements_and_estimates_share_a_page(bundle: Path, tmp_path: Path) -> None:
    measured, estimate = tmp_path / "phone.json", tmp_path / "estimate.json"
    opened = open_bundle(bundle)
    measured.write_text(json.dumps(make_report(opened, SETTINGS, (phone("SM7250", 1500.0),))))
    for arguments in (
        ["bench", str(bundle), "--estimate", "-o", str(estimate)],
        ["bench", "page", str(measured), str(estimate), "-o", str(tmp_path / "page.html")],
    ):
        with pytest.raises(SystemExit) as end:
            main(arguments)
        assert not end.value.code
    verdicts = (tmp_path / "page.html").read_text().split("<h2>")[1]
    assert "measured: tflite-fp32, p90 1500 ms" in verdicts
    assert verdicts.count("2020 mid-range") == 1
    assert "2022 flagship" in verdicts


def test_reports_of_two_bundles_make_no_page(bundle: Path) -> None:
    first = make_report(open_bundle(bundle), SETTINGS, (phone("SM7250", 1.0),))
    second = first | {"bundle": {"name": "other", "manifest_sha256": "1" * 64}}
    with pytest.raises(ReportError, match="2 different bundles"):
        make_page([first, second])


def test_a_page_without_phones_says_so(bundle: Path) -> None:
    host = replace(phone("x", 5.0, "host"), target="host")
    assert "no phone was measured" in make_page([make_report(open_bundle(bundle), SETTINGS, (host,))])
