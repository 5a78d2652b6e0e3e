"""Rows in shards: equal to those that are printed, whole or not there, and gone on with by content."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.mobile_reference.rating.calls import Call, rows_of, write_tar

Jpegs = Sequence[bytes]


@pytest.fixture
def given(tmp_path: Path, jpegs: Jpegs) -> Path:
    """Two shards and five photographs, one of them damaged."""
    folder = tmp_path / "given"
    folder.mkdir()
    for number in (0, 1):
        members = {f"{number}-{one}.jpg": jpegs[4 * number + one] for one in range(4)}
        write_tar(folder / f"{number}.tar", members)
    for number in range(8, 12):
        (folder / f"{number}.jpg").write_bytes(jpegs[number])
    (folder / "99.jpg").write_bytes(b"no picture")
    return folder


def _printed(call: Call, given: Path, tiny: Path) -> list[dict[str, object]]:
    return call(given, "--bundle", tiny, "--json", "--jobs", 1).records


@pytest.mark.parametrize("jobs", [1, 2, 5])
def test_shards_hold_the_rows_that_are_printed(
    call: Call, tiny: Path, given: Path, tmp_path: Path, jobs: int
):
    said = call(given, "--bundle", tiny, "--shards", "rows", "--shard-rows", 2, "--jobs", jobs)
    assert said.code == 2
    assert said.out == f"13 rows in 5 shards of {tmp_path / 'rows'}, 1 of them without a score\n"
    assert len(list((tmp_path / "rows").glob("part-*.jsonl"))) == 5
    rows = [json.loads(line) for line in rows_of(tmp_path / "rows").splitlines()]
    digests = [row.pop("sha256") for row in rows]
    assert rows == _printed(call, given, tiny)
    assert len(set(digests)) == 13


def _rated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Have every photograph that is decoded write its name into a file."""
    from mien.mobile_reference.rating import rows

    real, file = rows.pixels_of, tmp_path / "decoded"
    file.write_text("")

    def note(stream: object, name: object) -> object:
        with file.open("a") as out:
            out.write(f"{name}\n")
        return real(stream, name)  # type: ignore[arg-type]

    monkeypatch.setattr(rows, "pixels_of", note)
    return file


def test_resume_rates_what_has_no_score_by_content(
    call: Call, tiny: Path, given: Path, jpegs: Jpegs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    options = ("--bundle", tiny, "--shards", "rows", "--shard-rows", 3, "--jobs", 2)
    call(given, *options)
    before = rows_of(tmp_path / "rows")
    decoded = _rated(monkeypatch, tmp_path)
    assert call(given, *options, "--resume").code == 2
    assert decoded.read_text() == f"{given}/99.jpg\n"
    assert rows_of(tmp_path / "rows") == before
    decoded.write_text("")
    (given / "8.jpg").rename(given / "80.jpg")
    (given / "9.jpg").write_bytes(jpegs[20])
    (tmp_path / "rows" / "part-0000001.jsonl").unlink()
    call(given, *options, "--resume")
    again = decoded.read_text().split()
    assert sorted(again) == sorted(
        [*(f"{given}/1.tar/1-{one}.jpg" for one in range(4)), f"{given}/9.jpg", f"{given}/99.jpg"]
    )
    resumed = rows_of(tmp_path / "rows")
    call(given, "--bundle", tiny, "--shards", "anew", "--shard-rows", 3)
    assert resumed == rows_of(tmp_path / "anew")


def test_a_run_that_was_killed_goes_on_to_the_same_bytes(call: Call, tiny: Path, given: Path, tmp_path: Path):
    options = [str(given), "--bundle", str(tiny), "--shard-rows", "2"]
    call(*options, "--shards", "whole")
    code = (
        "import os, sys\n"
        "from mien.mobile_reference.rating import shards\n"
        "real = shards.ShardFolder.write\n"
        "def write(folder, number, records):\n"
        "    if number == 2: os.kill(os.getpid(), 9)\n"
        "    return real(folder, number, records)\n"
        "shards.ShardFolder.write = write\n"
        "from mien.mobile_reference.commands.console import main\n"
        "main(sys.argv[1:])"
    )
    command = [sys.executable, "-c", code, "appraise", *options, "--shards", "rows", "--jobs", "2"]
    killed = subprocess.run(command, capture_output=True, check=False, cwd=tmp_path)
    assert killed.returncode == -signal.SIGKILL
    names = sorted(file.name for file in (tmp_path / "rows").iterdir())
    assert names == ["part-0000000.jsonl", "part-0000001.jsonl", "shards.json"]
    call(*options, "--shards", "rows", "--resume")
    assert {f.name: f.read_bytes() for f in (tmp_path / "rows").iterdir()} == {
        f.name: f.read_bytes() for f in (tmp_path / "whole").iterdir()
    }


def test_rows_of_other_settings_are_not_gone_on_with(call: Call, tiny: Path, given: Path, tmp_path: Path):
    options = (given, "--bundle", tiny, "--shards", "rows", "--shard-rows", 2)
    call(*options)
    for more, part in (
        ((), "go on with them by --resume"),
        (("--resume", "--variant", "tflite-int8"), "has rows of variant tflite-fp32, not tflite-int8"),
        (("--resume", "--rate-anyway"), "has rows of rate_anyway False, not True"),
        (("--resume", "--shard-rows", 3), "has rows of shard_rows 2, not 3"),
    ):
        said = call(*options, *more)
        assert (said.code, said.out, said.err.count("\n")) == (2, "", 1)
        assert part in said.err
    said = call(given / "8.jpg", *options[1:], "--resume")
    assert "there are photographs for 1 shards alone" in said.err


def test_a_damaged_shard_is_said(call: Call, tiny: Path, given: Path, tmp_path: Path):
    options = (given, "--bundle", tiny, "--shards", "rows")
    call(*options)
    (tmp_path / "rows" / "part-0000001.jsonl").write_text('{"photo": ')
    said = call(*options, "--resume")
    assert (said.code, said.out) == (2, "")
    assert "part-0000001.jsonl is damaged" in said.err
    for line in ("[]", "3", "null", "{}", '{"error": null}', '{"error": null, "sha256": [1]}'):
        (tmp_path / "rows" / "part-0000001.jsonl").write_text(f"{line}\n")
        said = call(*options, "--resume")
        assert (said.code, said.err.count("\n")) == (2, 1)
        assert "part-0000001.jsonl is damaged (line 1 has not the keys of a row)" in said.err
    (tmp_path / "rows" / "shards.json").write_text("[]")
    assert "shards.json is damaged" in call(*options, "--resume").err


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"error": None, "score": None}, "neither a score nor an error"),
        ({"score": "99"}, "neither a score nor an error"),
        ({"sha256": 3}, "neither a score nor an error"),
        ({"error": "no face"}, "neither a score nor an error"),
    ],
)
def test_a_row_without_a_score_or_an_error_is_said(
    call: Call, tiny: Path, given: Path, tmp_path: Path, change: dict[str, object], what: str
):
    options = (given / "8.jpg", "--bundle", tiny, "--shards", "rows")
    call(*options)
    shard = tmp_path / "rows" / "part-0000000.jsonl"
    shard.write_text(json.dumps(json.loads(shard.read_text()) | change) + "\n")
    said = call(*options, "--resume")
    assert (said.code, said.err.count("\n")) == (2, 1)
    assert what in said.err


def test_links_and_pipes_among_the_rows_are_neither_read_nor_written(
    call: Call, tiny: Path, given: Path, tmp_path: Path
):
    options = (given / "8.jpg", "--bundle", tiny, "--shards", "rows")
    call(*options)
    shard, settings = (tmp_path / "rows" / name for name in ("part-0000000.jsonl", "shards.json"))
    kept = settings.read_bytes()
    (tmp_path / "thesis").write_text("")
    for file in (shard, settings):
        file.unlink()
        file.symlink_to(tmp_path / "thesis")
        assert "is a link, or no file" in call(*options, "--resume").err
        file.unlink()
        os.mkfifo(file)
        assert "is a link, or no file" in call(*options, "--resume").err
        file.unlink()
        settings.write_bytes(kept)
    assert (tmp_path / "thesis").read_text() == ""


def test_a_folder_of_something_else_is_left_alone(call: Call, tiny: Path, given: Path, tmp_path: Path):
    said = call(given / "8.jpg", "--bundle", tiny, "--shards", given, "--resume")
    assert said.code == 2
    assert "holds other files" in said.err
    for inside in (given, given / "rows"):
        said = call(given, "--bundle", tiny, "--shards", inside)
        assert said.err == f"mien: --shards lies in {given}, which is rated; give a folder elsewhere\n"
    assert (
        "shards lie in a folder" in call(given / "9.jpg", "--bundle", tiny, "--shards", given / "8.jpg").err
    )


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (("--resume",), "--resume was given without --shards"),
        (("--ray", "auto"), "--ray was given without --shards"),
        (("--shards", "rows", "--json"), "--json was given with --shards"),
        (("--shards", "rows", "-o", "out"), "-o was given with --shards"),
        (("--shards", "rows", "--checkpoint", "c"), "--checkpoint was given with --shards"),
        (("--shards", "rows", "--shard-rows", "0"), "--shard-rows"),
        (("--shards", "rows", "--jobs", "0"), "--jobs"),
        (("--shards", "rows", "--jobs", "1000000"), "--jobs"),
        (("--shards", "s3://rows/x"), "add --scheme s3"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    call: Call, given: Path, tmp_path: Path, options: tuple[str, ...], part: str
):
    said = call(given, *options)
    assert (said.code, said.out) == (2, "")
    assert part in said.err
    assert not (tmp_path / "rows").exists()
