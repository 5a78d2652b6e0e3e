"""Rows in shards: a file for each unit, written whole or not at all, so that a run that was stopped goes on.

Every row has the SHA-256 of its photograph. Whoever goes on takes a row over where the bytes are the same,
whatever the file is called now, and rates the rest: what is new, what changed, and what had no score.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from io import BytesIO
from itertools import groupby
from pathlib import Path
from tarfile import TarError
from typing import Any, NamedTuple

from mien.mobile_reference.errors import PhotographError, UsageError
from mien.mobile_reference.output.file import OutputFile
from mien.mobile_reference.output.json_text import json_text, parse_json

from .photographs import Photograph
from .places import LocalFile, RemoteFile, filesystem
from .rows import Position, Rater, Row, record_of

SETTINGS = "shards.json"
"""What the rows of a folder depend on beside the photographs."""
DIGEST = "sha256"
SHARD_ROWS = 1000
"""Of photographs in files of their own; some half a minute of one core."""
Record = Mapping[str, Any]
_KEYS = {*record_of("", ""), DIGEST}


def versions() -> Mapping[str, str]:
    """Return the versions of what a row's last bits may depend on."""
    from importlib.metadata import version  # takes as long as reading a photograph

    return {name: version(name) for name in ("mien", "numpy", "pillow", "ai-edge-litert")}


class Written(NamedTuple):
    """How many rows a shard has, and how many of them have no score."""

    rows: int
    failed: int


@dataclass(frozen=True)
class _Form:
    """A format of shards: the ending of their names, and how records become bytes and are read."""

    suffix: str
    write: Callable[[Sequence[Record]], bytes]
    read: Callable[[bytes], list[dict[str, Any]]]


@dataclass(frozen=True)
class ShardFolder:
    """A folder of shards, on this machine or where fsspec reaches, in one of ``FORMS``."""

    place: LocalFile | RemoteFile
    form: str

    def begin(self, settings: Record, units: int, resume: bool) -> None:  # noqa: FBT001 - an option
        """Make the folder, or check that its rows are of the same settings.

        Raises:
            UsageError: it holds rows and they shall not be gone on with, are of other settings or of more
                units, or the folder holds something else.
        """
        found = _files(self.place)
        wanted = json_text({**settings, "format": self.form}, indent=1) + "\n"
        if not found - {SETTINGS}:  # a run that ended before its first shard has left nothing
            _write(self.place, SETTINGS, wanted.encode())
            return
        if SETTINGS not in found:
            raise UsageError(f"{self.place.name} holds other files ({min(found)}); give a new folder")
        if not resume:
            raise UsageError(
                f"{self.place.name} holds rows; go on with them by --resume, or give a new folder"
            )
        _compare(self.place.name, self.settings(), wanted.encode())
        whole = {self.name(number) for number in range(units)}
        more = sorted(name for name in found if name.endswith(self._suffix) and name not in whole)
        if more:
            raise UsageError(
                f"{self.place.name} has {more[0]}, and there are photographs for {units} shards alone; "
                "give all of them, or a new folder"
            )

    def settings(self) -> bytes | None:
        """Return what the folder says of its rows, none where it says nothing."""
        return _read(self.place, SETTINGS)

    def name(self, number: int) -> str:
        """Name the shard of a unit; the names are in the order of the units."""
        return f"part-{number:07d}{self._suffix}"

    @property
    def _suffix(self) -> str:
        return FORMS[self.form].suffix

    def records(self, number: int) -> list[dict[str, Any]]:
        """Read the rows of a unit, none where there is no shard yet.

        Raises:
            UsageError: the shard is damaged.
        """
        data = _read(self.place, self.name(number))
        if data is None:
            return []
        try:
            records = FORMS[self.form].read(data)
            _check_rows(records)
            return records
        except (ValueError, KeyError, OSError) as error:
            raise UsageError(
                f"{self.place.name}/{self.name(number)} is damaged ({error}); remove it and go on by --resume"
            ) from error

    def write(self, number: int, records: Sequence[Record]) -> Written:
        """Write the rows of a unit, unless they stand there already."""
        data = FORMS[self.form].write(records)
        if data != _read(self.place, self.name(number)):
            _write(self.place, self.name(number), data)
        return Written(len(records), sum(record["error"] is not None for record in records))

    def write_all(self, rows: Iterable[Row]) -> Iterator[Written]:
        """Write rows that come in the order of their units, each shard when it is complete."""
        for number, of_unit in groupby(rows, lambda row: row.position.unit):
            yield self.write(number, [row.record for row in of_unit])

    def known(self, number: int) -> Mapping[str, Record]:
        """Return the records with a score of a unit's shard, by the digest of their photographs."""
        return _known(self, number)


@lru_cache(maxsize=1)  # photographs of a unit follow each other
def _known(folder: ShardFolder, number: int) -> Mapping[str, Record]:
    return {one[DIGEST]: one for one in folder.records(number) if one["error"] is None}


def sharded_row(
    folder: ShardFolder,
    rate: Callable[[Rater, Position, Photograph], Row],
    rater: Rater,
    position: Position,
    photograph: Photograph,
) -> Row:
    """Return the row that a shard has of the same bytes, or ``rate`` them; with their digest."""
    digest, photograph = _digested(photograph)
    known = folder.known(position.unit).get(digest) if digest else None
    row = Row(position, {**known, "photo": photograph.name}) if known else rate(rater, position, photograph)
    return row._replace(record={**row.record, DIGEST: digest})


def _digested(photograph: Photograph) -> tuple[str | None, Photograph]:
    """Return the SHA-256 of a photograph's bytes, and the photograph as it was opened for that.

    There is none where the bytes cannot be read: its row tells why.
    """
    try:
        stream = photograph.open()
        digest = hashlib.file_digest(stream, "sha256").hexdigest()  # type: ignore[arg-type]
        stream.seek(0)
    except (PhotographError, UsageError, OSError, TarError):
        return None, photograph
    return digest, replace(photograph, open=lambda: stream)


def _compare(name: str, found: bytes | None, wanted: bytes) -> None:
    """Refuse to go on with rows that were made otherwise."""
    try:
        before, now = (parse_json(data) for data in (found or b"{}", wanted))
        other = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
    except (ValueError, AttributeError) as error:
        raise UsageError(f"{name}/{SETTINGS} is damaged ({error}); give a new folder") from error
    if other:
        key = other[0]
        raise UsageError(
            f"{name} has rows of {key} {before.get(key)}, not {now.get(key)}; "
            "give a new folder, or rate as before"
        )


def _files(place: LocalFile | RemoteFile) -> set[str]:
    """Name what lies in a folder, nothing where there is none."""
    if isinstance(place, LocalFile):
        if place.path.exists() and not place.path.is_dir():
            raise UsageError(f"{place.name} is a file, and shards lie in a folder; give one")
        return {file.name for file in place.path.glob("[!.]*")} if place.path.exists() else set()
    system, path = filesystem(place.url)
    return (
        {file.rpartition("/")[2] for file in system.ls(path, detail=False)} if system.exists(path) else set()
    )


def _read(place: LocalFile | RemoteFile, name: str) -> bytes | None:
    """Return what a file of a folder holds, none where it is not there."""
    try:
        if isinstance(place, LocalFile):
            return _own_file(place, name).read_bytes()
        system, path = filesystem(place.url)
        data: bytes = system.cat_file(f"{path.rstrip('/')}/{name}")
        return data
    except FileNotFoundError:
        return None


def _write(place: LocalFile | RemoteFile, name: str, data: bytes) -> None:
    """Write a file of a folder, whole or not at all."""
    if isinstance(place, LocalFile):
        place.path.mkdir(parents=True, exist_ok=True)
        OutputFile.at(_own_file(place, name)).write(data)
        return
    system, path = filesystem(place.url)
    system.makedirs(path, exist_ok=True)
    with system.transaction, system.open(f"{path.rstrip('/')}/{name}", "wb") as stream:
        stream.write(data)


def _own_file(place: LocalFile, name: str) -> Path:
    """Return a file of a folder, whether it is there or not.

    Raises:
        UsageError: something else is there: a link, which is not followed, a folder, a pipe or a device.
    """
    file = place.path / name
    if file.is_symlink() or (file.exists() and not file.is_file()):
        raise UsageError(f"{place.name}/{name} is a link, or no file; give a new folder")
    return file


def _check_rows(records: Sequence[Any]) -> None:
    """Refuse records that no run wrote: each has the same keys, and a score and a digest, or an error."""
    for number, record in enumerate(records, 1):
        if not isinstance(record, dict) or record.keys() != _KEYS:
            raise ValueError(f"line {number} has not the keys of a row")
        score, error, digest = record["score"], record["error"], record[DIGEST]
        rated = error is None and isinstance(score, float | int) and isinstance(digest, str)
        if not rated and (score is not None or not isinstance(error, str)):
            raise ValueError(f"line {number} has neither a score nor an error")


def _write_lines(records: Sequence[Record]) -> bytes:
    return "".join(json_text(record) + "\n" for record in records).encode()


def _read_lines(data: bytes) -> list[dict[str, Any]]:
    return [parse_json(line) for line in data.splitlines()]


def _schema() -> Any:
    import pyarrow as arrow

    finding = [("measure", arrow.string()), ("value", arrow.float64())]
    finding += [("limit", arrow.float64()), ("verdict", arrow.string())]
    return arrow.schema(
        [
            ("photo", arrow.string()),
            ("score", arrow.float64()),
            ("variant", arrow.string()),
            ("faces", arrow.int64()),
            ("alignment", arrow.list_(arrow.list_(arrow.float64()))),
            ("findings", arrow.list_(arrow.struct(finding))),
            ("error", arrow.string()),
            (DIGEST, arrow.string()),
        ]
    )


def _write_parquet(records: Sequence[Record]) -> bytes:
    import pyarrow as arrow
    from pyarrow import parquet

    made = BytesIO()
    parquet.write_table(arrow.Table.from_pylist(list(records), schema=_schema()), made)
    return made.getvalue()


def _read_parquet(data: bytes) -> list[dict[str, Any]]:
    from pyarrow import parquet

    records: list[dict[str, Any]] = parquet.read_table(BytesIO(data), schema=_schema()).to_pylist()
    return records


JSON_LINES, PARQUET = "jsonl", "parquet"
FORMS: Mapping[str, _Form] = {
    JSON_LINES: _Form(".jsonl", _write_lines, _read_lines),
    PARQUET: _Form(".parquet", _write_parquet, _read_parquet),
}
"""Formats of shards, by what ``--format`` calls them."""
