"""Files that commands write: whole or not at all, where the user named them and nowhere else."""

import fcntl
import os
import shutil
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from mien.mobile_reference.errors import UsageError
from mien.mobile_reference.output import unfinished
from mien.mobile_reference.output.file import OutputFile


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_replaced_and_nothing_is_left_beside_it(tmp_path: Path):
    file = tmp_path / "report.json"
    file.write_text("before")
    OutputFile.at(file).write("after\n")
    assert file.read_text() == "after\n"
    assert names(tmp_path) == ["report.json"]


def test_a_new_file_may_be_read_by_whom_the_umask_lets(tmp_path: Path):
    before = os.umask(0o027)
    try:
        OutputFile.at(tmp_path / "new").write(b"x")
    finally:
        os.umask(before)
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o640


def test_a_private_file_stays_private(tmp_path: Path):
    file = tmp_path / "private"
    file.touch(0o600)
    OutputFile.at(file).write("x")
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_link_that_the_user_names_is_followed_once(tmp_path: Path):
    """And stays: the file that it leads to is written, even if the link is bent meanwhile."""
    real, other = tmp_path / "real", tmp_path / "other"
    real.mkdir()
    other.mkdir()
    link = tmp_path / "link.json"
    link.symlink_to(real / "report.json")
    output = OutputFile.at(link)
    link.unlink()
    link.symlink_to(other / "report.json")
    output.write("x")
    assert (real / "report.json").read_text() == "x"
    assert not names(other)
    assert link.is_symlink()


def test_a_link_that_comes_into_the_place_is_not_followed(tmp_path: Path):
    secret = tmp_path / "secret"
    secret.write_text("mine")
    output = OutputFile.at(tmp_path / "report")
    (tmp_path / "report").symlink_to(secret)
    with pytest.raises(UsageError, match="circle of links"):
        output.write("x")
    assert secret.read_text() == "mine"


def test_devices_and_pipes_are_refused(tmp_path: Path):
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", Path("/dev/null"), Path("/dev/full")):
        kind = path.stat().st_mode
        with pytest.raises(UsageError, match="a device, a pipe"):
            OutputFile.at(path)
        assert path.stat().st_mode == kind


def test_links_in_a_circle_and_folders_are_refused(tmp_path: Path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(UsageError, match="circle of links"):
        OutputFile.at(tmp_path / "a")
    with pytest.raises(UsageError, match="is a folder"):
        OutputFile.at(tmp_path)
    with pytest.raises(UsageError, match="is not a folder"):
        OutputFile.at(tmp_path / "nowhere" / "report.json")


def test_standard_output_is_written_to():
    program = (
        "from pathlib import Path; from mien.mobile_reference.output.file import OutputFile; "
        "print('before'); OutputFile.at(Path('/dev/stdout')).write('é\\n')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout == "before\né\n".encode()


@pytest.mark.parametrize(
    ("given", "part"),
    [
        (["--json", "-o", "/dev/stdout"], "was given with --json"),
        (["-o", "/dev/stdout", "--page", "/dev/stdout"], "was given twice"),
        (["-o", "/dev/stdout"], ""),
    ],
)
def test_standard_output_takes_one_thing(given: list[str], part: str):
    place = click.Path(path_type=Path)

    @click.command()
    @click.option("--json", "as_json", is_flag=True)
    @click.option("-o", "--output", type=place)
    @click.option("--page", type=place)
    def command(output: Path, **_: object) -> None:
        OutputFile.at(output)

    context = pytest.raises(UsageError, match=part) if part else nullcontext()
    with context:
        command(given, standalone_mode=False)


def test_what_a_killed_process_left_is_swept_and_what_a_living_one_writes_is_not(tmp_path: Path):
    dead, living = tmp_path / ".mien-00000000.partial", tmp_path / ".mien-11111111.partial"
    for folder in (dead, living):
        folder.mkdir()
        (folder / "model").write_text("x")
    foreign = tmp_path / ".partial"
    foreign.touch()
    lock = os.open(living, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    OutputFile.at(tmp_path / "report").write("x")
    assert names(tmp_path) == [living.name, ".partial", "report"]
    os.close(lock)
    unfinished.sweep(tmp_path)
    assert names(tmp_path) == [".partial", "report"]


def test_a_failed_write_leaves_the_file_as_it_was(tmp_path: Path):
    """A child may write no file larger than 100 bytes."""
    file = tmp_path / "report"
    file.write_text("before")
    program = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100)); "
        "from pathlib import Path; from mien.mobile_reference.output.file import OutputFile; "
        f"OutputFile.at(Path({str(file)!r})).write('x' * 1000)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert b"File too large" in done.stderr
    assert file.read_text() == "before"
    assert names(tmp_path) == ["report"]


@click.command()
@click.argument("given", nargs=-1, type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path))
@click.option("--page", type=click.Path(path_type=Path))
def command(given: tuple[Path, ...], output: Path, page: Path | None) -> None:
    OutputFile.at(output).write("made")
    if page:
        OutputFile.at(page).write("drawn")


def test_what_a_command_reads_is_not_replaced(tmp_path: Path):
    (tmp_path / "photo").write_text("mine")
    (tmp_path / "link").symlink_to("photo")
    for output in ("photo", "link"):
        ended = CliRunner().invoke(command, [str(tmp_path / "photo"), "-o", str(tmp_path / output)])
        assert isinstance(ended.exception, UsageError)
        assert "was given twice" in str(ended.exception)
    assert (tmp_path / "photo").read_text() == "mine"


def test_two_results_do_not_go_to_one_file(tmp_path: Path):
    ended = CliRunner().invoke(
        command, ["-o", str(tmp_path / "x"), "--page", f"{tmp_path}/../{tmp_path.name}/x"]
    )
    assert "was given twice" in str(ended.exception)


def test_nothing_is_put_into_a_bundle_that_the_command_reads(tmp_path: Path):
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "manifest.json").write_text("{}")
    for name in ("manifest.json", "new.json"):
        words = [str(tmp_path / "bundle"), "-o", str(tmp_path / "bundle" / name)]
        assert "lies in the bundle" in str(CliRunner().invoke(command, words).exception)
    assert names(tmp_path / "bundle") == ["manifest.json"]
    assert (
        CliRunner().invoke(command, [str(tmp_path / "bundle"), "-o", str(tmp_path / "beside")]).exit_code == 0
    )


def test_an_interruption_while_it_is_made_leaves_nothing(tmp_path: Path):
    def make(path: Path) -> None:
        path.mkdir()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), unfinished.unfinished(tmp_path, make):
        pass
    assert not names(tmp_path)


def test_an_interruption_while_it_is_removed_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    rmtree, calls = shutil.rmtree, []

    def interrupted(path: Path, **options: bool) -> None:
        calls.append(path)
        if len(calls) == 1:
            raise KeyboardInterrupt
        rmtree(path, **options)

    monkeypatch.setattr(shutil, "rmtree", interrupted)
    with pytest.raises(KeyboardInterrupt), unfinished.unfinished(tmp_path, Path.mkdir) as folder:
        (folder / "half").write_text("of it")
    assert len(calls) == 2
    assert not names(tmp_path)
