"""The command ``mien cache``."""

import time

import click

from mien.mobile_reference.commands.options import examples
from mien.mobile_reference.output.text import shown

from .store import OFF, PLACE, BundleCache


@click.command(epilog=examples("cache", "cache --clear"))
@click.option("--clear", is_flag=True, help="Remove every bundle that is kept.")
def cache(clear: bool) -> None:  # noqa: FBT001 - click passes flags so
    """Show the bundles that exports kept.

    An export of which nothing changed takes its bundle from there. The variable MIEN_CACHE names the folder,
    or says 'off'; without it they lie in the user's folder of caches.
    """
    kept = BundleCache.of_user()
    if kept is None:
        click.echo(f"no bundle is kept: {PLACE} is {OFF}")
        return
    if clear:
        kept.clear()
    entries = kept.entries()
    for entry in entries:
        used = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.used))
        click.echo(f"{entry.folder.name[:12]}  {entry.size / 1e6:8.1f} MB  last used {used}")
    total = sum(entry.size for entry in entries)
    click.echo(
        f"{len(entries)} bundles, {total / 1e6:.1f} MB of at most {kept.largest / 1e6:.0f} MB, "
        f"in {shown(kept.folder)}"
    )
