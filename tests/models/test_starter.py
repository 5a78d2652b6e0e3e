"""``mien init``: a file to begin with, under a name that its pipeline can have."""

from pathlib import Path

import pytest

from mien.mobile_reference.commands.console import main


def init(file: Path) -> object:
    with pytest.raises(SystemExit) as left:
        main(["init", str(file)])
    return left.value.code


def test_the_file_names_the_pipeline(tmp_path: Path) -> None:
    assert init(tmp_path / "my.grader-1.py") == 0
    assert 'name="my.grader-1"' in (tmp_path / "my.grader-1.py").read_text()
    assert init(tmp_path / "my.grader-1.py") == 2


@pytest.mark.parametrize("name", ['a"b', "my model", "modèle", "-x", "a\nb", "a" * 101])
def test_a_name_that_no_pipeline_can_have_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    assert init(tmp_path / f"{name}.py") == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
