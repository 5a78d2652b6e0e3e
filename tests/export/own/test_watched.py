"""How far tensors of a user's own pipeline reach, by the command that writes it down."""

from pathlib import Path

import pytest

from mien.export.reach import main
from mien.export.tflite.reach import read_reach
from mien.mobile_reference.commands.console import run
from tests.export.own.conftest import GRADER


def test_a_pipeline_whose_shapes_its_inputs_tell_is_watched(
    pictures: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "reach.json"
    with pytest.raises(SystemExit) as ended:
        run(main, [str(GRADER), "--calibration", str(pictures), "-o", str(file)])
    assert ended.value.code == 0
    found, said = read_reach(file), capfd.readouterr()
    # Three of the twelve would be golden inputs.
    assert found.inputs == len(found.files) == 9
    for reach in found.models.values():
        assert reach.ranges
        assert all(low < high for low, high in reach.ranges.values())
    # The converter has a log of its own.
    assert "flatbuffer_direct" not in said.out + said.err
    assert [line for line in said.err.splitlines() if line.endswith(" 9/9")]
