"""Addresses: only of schemes that were asked for, and no more bytes than a photograph may have."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import fsspec
import pytest

from tests.mobile_reference.rating.calls import Call, rows_of, write_tar

Jpegs = Sequence[bytes]


@pytest.fixture
def remote(jpegs: Jpegs, tmp_path: Path) -> Iterator[fsspec.AbstractFileSystem]:
    """A file system of fsspec with a shard, photographs and an empty file."""
    system = fsspec.filesystem("memory")
    shard = write_tar(tmp_path / "x.tar", {"0.jpg": jpegs[0], "1.jpg": jpegs[1]}).read_bytes()
    for path, data in {"/in/a.tar": shard, "/in/b.jpg": jpegs[2], "/in/c/d.jpg": jpegs[3]}.items():
        system.pipe_file(path, data)
    system.pipe_file("/other/empty.jpg", b"")
    yield system
    system.store.clear()


@pytest.mark.parametrize("scheme", ["memory", "https", "s3", "ssh"])
def test_a_scheme_that_was_not_asked_for_is_not_opened(call: Call, scheme: str, tmp_path: Path):
    (tmp_path / "list.txt").write_text(f"{scheme}://in/b.jpg\n")
    for said in (call(f"{scheme}://in/b.jpg"), call("--from", "list.txt", "--scheme", "other")):
        assert said.code == 2
        assert said.err == (
            f"mien: {scheme}://in/b.jpg has the scheme {scheme}, which was not asked for; "
            f"add --scheme {scheme}\n"
        )


def test_a_chain_of_addresses_is_refused(call: Call):
    said = call("memory://x::file:///etc/passwd", "--scheme", "memory")
    assert "is a chain of addresses" in said.err


def test_addresses_folders_and_patterns_are_rated(call: Call, tiny: Path, remote: fsspec.AbstractFileSystem):
    asked = ("--scheme", "memory", "--bundle", tiny, "--json")
    of_folder = call("memory://in", *asked)
    assert of_folder.photographs == ["0.jpg", "1.jpg", "b.jpg", "d.jpg"]
    assert of_folder.code == 0
    assert of_folder.records[0]["photo"] == "memory:///in/a.tar/0.jpg"
    assert call("memory://in/*.jpg", *asked).photographs == ["b.jpg"]
    said = call("memory://other/empty.jpg", "memory://nowhere.jpg", *asked)
    assert ["is empty" in said.errors[0], "cannot be read" in said.errors[1]] == [True, True]


def test_rows_are_written_to_an_address(
    call: Call, tiny: Path, remote: fsspec.AbstractFileSystem, tmp_path: Path
):
    asked = ("--scheme", "memory", "--bundle", tiny)
    said = call("memory://in", *asked, "--shards", "memory://rows/of/it")
    assert (said.code, said.err.count("mien:")) == (0, 0)
    call("memory://in", *asked, "--shards", "here")
    names = sorted(file.rpartition("/")[2] for file in remote.ls("/rows/of/it", detail=False))
    assert names == sorted(file.name for file in (tmp_path / "here").iterdir())
    parts = [remote.cat_file(f"/rows/of/it/{name}").decode() for name in names[:-1]]
    assert "".join(parts) == rows_of(tmp_path / "here")
    assert call("memory://in", *asked, "--shards", "memory://rows/of/it", "--resume").code == 0


def test_what_is_too_large_is_not_fetched(
    call: Call, tiny: Path, remote: fsspec.AbstractFileSystem, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("mien.mobile_reference.rating.places.MAX_BYTES", 10)
    said = call("memory://in/b.jpg", "--scheme", "memory", "--bundle", tiny, "--json")
    assert "has more than 10 bytes" in said.errors[0]


def test_an_address_of_this_machine_is_a_path(call: Call, tiny: Path, jpegs: Jpegs, tmp_path: Path):
    (tmp_path / "a b.jpg").write_bytes(jpegs[0])
    said = call(f"file://{tmp_path}/a%20b.jpg", "--bundle", tiny, "--json")
    assert (said.code, said.photographs) == (0, ["a b.jpg"])


@pytest.mark.parametrize(
    ("missing", "arguments"),
    [
        ("fsspec", ("memory://in/b.jpg", "--scheme", "memory")),
        ("pyarrow", ("a.parquet",)),
        ("pyarrow", ("a.jpg", "--shards", "rows", "--format", "parquet")),
        ("ray", ("a.jpg", "--shards", "rows", "--ray", "auto")),
    ],
)
def test_what_is_not_installed_says_what_installs_it(
    call: Call, tiny: Path, monkeypatch: pytest.MonkeyPatch, missing: str, arguments: tuple[str, ...]
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    said = call(*arguments, "--bundle", tiny)
    assert said.code == 2
    assert (
        said.err
        == f"mien: this needs {missing}, which is not installed; pip install '.[ray]' in a clone of mien\n"
    )
    assert not Path("rows").exists()
