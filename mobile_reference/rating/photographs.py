"""The one reader of what is to be rated: files, folders, tar shards, and a column of Parquet files.

A tar shard is one of the WebDataset habit: plain tar, a photograph a member, with whatever belongs to it
beside it under the same name and another ending. Nothing of a shard is written to the disk. What is wrong
with a shard is a row of its own, and what could be read before it stays.
"""

import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from itertools import chain, groupby
from pathlib import PurePosixPath
from typing import IO, Any, NoReturn

from mien.mobile_reference.errors import PhotographError
from mien.mobile_reference.front.photograph import MAX_BYTES
from mien.mobile_reference.output.text import path_text

from .places import Place, need

_READ = frozenset({".jpg", ".jpeg", ".jfif", ".png", ".webp"})
_OTHERS = frozenset(
    {".heic", ".heif", ".avif", ".tif", ".tiff", ".bmp", ".gif", ".jp2", ".jxl", ".cr3", ".dng"}
)
_PICTURES = _READ | _OTHERS
"""Endings of pictures. Formats that are not read are among them, so that none is left out in silence."""
TAR, PARQUET = ".tar", ".parquet"
_CELLS = 16
"""As many photographs of a Parquet file are held at a time."""
_MOST_ROW_GROUP = 4 << 30


@dataclass(frozen=True)
class Photograph:
    """One photograph: what its row calls it, the stem of its pictures' names, and how its bytes are opened.

    ``open`` raises ``PhotographError``. What lies in a shard can be opened until the next one is asked for.
    """

    name: str
    stem: str
    open: Callable[[], IO[bytes]]


@dataclass(frozen=True)
class Unit:
    """Photographs whose rows are written together: a run of files, or what one shard holds."""

    number: int
    places: tuple[Place, ...]
    column: str

    @property
    def name(self) -> str:
        """What is told of when it cannot be read."""
        return self.places[0].name

    @property
    def is_shard(self) -> bool:
        """Whether it is one file of several photographs."""
        return self.places[0].suffix in _SHARDS

    def photographs(self) -> Iterator[Photograph]:
        """Yield the photographs in their order; at least one, which says why if there is none."""
        if not self.is_shard:
            return (Photograph(place.name, place.stem, place.photograph) for place in self.places)
        return _of_shard(self.places[0], self.column)


def units_of(places: Iterable[Place], column: str, most: int) -> list[Unit]:
    """Divide what was given into units, in its order: files by runs of at most ``most``, each shard alone.

    Args:
        places: Files, shards, and folders, whose pictures and shards are taken by name.
        column: The column of Parquet files that has the photographs' bytes.
        most: The most files of one unit.

    Raises:
        ModuleNotFoundError: there are Parquet files, and pyarrow is not installed.
    """
    runs: list[tuple[Place, ...]] = []
    for is_shard, run in groupby(chain.from_iterable(map(_expanded, places)), _is_shard):
        files = tuple(run)
        step = 1 if is_shard else most
        runs += [files[first : first + step] for first in range(0, len(files), step)]
    if any(files[0].suffix == PARQUET for files in runs):
        need("pyarrow")
    return [Unit(number, files, column) for number, files in enumerate(runs)]


def _is_shard(place: Place) -> bool:
    return place.suffix in _SHARDS


def _expanded(place: Place) -> list[Place]:
    """Return the pictures and shards of a folder; what is not a folder, or is empty, is its own row."""
    try:
        listed = place.listed()
    except PhotographError:  # its row says so
        return [place]
    return [file for file in listed or () if file.suffix in _PICTURES or _is_shard(file)] or [place]


def _of_shard(place: Place, column: str) -> Iterator[Photograph]:
    """Yield the photographs of a shard, and one that says what is wrong with the shard, if anything is."""
    count = 0
    try:
        with place.stream() as stream:
            for photograph in _SHARDS[place.suffix](place.name, stream, column):
                yield photograph
                count += 1
        if count == 0:
            raise PhotographError(f"{place.name} holds no photographs; give a shard that does")
    except PhotographError as error:
        yield _failing(place.name, str(error))
    except (OSError, ValueError, EOFError, RecursionError, MemoryError, tarfile.TarError) as error:
        # tarfile calls itself for each header about a header, and holds what one of them states as its size.
        reason = " ".join(str(error).split()) or type(error).__name__
        yield _failing(
            place.name,
            f"{place.name} is damaged or cut short after {count} photographs ({reason:.200}); "
            "give the whole shard",
        )


def _failing(name: str, reason: str) -> Photograph:
    def fail() -> NoReturn:
        raise PhotographError(reason)

    return Photograph(name, PurePosixPath(name).stem, fail)


def _of_tar(name: str, stream: IO[bytes], _: str) -> Iterator[Photograph]:
    """Yield the pictures of a tar file (POSIX.1-2001 pax, ustar and GNU); compressed ones are not read."""
    with tarfile.open(fileobj=stream, mode="r:") as shard:
        while (member := shard.next()) is not None:
            shard.members = []  # type: ignore[attr-defined]  # tarfile keeps what it has seen
            path = PurePosixPath(member.name)
            if not member.isdir() and path.suffix.lower() in _PICTURES:
                yield _of_member(f"{name}/{path_text(member.name)}", path, member, shard)
        # tarfile takes a header that is cut or damaged for the end, where two blocks of zeros must be.
        stream.seek(shard.offset)
        if stream.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:
            raise tarfile.ReadError("it does not end as a tar file does")


def _of_member(name: str, path: PurePosixPath, member: tarfile.TarInfo, shard: tarfile.TarFile) -> Photograph:
    for is_wrong, what in (
        (member.issym() or member.islnk(), "is a link, which is not followed"),
        (not member.isreg() or member.issparse(), "is not a regular file"),
        (path.is_absolute() or ".." in path.parts, "has a path that leads outside of its shard"),
        (member.size > MAX_BYTES, f"has {member.size} bytes, at most {MAX_BYTES} are read"),
        (member.size == 0, "is empty (0 bytes)"),
    ):
        if is_wrong:
            return _failing(name, f"{name} {what}; put the photograph itself into the shard")

    def opened() -> IO[bytes]:
        found = shard.extractfile(member)
        assert found is not None, name  # noqa: S101 - it is a regular file
        return found

    return Photograph(name, path.stem, opened)


def _of_parquet(name: str, stream: IO[bytes], column: str) -> Iterator[Photograph]:
    """Yield the cells of a column of bytes, which may be a field of a struct, such as ``image.bytes``."""
    import pyarrow as arrow
    from pyarrow import parquet

    arrow.set_memory_pool(arrow.system_memory_pool())  # others reserve more than a child may
    arrow.set_cpu_count(1)
    table = parquet.ParquetFile(stream, pre_buffer=False)
    _check_column(name, table.schema_arrow, column)
    for group in range(table.num_row_groups):
        size = table.metadata.row_group(group).total_byte_size
        if size > _MOST_ROW_GROUP:
            raise PhotographError(
                f"{name} has a row group of {size} bytes, at most {_MOST_ROW_GROUP} are read; "
                "write it with smaller ones"
            )
    number = 0
    for batch in table.iter_batches(_CELLS, columns=[column], use_threads=False):
        cells = batch.column(0)
        for field in column.split(".")[1:]:
            cells = cells.field(field)
        for cell in cells:
            yield _of_cell(f"{name}/{number}", cell)
            number += 1


def _check_column(name: str, schema: Any, column: str) -> None:
    from pyarrow import types

    found: Any = schema
    with suppress(KeyError, AttributeError, TypeError):
        for field in column.split("."):
            found = getattr(found, "type", found).field(field)
        if types.is_binary(found.type) or types.is_large_binary(found.type):
            return
    has = ", ".join(f"{field.name} ({field.type})" for field in schema) or "none"
    raise PhotographError(f"{name} has no column {column} of bytes; name one by --column. It has {has:.300}")


def _of_cell(name: str, cell: Any) -> Photograph:
    if not cell.is_valid or len(cell.as_buffer()) == 0:
        return _failing(name, f"{name} is empty; give the bytes of a photograph")
    data = cell.as_buffer()
    if data.size > MAX_BYTES:
        return _failing(
            name, f"{name} has {data.size} bytes, at most {MAX_BYTES} are read; give a smaller one"
        )
    return Photograph(name, PurePosixPath(name).name, lambda: BytesIO(data))


_SHARDS: Mapping[str, Callable[[str, IO[bytes], str], Iterator[Photograph]]] = {
    TAR: _of_tar,
    PARQUET: _of_parquet,
}
"""How files of several photographs are read, by the endings of their names."""
