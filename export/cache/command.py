"""The command ``mien cache``."""

import time

import click

from mien.mobile_reference.commands.options import examples
from mien.mobile_reference.output.text import shown

from .store import KINDS, OFF, PLACE, FolderCache


@click.command(epilog=examples("cache", "cache --clear"))
@click.option("--clear", is_flag=True, help="Remove everything that is kept.")
def cache(clear: bool) -> None:  # noqa: FBT001 - click passes flags so
    """Show the bundles and the single conversions that exports kept.

    An export of which nothing changed takes its bundle from there, and one of which something changed the
    conversions that do not depend on it. The variable MIEN_CACHE names the folder, or says 'off'; without it
    they lie in the user's folder of caches.
    """
    for kind in KINDS:
        kept = FolderCache.of_user(kind)
        if kept is None:
            click.echo(f"nothing is kept: {PLACE} is {OFF}")
            return
        if clear:
            kept.clear()
        _print(kind, kept)


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
