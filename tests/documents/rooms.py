"""The drawing of rooms and imports in docs/design.md.

``python -m tests.documents.rooms`` prints it; ``--write`` replaces the one between the marks of the page.
"""

import json
import subprocess
import sys
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import click

from tests.commands import ROOT
from tests.linked_rooms import ROOMS, namespace

PAGE = ROOT / "docs" / "design.md"
BEGIN, END = "<!-- rooms:begin -->", "<!-- rooms:end -->"
_GRAPH = """
import json, sys, grimp
graph = grimp.build_graph(*sys.argv[1:], cache_dir=None, exclude_type_checking_imports=True)
print(json.dumps({m: sorted(graph.find_modules_directly_imported_by(m)) for m in graph.modules}))
"""
Edges = set[tuple[str, str]]


class Imports:
    """Which module of the rooms imports which, lazy imports among them. Names are without ``mien.``."""

    def __init__(self) -> None:
        command = [sys.executable, "-c", _GRAPH, *(f"mien.{room}" for room in ROOMS)]
        made = subprocess.run(command, env=namespace(), capture_output=True, text=True, check=True)
        self.of = {
            _short(module): set(map(_short, imported)) for module, imported in json.loads(made.stdout).items()
        }
        self.packages = {module.rpartition(".")[0] for module in self.of} - {""} | set(ROOMS)

    def package(self, module: str) -> str:
        """Return the package that a module lies in; a package is its own ``__init__``."""
        return module if module in self.packages else module.rpartition(".")[0]

    def between_rooms(self) -> Edges:
        """Return the pairs (importing room, imported room)."""
        return {
            (_room(module), _room(other))
            for module, imported in self.of.items()
            for other in imported
            if _room(module) != _room(other)
        }

    def within(self, room: str) -> Edges:
        """Return the pairs (importing package, imported package) of one room."""
        pairs = {
            (self.package(module), self.package(other))
            for module, imported in self.of.items()
            for other in imported
            if _room(module) == _room(other) == room
        }
        return {(one, other) for one, other in pairs if one != other}

    def floors(self, room: str) -> int:
        """Count the modules of the longest chain of imports inside a room."""

        @cache
        def height(module: str) -> int:
            return 1 + max((height(other) for other in self.of[module] if _room(other) == room), default=0)

        return max(height(module) for module in self.of if _room(module) == room)

    def folder_floors(self, room: str) -> int:
        """Count the files and folders of a room's longest chain of imports.

        Raises:
            ValueError: some of them import each other in a circle, so that none stands above the others.
        """
        edges = {(_part(one), _part(other)) for one in self.of for other in self.of[one]}
        above: dict[str, set[str]] = {}
        for one, other in edges:
            if one != other and _room(one) == _room(other) == room:
                above.setdefault(one, set()).add(other)
        order = list(TopologicalSorter(above).static_order())
        height: dict[str, int] = {}
        for part in order:
            height[part] = 1 + max((height[other] for other in above.get(part, ())), default=0)
        return max(height.values(), default=1)


def _short(module: str) -> str:
    return module.removeprefix("mien.")


def _room(module: str) -> str:
    return module.partition(".")[0]


def _part(module: str) -> str:
    """Return the file or folder of a room that a module lies in."""
    return ".".join(module.split(".")[:2])


def drawing() -> str:
    """Return the part of docs/design.md between the marks, as the rooms are now."""
    imports = Imports()
    parts = ["Between the rooms:", _flowchart(imports.between_rooms())]
    for room in ROOMS:
        if edges := imports.within(room):
            parts += [f"Inside `{room}`, {imports.floors(room)} floors of imports:", _flowchart(edges)]
    return "\n\n".join(parts)


def _flowchart(edges: Edges) -> str:
    """Draw packages and who imports whom, in an order that only the names decide."""
    names = sorted({name for edge in edges for name in edge})
    boxes = [f"  {_node(name)}[{name}]" for name in names]
    arrows = [f"  {_node(importing)} --> {_node(imported)}" for importing, imported in sorted(edges)]
    return "\n".join(["```mermaid", "flowchart TD", *boxes, *arrows, "```"])


def _node(package: str) -> str:
    return package.replace(".", "_")


def drawn(page: Path = PAGE) -> str:
    """Return what the page has between its marks."""
    return page.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0].strip()


def redraw(page: Path = PAGE) -> None:
    """Replace what the page has between its marks."""
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    page.write_text(f"{before}{BEGIN}\n\n{drawing()}\n\n{END}{after}", encoding="utf-8")


@click.command()
@click.option("--write", is_flag=True, help="Replace the drawing in docs/design.md.")
def main(*, write: bool) -> None:
    """Draw which package imports which, as the rooms are now."""
    if write:
        redraw()
    else:
        click.echo(drawing())


if __name__ == "__main__":
    main()
