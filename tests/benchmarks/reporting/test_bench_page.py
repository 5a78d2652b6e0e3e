"""The page: well-formed, complete, self-contained, and safe whatever the report says."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from mien.benchmarks.reporting.page import make_page
from mien.benchmarks.results.records import Device, Latency, Parity, Result, Stage, Work, make_report
from mien.mobile_reference.bundle.reader import open_bundle
from mien.mobile_reference.commands.console import main

EVIL = '<script>alert("x")</script>&'
SETTINGS = {
    "input": EVIL,
    "input_sha256": "0" * 64,
    "blocks": 2,
    "runs": 3,
    "warmup": 1,
    "cpus": [],
}
TIMES = ((5.0, 6.0, 7.0), (5.5, 6.5, 1234.5))


@pytest.fixture
def report(bundle: Path) -> dict[str, Any]:
    stages = (
        *(Stage("step", name, TIMES) for name in ("decode", "front")),
        Stage("model", "total", TIMES),
        Stage("step", "total", TIMES),
    )
    host = Result(
        "host",
        EVIL,
        Device("host", EVIL, "x86_64", 2, "Linux", "litert"),
        1,
        Latency((*stages, Stage("graph", "heatmap", TIMES)), (1.0,), (2.0,), 3),
        (Parity("score of a", 0.5, 2.0, "points"), Parity("score of b", float("nan"), 2.0, "points")),
        notes=(EVIL,),
    )
    emulated = Result(
        "arm64-typical",
        "tflite-int8",
        Device("arm64-emulation", "cortex-a76", "aarch64", 1, "qemu", "litert"),
        1,
        None,
        (),
        (Work("appraisal", 1_234_567, {"xnn_a": 0.75, "rest of LiteRT": 0.25}, 0.75),),
    )
    return make_report(open_bundle(bundle), SETTINGS, (host, emulated))


class Tags(HTMLParser):
    """Checks that every tag is closed in its turn."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.seen.add(tag)
        if tag != "meta":  # which has no end
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        self.seen.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_well_formed_and_alone(report: dict[str, Any]) -> None:
    text = make_page([report])
    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    assert text.count("<script") == 1  # ours, which sorts
    # But for shapes that a chart names and uses.
    assert not re.search(r"\bsrc=|\bhref=\"(?!#)|https?://|@import|url\((?!#)", text)
    assert "&lt;script&gt;" in text


def test_every_figure_is_there(report: dict[str, Any]) -> None:
    text = make_page([report])
    assert text.count("<svg") == 2
    # The sum of the medians of two steps, and all runs of the longest.
    assert "+6, sum 12 ms" in text
    assert len(re.findall(r'<use [^>]*fill="var\(--c[01]\)"', text)) == 6
    for words in ("1234.50", "1,234,567", "host", "arm64-emulation", "FAILED", "not met", "no phone"):
        assert words in text


def test_kinds_have_sections_of_their_own(report: dict[str, Any]) -> None:
    host, emulated = make_page([report]).split("<h2>How")[0].split("<h2><span")[1:]
    assert "1,234,567" not in host
    assert "1234.50" not in emulated


def test_the_command_writes_the_page(report: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "bench.json").write_text(json.dumps(report))
    with pytest.raises(SystemExit) as end:
        main(["bench", "page", str(tmp_path / "bench.json"), "-o", str(tmp_path / "bench.html")])
    assert not end.value.code
    assert (tmp_path / "bench.html").read_text() == make_page([report])


def test_what_is_no_report_makes_no_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bench.json").write_text("{}")
    with pytest.raises(SystemExit) as end:
        main(["bench", "page", str(tmp_path / "bench.json"), "-o", str(tmp_path / "bench.html")])
    assert end.value.code == 2
    assert "bench.json" in capsys.readouterr().err
    assert not (tmp_path / "bench.html").exists()
