"""The long run behind ``make fuzz-long``: so many cases of every target, in as many pieces as it takes.

What was counted lies in build/fuzz/; ``--write`` puts it into docs/maintaining/reliability.md.
"""

import json
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from .campaign import prepare, try_case
from .former import former_targets
from .harness import PROMISED
from .small_disk import kind_of_full_disk
from .targets import SLOW, TARGETS

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "maintaining" / "reliability.md"
BEGIN, END = "<!-- counts of the long run -->\n", "<!-- end of the counts -->\n"
WANTED: Mapping[str, int] = {
    "photographs": 10_000,
    "models": 1_000,
    "manifests": 3_000,
    "goldens": 1_000,
    "checkpoints": 500,
    "reports": 1_000,
    "dialogues": 200,
    "kills": 150,
    "exports": 200,
    "surroundings": 1_000,
    "shards": 3_000,
    "packages": 300,
    "sources": 100,
    "conversions": 24,
}
"""How many cases of each target; of exports, some end before they are struck."""
FORMER: Mapping[str, int] = {"models": 400, "surroundings": 200}
"""Of another checkout: of the other targets so many as ``OF_FORMER``, for a case takes seconds there."""
OF_FORMER = 40


@click.command()
@click.option("--seed", default=77, show_default=True)
@click.option("--seconds", default=540.0, show_default=True, help="How long cases are begun.")
@click.option("--checkout", type=click.Path(path_type=Path), help="Judge the mien of this checkout.")
@click.option("--target", "names", multiple=True, type=click.Choice(list(WANTED)), help="Default: all.")
@click.option(
    "--write", is_flag=True, help="Try nothing; write what was counted into docs/maintaining/reliability.md."
)
def longrun(
    seed: int,
    seconds: float,
    checkout: Path | None,
    names: tuple[str, ...],
    write: bool,  # noqa: FBT001 - click passes flags so
) -> None:
    """Go on with the long run, until the time is over or every target has its count."""
    if write:
        before, rest = PAGE.read_text().split(BEGIN)
        PAGE.write_text(
            before + BEGIN + table(_read(_file(None)), _read(_file(ROOT))) + END + rest.split(END)[1]
        )
        return
    targets = former_targets(checkout.absolute()) if checkout else {**TARGETS, **SLOW}
    end, file = time.monotonic() + seconds, _file(checkout)
    for name in names or WANTED:
        if name in targets and time.monotonic() < end:
            wanted = FORMER.get(name, OF_FORMER) if checkout else WANTED[name]
            _go_on(name, targets, seed, wanted, end, file)
    for name, one in _read(file).items():
        click.echo(f"{name:<12} {one['tried']:>6} tried: {_ends(one['ends'])}")
    click.echo(f"a full disk is {kind_of_full_disk()} here")


def _file(checkout: Path | None) -> Path:
    return ROOT / "build" / "fuzz" / ("former.json" if checkout else "long.json")


def _read(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text()) if file.exists() else {}


def _go_on(name: str, targets: Mapping[str, Any], seed: int, wanted: int, end: float, file: Path) -> None:
    """Try cases of a target from where the file says on, and write what was counted."""
    one = _read(file).get(name, {"tried": 0, "ends": {}, "findings": []})
    if one["tried"] >= wanted:
        return
    ends = Counter(one["ends"])
    with tempfile.TemporaryDirectory() as folder:
        (prepared,) = prepare({name: targets[name]}, Path(folder))
        while one["tried"] < wanted and time.monotonic() < end:
            kind = try_case(prepared, seed, one["tried"])
            ends[kind if kind in PROMISED else kind.partition(":")[0]] += 1
            if kind not in PROMISED:
                one["findings"].append([one["tried"], kind])
                click.echo(f"{name} {one['tried']}: {kind}", err=True)
            one["tried"] += 1
            if one["tried"] % 10 == 0 or one["tried"] == wanted:
                _keep(file, name, one | {"ends": ends})
    _keep(file, name, one | {"ends": ends})


def _keep(file: Path, name: str, one: Mapping[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(_read(file) | {name: one}))


def _ends(ends: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {kind}" for kind, number in sorted(ends.items())) or "none"


def table(now: Mapping[str, Any], former: Mapping[str, Any]) -> str:
    """Return both counts side by side, in Markdown."""
    lines = ["| target | this code | 35216d8 |", "|---|---|---|"]
    for name in WANTED:
        cells = [
            f"{one[name]['tried']:,}: {_ends(one[name]['ends'])}" if name in one else "not tried"
            for one in (now, former)
        ]
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    longrun()
