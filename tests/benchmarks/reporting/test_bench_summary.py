"""The table that closes ``make demo``, and the comparison with the float pipeline."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from mien.benchmarks.experiments import figures
from mien.benchmarks.reporting import summary
from mien.mobile_reference.bundle.reader import open_bundle
from mien.mobile_reference.commands.console import main


@pytest.fixture(scope="module")
def demo(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the demo's commands leave: a tiny bundle, its times, and results of parity and appraisal."""
    folder = tmp_path_factory.mktemp("demo")
    (folder / "bundle").symlink_to(bundle, target_is_directory=True)
    with pytest.raises(SystemExit):
        main(["bench", str(bundle), "--processes", "1", "--runs", "2", "-o", str(folder / "bench.json")])
    results = [
        {"variant": variant, "stage": stage, "tensor": "score", "metric": "scalar"}
        | {"error": error, "passed": error < 0.01}
        for variant, stage, error in (
            ("tflite-fp32", "mask", 0.001),
            ("tflite-fp32", "cascade", 0.002),
            ("tflite-int8", "mask", 7.5),
        )
    ]
    (folder / "parity.json").write_text(json.dumps({"results": results}))
    (folder / "appraisals").mkdir()
    (folder / "appraisals" / "appraisals.jsonl").write_text('{"photo": "a/nobody-01.jpg", "score": 99.6}\n')
    return folder


def test_one_table_has_score_error_verdict_and_time(demo: Path) -> None:
    answer = CliRunner().invoke(summary.main, [str(demo)])
    assert answer.exit_code == 0, answer.output
    rows = {line.split("│")[1].strip(): line for line in answer.output.splitlines() if "tflite" in line}
    assert "0.002 of 0.01" in rows["tflite-fp32"]
    assert "passed" in rows["tflite-fp32"]
    assert "7.500 of 2" in rows["tflite-int8"]
    assert "FAILED" in rows["tflite-int8"]
    assert "01 100" in answer.output


def test_ways_are_timed_by_turns_after_a_warm_up() -> None:
    order: list[str] = []
    times = figures._by_turns({name: lambda name=name: order.append(name) for name in ("a", "b")}, 2)
    assert order == ["a", "b"] * 3
    assert times.keys() == {"a", "b"}


def test_figures_put_every_variant_beside_the_float_pipeline(exported: Path) -> None:
    found = list(figures.figures(open_bundle(exported), 1))
    assert [f.name for f in found] == [figures.FLOAT, "tflite-fp32", "tflite-fp16", "tflite-int8"]
    assert found[0].speedup == 1
    assert all(figure.face_ms > 0 for figure in found)
