"""The command ``mien cache``."""

import time
from datetime import UTC, datetime
from typing import Any

import click

from mien.mobile_reference.commands.options import examples
from mien.mobile_reference.output.json_text import json_text
from mien.mobile_reference.output.text import path_text, shown

from .store import KINDS, OFF, PLACE, FolderCache


@click.command(epilog=examples("cache", "cache --clear", "cache --json"))
@click.option("--clear", is_flag=True, help="Remove everything that is kept.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def cache(
    clear: bool,  # noqa: FBT001 - click passes flags so
    as_json: bool,  # noqa: FBT001
) -> None:
    """Show the bundles and the single conversions that exports kept.

    An export of which nothing changed takes its bundle from there, and one of which something changed the
    conversions that do not depend on it. The variable MIEN_CACHE names the folder, or says 'off'; without it
    they lie in the user's folder of caches.
    """
    found = {kind: FolderCache.of_user(kind) for kind in KINDS}
    for every in filter(None, found.values()) if clear else ():
        every.clear()
    if as_json:
        records = {kind: kept and _record(kept) for kind, kept in found.items()}
        click.echo(json_text(records, indent=1))
        return
    for kind, kept in found.items():
        if kept is None:
            click.echo(f"nothing is kept: {PLACE} is {OFF}")
            return
        _print(kind, kept)


def _record(kept: FolderCache) -> dict[str, Any]:
    return {
        "folder": path_text(kept.folder),
        "largest": kept.largest,
        "entries": [
            {
                "key": entry.folder.name,
                "bytes": entry.size,
                "used": datetime.fromtimestamp(entry.used, UTC).isoformat(timespec="seconds"),
            }
            for entry in kept.entries()
        ],
    }


def _print(kind: str, kept: FolderCache) -> None:
    entries = kept.entries()
    for entry in entries:
        used = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.used))
        click.echo(f"{entry.folder.name[:12]}  {entry.size / 1e6:8.1f} MB  last used {used}")
    total = sum(entry.size for entry in entries)
    click.echo(
        f"{len(entries)} {kind}, {total / 1e6:.1f} MB of at most {kept.largest / 1e6:.0f} MB, "
        f"in {shown(kept.folder)}"
    )
