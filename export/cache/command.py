"""The command ``mien cache``."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import click

from mien.mobile_reference.commands.options import examples
from mien.mobile_reference.output.json_text import json_text
from mien.mobile_reference.output.text import path_text, shown

from .store import OFF, PLACE, BundleCache, Entry


@click.command(epilog=examples("cache", "cache --clear", "cache --json"))
@click.option("--clear", is_flag=True, help="Remove every bundle that is kept.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def cache(
    clear: bool,  # noqa: FBT001 - click passes flags so
    as_json: bool,  # noqa: FBT001
) -> None:
    """Show the bundles that exports kept.

    An export of which nothing changed takes its bundle from there. The variable MIEN_CACHE names the folder,
    or says 'off'; without it they lie in the user's folder of caches.
    """
    kept = BundleCache.of_user()
    if kept and clear:
        kept.clear()
    entries = kept.entries() if kept else []
    if as_json:
        click.echo(json_text(_record(kept, entries), indent=1))
    elif kept is None:
        click.echo(f"no bundle is kept: {PLACE} is {OFF}")
    else:
        _print(kept, entries)


def _record(kept: BundleCache | None, entries: Sequence[Entry]) -> dict[str, Any]:
    """Describe the cache; a folder of null is one that was switched off."""
    return {
        "folder": path_text(kept.folder) if kept else None,
        "largest": kept.largest if kept else None,
        "bundles": [
            {
                "key": entry.folder.name,
                "bytes": entry.size,
                "used": datetime.fromtimestamp(entry.used, UTC).isoformat(timespec="seconds"),
            }
            for entry in entries
        ],
    }


def _print(kept: BundleCache, entries: Sequence[Entry]) -> None:
    for entry in entries:
        used = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.used))
        click.echo(f"{entry.folder.name[:12]}  {entry.size / 1e6:8.1f} MB  last used {used}")
    total = sum(entry.size for entry in entries)
    click.echo(
        f"{len(entries)} bundles, {total / 1e6:.1f} MB of at most {kept.largest / 1e6:.0f} MB, "
        f"in {shown(kept.folder)}"
    )
