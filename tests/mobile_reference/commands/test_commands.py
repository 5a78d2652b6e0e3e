"""The command ``mien appraise``, through the entry point that a user calls."""

import io
import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

import mien.models.appraisal
from mien.mobile_reference.commands.appraise import RECORDS
from mien.mobile_reference.commands.console import main
from mien.mobile_reference.errors import PhotographError
from mien.mobile_reference.output.folder import LISTING
from mien.mobile_reference.run.child import Child
from tests.mobile_reference.conftest import SIDE, FakeBundle

REFERENCE = Path(mien.models.appraisal.__file__).parent / "reference"
KEYS = {"photo", "score", "variant", "faces", "alignment", "findings", "error"}


class Answer(NamedTuple):
    """What a call left behind."""

    code: object
    out: str
    err: str

    @property
    def records(self) -> list[dict[str, Any]]:
        """The JSON lines on stdout; what is not JSON, or NaN, fails."""

        def refuse(name: str) -> None:
            raise AssertionError(f"{name} is not JSON")

        return [json.loads(line, parse_constant=refuse) for line in self.out.splitlines()]


Call = Callable[..., Answer]


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Pictures are written into the working directory."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    def run(*arguments: object) -> Answer:
        with pytest.raises(SystemExit) as left:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Answer(left.value.code, captured.out, captured.err)

    return run


@pytest.fixture
def bundle(fake: Any, stand_in: Any) -> Path:
    """A bundle whose models are stood in for: it sees one face wherever a picture is not black."""
    stand_in()
    return fake.path


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    (tmp_path / "broken.jpg").write_bytes(b"not a photograph")
    return tmp_path / "broken.jpg"


def assert_one_line(answer: Answer, *, saying: str) -> None:
    assert answer.code == 2
    assert answer.out == ""
    assert answer.err.startswith("mien: ")
    assert answer.err.count("\n") == 1
    assert saying in answer.err


def test_json_is_one_object_a_line_with_its_keys(call: Call, bundle: Path, samples: Sequence[Path]):
    answer = call("appraise", "--bundle", bundle, "--json", *samples[:3])
    assert answer.code == 0
    assert answer.err == ""
    assert [record["photo"] for record in answer.records] == [str(path) for path in samples[:3]]
    for record in answer.records:
        assert record.keys() == KEYS
        assert 0 <= record["score"] <= 100
        assert record["variant"] == "tflite-fp32"
        assert np.shape(record["alignment"]) == (2, 3)
        assert record["faces"] == 1
        assert record["error"] is None


def test_a_variant_can_be_picked(call: Call, bundle: Path, untouched: Path):
    answer = call("appraise", "--bundle", bundle, "--variant", "tflite-fp16", "--json", untouched)
    assert answer.records[0]["variant"] == "tflite-fp16"


def test_one_bad_photograph_does_not_stop_the_rest(
    call: Call, bundle: Path, untouched: Path, broken: Path, tmp_path: Path
):
    Image.new("RGB", (200, 200)).save(tmp_path / "black.png")
    (tmp_path / "empty").mkdir()
    photographs = [
        broken,
        untouched,
        tmp_path / "black.png",
        tmp_path / "nowhere.png",
        tmp_path / "empty",
        untouched,
    ]
    answer = call("appraise", "--bundle", bundle, "--json", *photographs)
    assert answer.code == 2
    assert [record["error"] is None for record in answer.records] == [False, True, False, False, False, True]
    for record in answer.records:
        assert record.keys() == KEYS
        if record["error"]:
            assert record["score"] is record["alignment"] is None
            assert "\n" not in record["error"]
    assert "is not an image" in answer.records[0]["error"]
    assert "no face found" in answer.records[2]["error"]


def test_a_list_of_photographs_is_rated_in_its_order(
    call: Call, bundle: Path, untouched: Path, broken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    listed = f"{broken}\n\n{untouched}\r\n".encode()
    (tmp_path / "list.txt").write_bytes(listed)
    found = call("appraise", untouched, "--from", tmp_path / "list.txt", "--bundle", bundle, "--json")
    assert [record["photo"] for record in found.records] == [str(untouched), str(broken), str(untouched)]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(listed)))
    piped = call("appraise", "--from", "-", "--bundle", bundle, "--json")
    assert piped.records == found.records[1:]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "lists no photographs; write one path a line"),
        (b"\n \n", "lists no photographs; write one path a line"),
        (b"a\0b", "is not a list of photographs"),
        (None, "lists no photographs: No such file or directory"),
    ],
    ids=["empty", "blank", "binary", "missing"],
)
def test_what_lists_no_photographs_is_one_line(
    call: Call, bundle: Path, tmp_path: Path, content: bytes | None, said: str
):
    if content is not None:
        (tmp_path / "list.txt").write_bytes(content)
    found = call("appraise", "--from", tmp_path / "list.txt", "--bundle", bundle)
    assert found.code == 2
    assert said in found.err
    assert found.err.count("\n") == 1
    assert "no photograph was given" in call("appraise", "--bundle", bundle).err


def test_a_list_that_is_too_long_is_not_read(
    call: Call, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("mien.mobile_reference.files._LONGEST_LIST", 5)
    (tmp_path / "list.txt").write_text("123456")
    found = call("appraise", "--from", tmp_path / "list.txt", "--bundle", bundle)
    assert (found.code, "is not a list of photographs" in found.err) == (2, True)


def test_the_table_has_a_line_for_every_photograph(call: Call, bundle: Path, untouched: Path, broken: Path):
    answer = call("appraise", "--bundle", bundle, untouched, broken)
    heading, good, bad = answer.out.splitlines()
    assert heading.split() == ["photograph", "score", "note"]
    assert untouched.name in good
    assert f"{broken} is not an image" in bad
    assert answer.code == 2


def test_a_photograph_that_may_not_be_read_does_not_stop_the_others(
    call: Call, bundle: Path, untouched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root may read everything, so the system's answers are played."""
    private = tmp_path / "private.jpg"
    private.write_bytes(untouched.read_bytes())
    access, open_ = os.access, Path.open

    def refuse(path: Path, *rest: Any, **named: Any) -> Any:
        if path == private:
            raise PermissionError(13, "Permission denied", str(path))
        return open_(path, *rest, **named)

    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != private and access(path, mode))
    monkeypatch.setattr(Path, "open", refuse)
    answer = call("appraise", "--bundle", bundle, "--json", private, untouched)
    refused, rated = answer.records
    assert refused["error"] == f"{private} cannot be read (Permission denied); change its permissions"
    assert rated["score"] is not None
    assert answer.code == 2


def test_one_photograph_is_told_in_words_and_by_a_picture(
    call: Call, refusing: Callable[..., Path], untouched: Path, tmp_path: Path
):
    answer = call("appraise", "--bundle", refusing(), untouched)
    assert answer.code == 0
    said, note, picture = answer.out.splitlines()
    assert re.fullmatch(rf"{untouched}: \d+\.\d \(of a test\)", said)
    assert note.startswith("note: the face is small")
    assert picture == f"picture: {untouched.stem}.mien.png"
    assert Image.open(tmp_path / f"{untouched.stem}.mien.png").size == (4 * SIDE, SIDE)


def test_one_photograph_without_a_score_has_no_picture(
    call: Call, bundle: Path, broken: Path, tmp_path: Path
):
    before = set(tmp_path.iterdir())
    answer = call("appraise", "--bundle", bundle, broken)
    assert answer.code == 2
    assert answer.out.startswith(f"no score: {broken} is not an image")
    assert answer.out.count("\n") == 1
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize("options", [("--json",), ("-o", "out")])
def test_a_picture_is_written_into_one_place_alone(
    call: Call, bundle: Path, untouched: Path, tmp_path: Path, options: tuple[str, ...]
):
    assert call("appraise", "--bundle", bundle, *options, untouched).code == 0
    assert not list(tmp_path.glob("*.png"))


def test_what_ships_rates_without_options(call: Call, samples: Sequence[Path]):
    answer = call("appraise", "--json", samples[0])
    (record,) = answer.records
    assert record["error"] is None
    assert record["variant"] == "tflite-fp16"


def test_many_photographs_stream(call: Call, bundle: Path, untouched: Path, monkeypatch: Any, tmp_path: Path):
    """A line is out before the next photograph but one is read: the reader waits for it."""
    printed = tmp_path / "printed"
    printed.mkdir()
    monkeypatch.setattr("click.echo", lambda line, **_: (printed / json.loads(line)["photo"]).touch())
    pixels = np.asarray(Image.open(untouched))[::2, ::2].copy()

    def read(_: Any, name: str) -> Any:
        number = int(Path(name).stem)
        end = time.monotonic() + 120
        while number and not (printed / f"{number - 1}.jpg").exists():
            if time.monotonic() > end:
                raise PhotographError("the line before was not printed")
            time.sleep(0.001)
        return pixels

    monkeypatch.setattr("mien.mobile_reference.rating.rows.pixels_of", read)
    names = [f"{number}.jpg" for number in range(20)]
    for name in names:
        (tmp_path / name).write_bytes(b"stands for a photograph")
    answer = call("appraise", "--bundle", bundle, "--json", *names)
    assert answer.code == 0
    assert len(list(printed.iterdir())) == 20


def test_processes_share_photographs_and_change_no_row(
    call: Call, bundle: Path, samples: Sequence[Path], broken: Path
):
    photographs = [samples[0], broken, *samples[1:4], broken, samples[0]]
    alone, shared, more = (
        call("appraise", "--bundle", bundle, "--jobs", jobs, "--json", *photographs) for jobs in (1, 3, 100)
    )
    assert alone.code == 2
    assert len(alone.records) == len(photographs)
    assert alone == shared == more


def test_no_more_processes_are_started_than_there_are_photographs(
    call: Call, bundle: Path, samples: Sequence[Path], monkeypatch: Any
):
    started = []

    def counted(*arguments: Any) -> Any:
        started.append(arguments)
        return Child(*arguments)

    monkeypatch.setattr("mien.mobile_reference.rating.rows.Child", counted)
    assert len(call("appraise", "--bundle", bundle, "--jobs", 50, "--json", *samples[:3]).records) == 3
    assert len(started) == 3


def test_a_photograph_by_which_a_process_dies_costs_one_row(
    call: Call, bundle: Path, untouched: Path, monkeypatch: Any, tmp_path: Path
):
    pixels = np.asarray(Image.open(untouched))

    def read(_: Any, name: str) -> Any:
        if name == "deadly.jpg":
            os.kill(os.getpid(), signal.SIGKILL)
        return pixels

    monkeypatch.setattr("mien.mobile_reference.rating.rows.pixels_of", read)
    names = ["0.jpg", "1.jpg", "deadly.jpg", "3.jpg", "4.jpg", "5.jpg"]
    for name in names:
        (tmp_path / name).write_bytes(b"stands for a photograph")
    answer = call("appraise", "--bundle", bundle, "--jobs", 2, "--json", *names)
    assert answer.code == 2
    assert [record["photo"] for record in answer.records] == names
    assert [record["photo"] for record in answer.records if record["error"]] == ["deadly.jpg"]
    assert "SIGKILL" in answer.records[2]["error"]


def test_no_process_outlives_what_reads_its_rows(bundle: Path, samples: Sequence[Path], monkeypatch: Any):
    """The reader stops after the first row; neither does it wait for the others, nor do they go on."""

    def stop(line: str, **_: Any) -> None:
        if "score" in line:
            raise KeyboardInterrupt

    monkeypatch.setattr("click.echo", stop)
    # A process of pytest-xdist has threads of its own, for which the command would end it at once.
    monkeypatch.setattr("threading.active_count", lambda: 1)
    photographs = [*map(str, samples[:3])] * 20
    with pytest.raises(SystemExit):
        main(["appraise", "--bundle", str(bundle), "--jobs", "4", "--json", *photographs])
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize("jobs", [0, -1, 1000000, "many"])
def test_a_number_of_processes_is_refused(call: Call, bundle: Path, untouched: Path, jobs: object):
    answer = call("appraise", "--bundle", bundle, "--jobs", jobs, untouched)
    assert answer.code == 2
    assert "--jobs" in answer.err


def test_pictures_and_heatmap_are_written(call: Call, bundle: Path, untouched: Path, tmp_path: Path):
    folder = tmp_path / "new" / "folder"
    answer = call("appraise", "--bundle", bundle, "--json", "-o", folder, untouched)
    stem = untouched.stem
    kinds = ("overlay.png", "mask.png", "normalised.png", "panel.png", "heatmap.npy")
    assert {file.name for file in folder.iterdir()} == {
        LISTING,
        RECORDS,
        *(f"{stem}.{kind}" for kind in kinds),
    }
    heatmap = np.load(folder / f"{stem}.heatmap.npy", allow_pickle=False)
    assert (heatmap.shape, heatmap.dtype) == ((SIDE, SIDE), np.float32)
    assert Image.open(folder / f"{stem}.overlay.png").size == (SIDE, SIDE)
    assert (folder / RECORDS).read_text() == answer.out


def test_a_second_call_replaces_the_records_of_the_first(
    call: Call, bundle: Path, samples: Sequence[Path], tmp_path: Path
):
    folder = tmp_path / "out"
    call("appraise", "--bundle", bundle, "-o", folder, samples[0])
    first = (folder / f"{samples[0].stem}.overlay.png").read_bytes()
    call("appraise", "--bundle", bundle, "-o", folder, samples[0], samples[1])
    assert len((folder / RECORDS).read_text().splitlines()) == 2
    assert (folder / f"{samples[0].stem}.overlay.png").read_bytes() == first


def test_a_second_call_leaves_no_picture_beside_a_record_that_failed(
    call: Call, bundle: Path, untouched: Path, tmp_path: Path
):
    folder, photograph = tmp_path / "out", tmp_path / "me.jpg"
    photograph.write_bytes(untouched.read_bytes())
    call("appraise", "--bundle", bundle, "-o", folder, photograph)
    photograph.write_text("not a photograph")
    answer = call("appraise", "--bundle", bundle, "-o", folder, "--json", photograph)
    assert (answer.code, answer.records[0]["score"]) == (2, None)
    assert {file.name for file in folder.iterdir()} == {LISTING, RECORDS}


def test_a_link_in_the_output_folder_is_neither_followed_nor_replaced(
    call: Call, bundle: Path, untouched: Path, tmp_path: Path
):
    folder, secret = tmp_path / "out", tmp_path / "secret"
    secret.write_text("mine")
    call("appraise", "--bundle", bundle, "-o", folder, untouched)
    picture = folder / f"{untouched.stem}.overlay.png"
    picture.unlink()
    picture.symlink_to(secret)
    answer = call("appraise", "--bundle", bundle, "-o", folder, untouched)
    assert_one_line(answer, saying="move it away, or give a new folder")
    assert picture.is_symlink()
    assert secret.read_text() == "mine"


def test_names_of_photographs_forge_no_rows(call: Call, bundle: Path, tmp_path: Path):
    name = "a.jpg\n\x1b[2Kb.jpg  99.0\r\u202e"
    (tmp_path / name).write_text("not a photograph")
    assert len(call("appraise", "--bundle", bundle, tmp_path / name).out.splitlines()) == 1
    answer = call("appraise", "--bundle", bundle, tmp_path / name, tmp_path / name)
    assert len(answer.out.splitlines()) == 3
    assert not {"\x1b", "\r", "\u202e"} & set(answer.out)
    record = call("appraise", "--bundle", bundle, "--json", tmp_path / name).records[0]
    assert record["photo"] == str(tmp_path / name)


def test_an_output_folder_that_is_not_ours_is_left_alone(
    call: Call, bundle: Path, untouched: Path, tmp_path: Path
):
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "thesis.txt").write_text("years of work")
    answer = call("appraise", "--bundle", bundle, "-o", theirs, untouched)
    assert_one_line(answer, saying="is not a folder of appraisals as mien wrote it")
    assert [file.name for file in theirs.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_an_output_that_is_a_file_is_refused(
    call: Call, bundle: Path, untouched: Path, tmp_path: Path, place: str
):
    (tmp_path / "file").write_text("mine")
    answer = call("appraise", "--bundle", bundle, "-o", tmp_path / place, untouched)
    assert_one_line(answer, saying="give a folder")
    assert (tmp_path / "file").read_text() == "mine"


def test_photographs_of_one_name_are_refused_before_anything_is_written(
    call: Call, bundle: Path, untouched: Path, tmp_path: Path
):
    photographs = [tmp_path / "a" / "me.png", tmp_path / "b" / "me.jpg"]
    answer = call("appraise", "--bundle", bundle, "-o", tmp_path / "out", untouched, *photographs)
    assert_one_line(answer, saying="2 photographs are named me")
    assert not (tmp_path / "out").exists()


def test_a_bundle_and_a_checkpoint_exclude_each_other(call: Call, bundle: Path, untouched: Path):
    answer = call("appraise", "--bundle", bundle, "--checkpoint", bundle, untouched)
    assert_one_line(answer, saying="--bundle and --checkpoint were both given")


def test_a_variant_is_not_of_a_checkpoint(call: Call, untouched: Path):
    answer = call("appraise", "--checkpoint", REFERENCE, "--variant", "tflite-fp16", untouched)
    assert_one_line(answer, saying="--variant was given with --checkpoint")


def test_an_unknown_variant_is_refused(call: Call, fake: Any, untouched: Path):
    answer = call("appraise", "--bundle", fake.path, "--variant", "nonsense", untouched)
    assert_one_line(answer, saying="'nonsense'")


def test_a_damaged_core_ml_package_is_refused(call: Call, fake: Any, untouched: Path):
    answer = call("appraise", "--bundle", fake.path, "--variant", "coreml-fp16", untouched)
    assert_one_line(answer, saying="Manifest.json is not JSON")


@pytest.mark.parametrize("option", ["--bundle", "--checkpoint"])
def test_a_bundle_or_checkpoint_that_is_none_is_refused(
    call: Call, untouched: Path, tmp_path: Path, option: str
):
    for path in (tmp_path / "nowhere", tmp_path, untouched):
        answer = call("appraise", option, path, untouched)
        assert answer.code == 2
        assert answer.out == ""
        assert answer.err.startswith("mien: ")
        assert answer.err.count("\n") == 1


def test_a_changed_bundle_is_refused(call: Call, fake: Any, untouched: Path):
    (fake.path / "models/tflite-fp32/mask.tflite").write_text("changed")
    assert_one_line(call("appraise", "--bundle", fake.path, untouched), saying="not the file that was packed")


def test_verify_refuses_what_is_no_bundle(call: Call, tmp_path: Path):
    assert_one_line(call("verify", tmp_path), saying="is not a bundle")


def test_the_shipped_checkpoint_rates_the_larger_face(call: Call, samples: Sequence[Path], tmp_path: Path):
    """Two real samples side by side, one at half size."""
    large, small = (Image.open(path) for path in (samples[0], samples[1]))
    pair = Image.new("RGB", (768, 512))
    pair.paste(small.resize((256, 256)), (0, 128))
    pair.paste(large, (256, 0))
    pair.save(tmp_path / "pair.png")
    answer = call("appraise", "--checkpoint", REFERENCE, "--json", samples[0], tmp_path / "pair.png")
    assert answer.code == 0
    alone, both = answer.records
    assert alone["variant"] == both["variant"] == "float"
    assert (alone["faces"], both["faces"]) == (1, 2)
    shift = np.array(both["alignment"]) @ [256 + 256, 256, 1] - np.array(alone["alignment"]) @ [256, 256, 1]
    # The first look saw another picture, so the frame may move by some of its 256 pixels.
    assert np.abs(shift).max() < 8
    table = call("appraise", "--checkpoint", REFERENCE, tmp_path / "pair.png").out
    assert "several faces are seen, the largest was rated (faces 2, limit 1)" in table


LIMIT = {"measure": "eye_distance", "worse": "below", "note": 500, "refuse": None}
REGION = {"region_centre": [128, 142], "region_radii": [70, 85], "region_exponent": 3}


@pytest.fixture
def refusing(fake: FakeBundle, stand_in: Any) -> Callable[..., Path]:
    """Make a bundle that holds photographs to a limit."""

    def make(**limit: object) -> Path:
        stand_in()
        fake.manifest["refusals"] = {**REGION, "limits": [LIMIT | limit]}
        fake.save()
        return fake.path

    return make


def test_a_refused_photograph_has_a_reason_and_no_score(
    call: Call, refusing: Callable[..., Path], untouched: Path, tmp_path: Path
):
    folder = tmp_path / "out"
    answer = call("appraise", "--bundle", refusing(refuse=400), "-o", folder, "--json", untouched)
    assert answer.code == 2
    (record,) = answer.records
    assert record.keys() == KEYS
    assert record["score"] is record["alignment"] is None
    (finding,) = record["findings"]
    assert (finding["measure"], finding["limit"], finding["verdict"]) == ("eye_distance", 400, "refuse")
    assert 0 < finding["value"] < 400
    assert record["error"].startswith("not rated, since the face is small (eye_distance ")
    assert record["error"].endswith("limit 400); give a closer or larger photograph")
    assert {file.name for file in folder.iterdir()} == {RECORDS, LISTING}


def test_what_is_refused_is_rated_if_asked_for(call: Call, refusing: Callable[..., Path], untouched: Path):
    arguments = ("appraise", "--bundle", refusing(refuse=400), "--rate-anyway", untouched)
    answer = call(*arguments, "--json")
    assert answer.code == 0
    (record,) = answer.records
    assert record["error"] is None
    assert record["findings"][0]["verdict"] == "refuse"
    plain = call("appraise", "--bundle", refusing(), "--json", untouched).records[0]
    assert record["score"] == plain["score"]
    refusing(refuse=400)
    assert "refused without --rate-anyway: the face is small" in call(*arguments).out


def test_a_note_stands_beside_the_score(call: Call, refusing: Callable[..., Path], untouched: Path):
    answer = call("appraise", "--bundle", refusing(), untouched)
    assert answer.code == 0
    assert "the face is small (eye_distance" in answer.out
    assert "refused" not in answer.out
    assert call("appraise", "--bundle", refusing(note=1), untouched).out.count("small") == 0


def test_the_shipped_checkpoint_turns_one_that_is_upside_down_and_refuses_one_that_is_cut(
    call: Call, untouched: Path, tmp_path: Path
):
    whole = Image.open(untouched)
    whole.rotate(180).save(tmp_path / "turned.png")
    whole.crop((0, 0, 256, 512)).save(tmp_path / "cut.png")
    photographs = (untouched, tmp_path / "turned.png", tmp_path / "cut.png")
    answer = call("appraise", "--checkpoint", REFERENCE, "--json", *photographs)
    upright, turned, cut = answer.records
    verdicts = {finding["measure"]: finding["verdict"] for finding in turned["findings"]}
    assert {name for name, verdict in verdicts.items() if verdict != "ok"} == {"roll"}
    assert verdicts["roll"] == "note"
    assert turned["score"] == pytest.approx(upright["score"], abs=3)
    assert {finding["verdict"] for finding in upright["findings"]} == {"ok"}
    assert cut["score"] is None
    assert "the border cuts the face (outside 0.5" in cut["error"]


def test_a_turned_photograph_is_rated_upright(call: Call, untouched: Path, tmp_path: Path):
    exif = Image.Exif()
    exif[0x0112] = 6
    upright = Image.open(untouched)
    upright.save(tmp_path / "upright.png")
    upright.rotate(90, expand=True).save(tmp_path / "turned.png", exif=exif)
    first, second = call("appraise", "--json", tmp_path / "upright.png", tmp_path / "turned.png").records
    assert first["score"] == second["score"]
    assert first["alignment"] == second["alignment"]


def test_names_that_are_no_utf_8_do_not_break_the_table(tmp_path: Path):
    """In a process of its own, with the strict encoding that most terminals have."""
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8:strict"}
    name = os.fsencode(tmp_path) + b"/caf\xe9.jpg"
    Path(os.fsdecode(name)).write_bytes(b"not a photograph")
    program = "from mien.mobile_reference.commands.console import main; main()"
    command = [sys.executable, "-c", program, "appraise", name]
    done = subprocess.run(command, capture_output=True, check=False, env=environment)
    assert done.returncode == 2
    assert b"Traceback" not in done.stderr
    assert b"is not an image" in done.stdout


def test_a_bundle_needs_nothing_of_the_heavy_install(fake: Any, untouched: Path):
    """In a process of its own: a bundle is opened up to its first model, and torch was not imported."""
    program = (
        "import sys\n"
        "from mien.mobile_reference.commands.console import main\n"
        "try:\n"
        "    main(sys.argv[1:])\n"
        "finally:\n"
        "    heavy = {'torch', 'scipy', 'safetensors', 'onnx', 'tensorflow', 'coremltools'}\n"
        "    print('heavy:', sorted(heavy & set(sys.modules)))\n"
    )
    command = [sys.executable, "-c", program, "appraise", "--bundle", str(fake.path), str(untouched)]
    done = subprocess.run(command, capture_output=True, check=False, text=True)
    assert done.returncode == 2
    assert "LiteRT cannot load" in done.stderr
    assert done.stdout == "heavy: []\n"


@pytest.mark.parametrize(("variant", "needed"), [("tflite-fp32", "False"), ("coreml-fp16", "True")])
def test_appraise_imports_the_core_ml_evaluator_only_for_core_ml(fake: FakeBundle, variant: str, needed: str):
    """The models are none, so that the call ends where it loads the first of them."""
    code = (
        "import sys\n"
        "from functools import partial\n"
        "from pathlib import Path\n"
        "from mien.mobile_reference.commands.appraise import _appraiser\n"
        "from mien.mobile_reference.errors import MienError\n"
        "opened = partial(_appraiser, Path(sys.argv[1]), None, sys.argv[2], 1, False)\n"
        "try: opened()\n"
        "except MienError: print('mien.mobile_reference.coreml.evaluator' in sys.modules)"
    )
    command = [sys.executable, "-c", code, fake.path, variant]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == needed
