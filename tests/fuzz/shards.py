"""Shards of odd kinds: tar files of the WebDataset habit, and Parquet files with a column of photographs.

Damaged bytes seldom reach what a reader believes of sizes, kinds and names, so these are written out.
"""

import gzip
import io
import tarfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from PIL import Image

COLUMN = "image"
_BLOCK = tarfile.BLOCKSIZE
END = bytes(2 * _BLOCK)
"""What a tar file ends with."""
_MEGA = 1 << 20


def sound(folder: Path) -> Sequence[Path]:
    """Write a shard of each kind."""
    import pyarrow as arrow
    from pyarrow import parquet

    cells = [picture(number, kind) for number, kind in enumerate(("JPEG", "PNG", "WEBP"))]
    with tarfile.open(folder / "a.tar", "w") as shard:
        for number, data in enumerate(cells):
            for ending, content in ((("jpg", "png", "webp")[number], data), ("json", b"{}")):
                info = tarfile.TarInfo(f"{number}.{ending}")
                info.size = len(content)
                shard.addfile(info, io.BytesIO(content))
    parquet.write_table(arrow.table({COLUMN: cells, "name": list("abc")}), folder / "a.parquet")
    return [folder / "a.tar", folder / "a.parquet"]


def picture(number: int, kind: str) -> bytes:
    """Return a small picture of noise."""
    made = io.BytesIO()
    pixels = np.random.default_rng(number).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(made, kind)
    return made.getvalue()


def odd(name: str, damage: bytes) -> bytes | None:
    """Draw the bytes of an odd shard with the ending of ``name``; none: the damage itself is the shard."""
    random = Random(damage)  # noqa: S311 - damage, no secrets
    if random.random() < 0.5:
        return None
    makers = TARS if name.endswith(".tar") else PARQUETS
    return random.choice(list(makers.values()))(random, picture(random.randrange(3), "JPEG"))


def _header(name: str, size: int = 0, kind: bytes = tarfile.REGTYPE, **more: Any) -> bytes:
    """Return one header as it stands, whatever it says."""
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, max(size, 0)
    for field, value in more.items():
        setattr(info, field, value)
    return info.tobuf(tarfile.GNU_FORMAT, errors="surrogateescape")


def member(name: str, data: bytes, kind: bytes = tarfile.REGTYPE, **more: Any) -> bytes:
    """Return a member of a tar file."""
    return _header(name, len(data), kind, **more) + data + bytes(-len(data) % _BLOCK)


def _checked(header: bytearray) -> bytes:
    """Give a changed header its checksum."""
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


def _twice(random: Random, data: bytes) -> bytes:
    return member("a.jpg", data) * random.randrange(2, 12) + END


def _linked(random: Random, data: bytes) -> bytes:
    kind = random.choice((tarfile.SYMTYPE, tarfile.LNKTYPE, b"9", b"Z", b"\xff"))
    leads = random.choice(("a.jpg", "b.jpg", "/etc/passwd", "../../x", "x" * 90, ""))
    return member("a.jpg", data) + _header("b.jpg", kind=kind, linkname=leads) + END


def _special(random: Random, data: bytes) -> bytes:
    kind = random.choice((tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE))
    return _header("a.jpg", kind=kind, devmajor=1, devminor=5) + member("b.jpg", data) + END


def _outside(random: Random, data: bytes) -> bytes:
    names = (
        "/a.jpg",
        "../a.jpg",
        "a/../../b.jpg",
        "//a.jpg",
        "C:\\a.jpg",
        "a\nb.jpg",
        "\x1b[31m.jpg",
        ".jpg",
    )
    return member(random.choice(names), data) + END


def _lying(random: Random, data: bytes) -> bytes:
    """A size that is not the member's: in eight digits, in base 256, below nothing."""
    header = bytearray(_header("a.jpg", len(data)))
    sizes = (
        b"77777777777\0",
        b"%011o\0" % max(len(data) + random.choice((-1, 1, 512, 600)), 0),
        b"\x80" + bytes(3) + random.randbytes(8),
        b"\x80" + bytes(6) + b"\x08" + bytes(4),
        b"\xff" * 12,
        b"-0000000001\0",
        b"zzzzzzzzzzz\0",
        bytes(12),
    )
    header[124:136] = random.choice(sizes)
    return _checked(header) + data + bytes(-len(data) % _BLOCK) + member("b.jpg", data) + END


def _sparse(random: Random, data: bytes) -> bytes:
    """The old form of GNU tar, whose map and true size stand in the header."""
    header = bytearray(_header("a.jpg", len(data), tarfile.GNUTYPE_SPARSE))
    numbers = [random.choice((0, 1, len(data), 2**31, 8**11 - 1)) for _ in range(8)]
    header[386 : 386 + 96] = b"".join(b"%011o " % number for number in numbers)
    header[482] = random.randrange(2)
    header[483:495] = b"%011o\0" % random.choice((len(data), 0, 8**11 - 1))
    return _checked(header) + data + bytes(-len(data) % _BLOCK) + END


def _pax(records: Sequence[tuple[str, str]], kind: bytes = tarfile.XHDTYPE) -> bytes:
    """Return a header of pax, each record with its own length before it."""
    content = []
    for key, value in records:
        line = f" {key}={value}\n".encode(errors="surrogateescape")
        length = len(line) + 1
        while length != len(line) + len(str(length)):
            length = len(line) + len(str(length))
        content.append(str(length).encode() + line)
    return member("pax", b"".join(content), kind)


def _repeated(random: Random, header: bytes) -> bytes:
    """Return a header about a header once or often, if that is little."""
    return header * random.choice((1, 1, 2, 500 if len(header) < 4 * _BLOCK else 1))


def _paxes(random: Random, data: bytes) -> bytes:
    digits = ("1e400", "-1", "9" * 400, "", "0x10", str(len(data)), str(2**63), "1.5")
    records = (
        [("path", "x" * random.choice((1, 300, 5000)) + ".jpg")],
        [("size", random.choice(digits))],
        [("mtime", random.choice(digits)), ("uid", random.choice(digits))],
        [("GNU.sparse.map", ",".join(random.choice(digits) for _ in range(6)))],
        [
            ("GNU.sparse.major", "1"),
            ("GNU.sparse.minor", "0"),
            ("GNU.sparse.realsize", random.choice(digits)),
        ],
        [("GNU.sparse.size", random.choice(digits)), ("GNU.sparse.numblocks", random.choice(digits))],
        [("hdrcharset", "BINARY"), ("path", "\udcff.jpg")],
        [("comment", "x" * random.choice((1, 3, 40)) * _MEGA)],
        [(f"key{number}", "x") for number in range(random.choice((10, 50_000)))],
    )
    kind = random.choice((tarfile.XHDTYPE, tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE))
    about = _pax(random.choice(records), kind)
    if random.random() < 0.2:
        about = about.replace(b" ", random.choice((b"", b"=", b"\0")), 1)
    return _repeated(random, about) + member("a.jpg", data) + END


def _long_names(random: Random, data: bytes) -> bytes:
    name = random.choice((b"x" * 300, b"x/" * 2000, b"y" * 5 * _MEGA, b"\xff\xfe\0z", b"")) + b".jpg"
    kind = random.choice((tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK))
    return _repeated(random, member("././@LongLink", name, kind)) + member("a.jpg", data) + END


def _packed(random: Random, data: bytes) -> bytes:
    whole = member("a.jpg", data) + END
    return random.choice(
        (gzip.compress(whole), whole + whole, bytes(_BLOCK) + whole, END, END * 5000, whole[:-1])
    )


def _bombs(random: Random, data: bytes) -> bytes:
    """Members that are much of nothing."""
    much = bytes(random.choice((1, 20, 60)) * _MEGA)
    return (
        member("a.jpg", random.choice((much, data + much, data[:200] + much))) + member("b.jpg", data) + END
    )


Maker = Callable[[Random, bytes], bytes]
"""Makes an odd shard around a picture, as it is drawn."""
TARS: Mapping[str, Maker] = {
    "names that are there twice": _twice,
    "links": _linked,
    "devices": _special,
    "paths that lead outside": _outside,
    "sizes that lie": _lying,
    "sparse files": _sparse,
    "pax": _paxes,
    "long names": _long_names,
    "packed, or several": _packed,
    "bombs": _bombs,
}
"""Odd tar files: what makes one of each kind."""


def _written(cells: Any, **options: Any) -> bytes:
    import pyarrow as arrow
    from pyarrow import parquet

    made = io.BytesIO()
    parquet.write_table(arrow.table({COLUMN: cells}), made, **options)
    return made.getvalue()


def _types(random: Random, data: bytes) -> bytes:
    import pyarrow as arrow

    kinds = (
        arrow.array([1, 2]),
        arrow.array(["a", "b"]),
        arrow.array([None, None]),
        arrow.array([[data], [data, data]]),
        arrow.array([{"bytes": data, "path": "x"}]),
        arrow.array([data], arrow.large_binary()),
        arrow.array([data], arrow.binary_view()),
        arrow.array([data[:64]], arrow.binary(64)),
        arrow.array([data] * 3).dictionary_encode(),
        arrow.array([], arrow.binary()),
        arrow.array([(("a", data),)], arrow.map_(arrow.string(), arrow.binary())),
    )
    return _written(random.choice(kinds))


def _cells(random: Random, data: bytes) -> bytes:
    odd_cells = (None, b"", b"\0", b"\0" * 1000, data, data[:100], data + bytes(1000), bytes(_MEGA))
    cells = [random.choice(odd_cells) for _ in range(random.randrange(1, 12))]
    return _written(cells, row_group_size=random.choice((1, 7, 1000)), compression=_compression(random))


def _compression(random: Random) -> str:
    return random.choice(("none", "snappy", "gzip", "zstd", "brotli", "lz4"))


def _dictionary(random: Random, data: bytes) -> bytes:
    """Cells that are stored once and are there many times: of some kB hundreds of MB are to be read."""
    import pyarrow as arrow

    cell = data + bytes(random.choice((1, 8, 64)) * _MEGA)
    numbers = arrow.array([0] * random.choice((3, 18)), arrow.int32())
    cells = arrow.DictionaryArray.from_arrays(numbers, arrow.array([cell]))
    return _written(cells, compression="zstd", store_schema=False)


def _groups(random: Random, data: bytes) -> bytes:
    """A row group of much in few bytes."""
    cells = [data + bytes(random.choice((1, 30)) * _MEGA) for _ in range(random.choice((3, 9)))]
    return _written(cells, compression="zstd", use_dictionary=False, row_group_size=random.choice((5, 1000)))


def _lying_footer(random: Random, data: bytes) -> bytes:
    """Metadata whose numbers are others: the last 8 bytes say where they begin."""
    file = bytearray(_written([data] * 4, compression=_compression(random)))
    begin = len(file) - 8 - int.from_bytes(file[-8:-4], "little")
    for _ in range(random.choice((1, 2, 5))):
        at = random.randrange(begin, len(file) - 4)
        file[at] = random.choice((0, 0x7F, 0xFF, file[at] ^ 1 << random.randrange(8)))
    return bytes(file)


PARQUETS: Mapping[str, Maker] = {
    "types": _types,
    "cells": _cells,
    "dictionaries": _dictionary,
    "groups": _groups,
    "footers": _lying_footer,
}
"""Odd Parquet files: what makes one of each kind."""
