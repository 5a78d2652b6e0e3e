"""What tests of ``mien appraise`` call, and what shards they make."""

import io
import json
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple


class Said(NamedTuple):
    """What a call left behind."""

    code: object
    out: str
    err: str

    @property
    def records(self) -> list[dict[str, Any]]:
        """The rows on standard output."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def photographs(self) -> list[str]:
        """What the rows are of, by their last names."""
        return [row["photo"].rpartition("/")[2] for row in self.records]

    @property
    def errors(self) -> list[str]:
        """What rows without a score say."""
        return [row["error"] for row in self.records if row["error"]]


Call = Callable[..., Said]


def write_tar(file: Path, members: Mapping[str, bytes]) -> Path:
    """Write a shard of members by their names."""
    with tarfile.open(file, "w") as shard:
        for name, data in members.items():
            add(shard, name, data)
    return file


def add(shard: tarfile.TarFile, name: str, data: bytes, kind: bytes = tarfile.REGTYPE) -> None:
    """Add a member to a shard; of a link ``data`` is where it leads."""
    member = tarfile.TarInfo(name)
    member.type = kind
    if kind == tarfile.REGTYPE:
        member.size = len(data)
    else:
        member.linkname = data.decode()
    shard.addfile(member, io.BytesIO(data))


def rows_of(folder: Path) -> str:
    """Put the shards of a folder together."""
    return "".join(file.read_text() for file in sorted(folder.glob("part-*")))
