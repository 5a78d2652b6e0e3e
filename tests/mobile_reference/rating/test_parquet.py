"""Parquet files of photographs, and rows in Parquet files."""

import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow as arrow
import pytest
from pyarrow import parquet

from tests.mobile_reference.rating.calls import Call, rows_of

Jpegs = Sequence[bytes]


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_column_of_bytes_is_rated_in_its_order(
    call: Call, tiny: Path, jpegs: Jpegs, tmp_path: Path, jobs: int
):
    cells = [*jpegs[:5], b"no picture", *jpegs[5:20]]
    parquet.write_table(arrow.table({"image": cells, "x": range(21)}), "a.parquet", row_group_size=6)
    (tmp_path / "alone.jpg").write_bytes(jpegs[19])
    said = call("a.parquet", "alone.jpg", "--bundle", tiny, "--json", "--jobs", jobs)
    assert said.code == 2
    assert said.photographs == [*map(str, range(21)), "alone.jpg"]
    assert [row["photo"] for row in said.records if row["error"]] == ["a.parquet/5"]
    assert said.records[20]["score"] == said.records[21]["score"]


@pytest.mark.parametrize("kind", [arrow.binary(), arrow.large_binary()])
def test_a_struct_of_bytes_and_empty_cells(call: Call, tiny: Path, jpegs: Jpegs, kind: arrow.DataType):
    struct = arrow.struct([("bytes", kind), ("path", arrow.string())])
    cells = [
        {"bytes": jpegs[0], "path": "a"},
        {"bytes": None, "path": "b"},
        {"bytes": b"", "path": "c"},
        None,
    ]
    parquet.write_table(arrow.table({"image": arrow.array(cells, struct)}), "a.parquet")
    said = call("a.parquet", "--bundle", tiny, "--json", "--column", "image.bytes")
    assert [row["error"] is None for row in said.records] == [True, False, False, False]
    assert all("is empty" in error for error in said.errors)


@pytest.mark.parametrize("column", ["picture", "name", "image.bytes", "name.x", "x.y.z", ""])
def test_a_file_without_the_column_says_what_it_has(call: Call, tiny: Path, jpegs: Jpegs, column: str):
    parquet.write_table(arrow.table({"image": [jpegs[0]], "name": ["x"]}), "a.parquet")
    said = call("a.parquet", "--bundle", tiny, "--json", "--column", column)
    assert (said.code, said.photographs) == (2, ["a.parquet"])
    assert f"has no column {column} of bytes; name one by --column" in said.errors[0]
    assert "It has image (binary), name (string)" in said.errors[0]


@pytest.mark.parametrize("end", [0, 3, 100, -20, -1])
def test_a_file_that_is_cut_short_is_a_row(call: Call, tiny: Path, jpegs: Jpegs, tmp_path: Path, end: int):
    parquet.write_table(arrow.table({"image": [jpegs[0]]}), "a.parquet")
    file = tmp_path / "a.parquet"
    file.write_bytes(file.read_bytes()[:end])
    said = call("a.parquet", "--bundle", tiny, "--json")
    assert (said.code, said.photographs) == (2, ["a.parquet"])
    assert "is damaged or cut short after 0 photographs" in said.errors[0]


def test_what_would_take_too_much_memory_is_not_read(
    call: Call, tiny: Path, jpegs: Jpegs, monkeypatch: pytest.MonkeyPatch
):
    parquet.write_table(arrow.table({"image": [jpegs[0], jpegs[0] + b"0"]}), "a.parquet")
    monkeypatch.setattr("mien.mobile_reference.rating.photographs.MAX_BYTES", len(jpegs[0]))
    said = call("a.parquet", "--bundle", tiny, "--json")
    assert [row["error"] is None for row in said.records] == [True, False]
    monkeypatch.setattr("mien.mobile_reference.rating.photographs._MOST_ROW_GROUP", 100)
    said = call("a.parquet", "--bundle", tiny, "--json")
    assert "has a row group of" in said.errors[0]


def test_rows_in_parquet_are_those_of_json_lines(call: Call, tiny: Path, jpegs: Jpegs, tmp_path: Path):
    for number in range(9):
        (tmp_path / f"{number}.jpg").write_bytes(jpegs[number] if number else b"no picture")
    options = (*(f"{number}.jpg" for number in range(9)), "--bundle", tiny, "--shard-rows", 4)
    call(*options, "--shards", "lines")
    lines = [json.loads(line) for line in rows_of(tmp_path / "lines").splitlines()]
    for resume in ((), ("--resume",)):
        assert call(*options, "--shards", "tables", "--format", "parquet", *resume).code == 2
        files = sorted((tmp_path / "tables").glob("part-*.parquet"))
        assert [row for file in files for row in parquet.read_table(file).to_pylist()] == lines
    said = call(*options, "--shards", "tables", "--resume")
    assert "has rows of format parquet, not jsonl" in said.err
    files[1].write_bytes(files[1].read_bytes()[:-9])
    assert (
        "part-0000001.parquet is damaged"
        in call(*options, "--shards", "tables", "--format", "parquet", "--resume").err
    )
