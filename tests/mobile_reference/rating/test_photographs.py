"""Folders, tar shards and Parquet files as ``mien appraise`` reads them, and what may be wrong with them."""

import os
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.mobile_reference.rating.calls import Call, add, write_tar

Jpegs = Sequence[bytes]


def test_a_folder_stands_for_its_pictures_and_shards(call: Call, tiny: Path, jpegs: Jpegs, tmp_path: Path):
    folder = tmp_path / "many"
    (folder / "inner").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    for name in ("b.jpg", "inner/c.PNG", ".hidden/d.jpg", ".e.jpg", "notes.txt", "f.heic"):
        (folder / name).write_bytes(jpegs[0])
    write_tar(folder / "a.tar", {"g.jpg": jpegs[1]})
    said = call(folder, "--bundle", tiny, "--json")
    assert said.photographs == ["g.jpg", "b.jpg", "f.heic", "c.PNG"]
    assert said.records[0]["photo"] == f"{folder}/a.tar/g.jpg"
    assert said.code == 0


def test_a_name_that_is_too_long_is_a_row_among_others(call: Call, tiny: Path, jpegs: Jpegs, tmp_path: Path):
    (tmp_path / "a.jpg").write_bytes(jpegs[0])
    (tmp_path / "list").write_text(f"{'x' * 300}.jpg\na.jpg\n{'y/' * 3000}b\n")
    said = call("--from", "list", "--bundle", tiny, "--json")
    assert (said.code, said.err) == (2, "")
    assert [row["error"] is None for row in said.records] == [False, True, False]
    assert all("File name too long" in error for error in said.errors)


def test_a_list_with_a_byte_order_mark_is_read(call: Call, tiny: Path, jpegs: Jpegs, tmp_path: Path):
    (tmp_path / "a.jpg").write_bytes(jpegs[0])
    (tmp_path / "list").write_bytes(b"\xef\xbb\xbfa.jpg\r\n")
    said = call("--from", "list", "--bundle", tiny, "--json")
    assert (said.code, said.photographs) == (0, ["a.jpg"])


def test_an_empty_folder_is_a_row(call: Call, tiny: Path, tmp_path: Path):
    (tmp_path / "empty").mkdir()
    said = call("empty", "--bundle", tiny, "--json")
    assert (said.code, said.photographs) == (2, ["empty"])
    assert "is a folder" in said.errors[0]


def test_a_shard_has_a_row_for_each_photograph_and_none_for_what_lies_beside_it(
    call: Call, tiny: Path, jpegs: Jpegs, tmp_path: Path
):
    for name, data in (("0.jpg", jpegs[0]), ("1.jpg", jpegs[1])):
        (tmp_path / name).write_bytes(data)
    write_tar(tmp_path / "a.tar", {"0.jpg": jpegs[0], "0.json": b"{}", "0.cls": b"3", "1.jpg": jpegs[1]})
    of_shard = call("a.tar", "--bundle", tiny, "--json")
    of_files = call("0.jpg", "1.jpg", "--bundle", tiny, "--json")
    assert of_shard.code == of_files.code == 0
    assert of_shard.out == of_files.out.replace('"photo": "', '"photo": "a.tar/')


def test_names_that_several_shards_have_stay_apart(call: Call, tiny: Path, jpegs: Jpegs, tmp_path: Path):
    for number in (0, 1):
        write_tar(tmp_path / f"{number}.tar", {"same.jpg": jpegs[number]})
    said = call("0.tar", "1.tar", "0.tar", "--bundle", tiny, "--json")
    assert [row["photo"] for row in said.records] == ["0.tar/same.jpg", "1.tar/same.jpg", "0.tar/same.jpg"]
    first, second, again = (row["score"] for row in said.records)
    assert first == again != second


@pytest.mark.parametrize("jobs", [1, 3])
def test_processes_share_a_shard_and_keep_its_order(
    call: Call, tiny: Path, jpegs: Jpegs, tmp_path: Path, jobs: int
):
    write_tar(tmp_path / "a.tar", {f"{number}.jpg": jpegs[number] for number in range(7)})
    write_tar(tmp_path / "b.tar", {"bad.jpg": b"no picture", "7.jpg": jpegs[7]})
    said = call("a.tar", "b.tar", "--bundle", tiny, "--json", "--jobs", jobs)
    assert said.photographs == [*(f"{number}.jpg" for number in range(7)), "bad.jpg", "7.jpg"]
    assert [row["photo"] for row in said.records if row["error"]] == ["b.tar/bad.jpg"]


def _cut_in_the_last_member(data: bytes) -> bytes:
    return data[: 4 * 512 + 100]


def _cut_before_a_header(data: bytes) -> bytes:
    """Behind the first member, where a header or the end must be."""
    size = int(data[124:135], 8)
    return data[: 512 + -(-size // 512) * 512]


def _cut_in_a_header(data: bytes) -> bytes:
    return _cut_before_a_header(data) + data[:100]


def _damaged_header(data: bytes) -> bytes:
    cut = len(_cut_before_a_header(data))
    return data[:cut] + b"x" * 512 + data[cut + 512 :]


def _headers_about_headers(data: bytes) -> bytes:
    """More of them than Python calls itself."""
    about = tarfile.TarInfo("about")
    about.type, about.size = tarfile.XHDTYPE, 12
    blocks = about.tobuf(tarfile.USTAR_FORMAT) + b"12 path=b.p\n".ljust(512, b"\0")
    cut = len(_cut_before_a_header(data))
    return data[:cut] + blocks * 3000 + data[cut:]


def _other(_: bytes) -> bytes:
    return b"no tar file" * 100


@pytest.mark.parametrize(
    ("damage", "rated"),
    [
        (_cut_in_the_last_member, 0),
        (_cut_before_a_header, 1),
        (_cut_in_a_header, 1),
        (_damaged_header, 1),
        (_headers_about_headers, 1),
        (_other, 0),
        (lambda _: b"", 0),
    ],
)
def test_a_shard_that_is_cut_short_says_so(
    call: Call, tiny: Path, jpegs: Jpegs, tmp_path: Path, damage: Callable[[bytes], bytes], rated: int
):
    """What tarfile takes for the end is none without two blocks of zeros: rows would be lost in silence."""
    file = write_tar(tmp_path / "a.tar", {"0.jpg": jpegs[0], "1.jpg": jpegs[1]})
    file.write_bytes(damage(file.read_bytes()))
    said = call(file, "--bundle", tiny, "--json")
    assert said.code == 2
    assert sum(row["score"] is not None for row in said.records) == rated
    assert said.records[-1]["photo"] == str(file)
    assert "is damaged or cut short" in said.errors[-1]
    assert not any("\n" in error for error in said.errors)


def test_a_name_that_is_no_unicode_is_escaped(call: Call, tiny: Path, jpegs: Jpegs, tmp_path: Path):
    """JSON cannot say it as it is, and the rows of others would be lost with it."""
    write_tar(tmp_path / "a.tar", {"\udcff.jpg": jpegs[0], "b.jpg": jpegs[1]})
    said = call("a.tar", "--bundle", tiny, "--json")
    assert (said.code, said.photographs) == (0, ["\\xff.jpg", "b.jpg"])


def test_a_shard_without_photographs_is_a_row(call: Call, tiny: Path, tmp_path: Path):
    write_tar(tmp_path / "a.tar", {"notes.txt": b"nothing"})
    said = call("a.tar", "--bundle", tiny, "--json")
    assert (said.code, said.photographs) == (2, ["a.tar"])
    assert "holds no photographs" in said.errors[0]


def test_links_and_paths_that_lead_outside_are_rows_and_nothing_is_written(
    call: Call, tiny: Path, jpegs: Jpegs, tmp_path: Path
):
    (tmp_path / "private.jpg").write_bytes(jpegs[1])
    (tmp_path / "in").mkdir()
    with tarfile.open(tmp_path / "in" / "a.tar", "w") as shard:
        add(shard, "0.jpg", jpegs[0])
        add(shard, "link.jpg", str(tmp_path / "private.jpg").encode(), tarfile.SYMTYPE)
        add(shard, "hard.jpg", b"0.jpg", tarfile.LNKTYPE)
        add(shard, "pipe.jpg", b"", tarfile.FIFOTYPE)
        add(shard, "../outside.jpg", jpegs[0])
        add(shard, "/absolute.jpg", jpegs[0])
        add(shard, "empty.jpg", b"")
        add(shard, "2.jpg", jpegs[2])
    before = sorted(tmp_path.rglob("*"))
    said = call("in/a.tar", "--bundle", tiny, "--json")
    assert [row["error"] is None for row in said.records] == [True, *[False] * 6, True]
    expected = ["is a link", "is a link", "regular file", "outside", "outside", "empty"]
    assert all(part in error for part, error in zip(expected, said.errors, strict=True))
    assert sorted(tmp_path.rglob("*")) == before


def test_a_member_that_is_too_large_is_not_read(
    call: Call, tiny: Path, jpegs: Jpegs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("mien.mobile_reference.rating.photographs.MAX_BYTES", len(jpegs[0]))
    write_tar(tmp_path / "a.tar", {"0.jpg": jpegs[0], "1.jpg": jpegs[0] + b"\0"})
    said = call("a.tar", "--bundle", tiny, "--json")
    assert [row["error"] is None for row in said.records] == [True, False]
    assert "at most" in said.errors[0]


def test_a_shard_by_which_the_process_dies_costs_the_rest_of_it(
    call: Call, tiny: Path, jpegs: Jpegs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The death comes between two photographs, so it is the shard's."""
    write_tar(tmp_path / "a.tar", {"0.jpg": jpegs[0], "1.jpg": jpegs[1], "2.jpg": jpegs[2]})
    write_tar(tmp_path / "b.tar", {"3.jpg": jpegs[3]})
    real = tarfile.TarFile.next

    def deadly(shard: tarfile.TarFile) -> tarfile.TarInfo | None:
        if str(shard.fileobj.name).endswith("a.tar") and shard.offset > 512 and not shard.firstmember:  # type: ignore[union-attr]
            os.kill(os.getpid(), 9)
        return real(shard)

    monkeypatch.setattr(tarfile.TarFile, "next", deadly)
    said = call("a.tar", "b.tar", "--bundle", tiny, "--json", "--jobs", 1)
    assert said.code == 2
    assert said.photographs == ["0.jpg", "a.tar", "3.jpg"]
    assert "SIGKILL" in said.errors[0]


def test_pictures_of_a_shard_are_not_drawn(call: Call, tiny: Path, jpegs: Jpegs, tmp_path: Path):
    write_tar(tmp_path / "a.tar", {"0.jpg": jpegs[0]})
    said = call("a.tar", "--bundle", tiny, "-o", "out")
    assert said.code == 2
    assert (
        said.err
        == "mien: -o takes photographs in files of their own, not a.tar; give rows of shards by --shards\n"
    )


def test_a_fifo_that_is_called_a_shard_is_not_waited_for(call: Call, tiny: Path, tmp_path: Path):
    os.mkfifo(tmp_path / "a.tar")
    said = call("a.tar", "--bundle", tiny, "--json")
    assert "is not a regular file" in said.errors[0]
