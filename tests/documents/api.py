"""docs/api.md: the public names with their signatures and docstrings, made from the code."""

import inspect
from collections.abc import Callable
from pathlib import Path

import click

import mien
from tests.commands import ROOT

PAGE = ROOT / "docs" / "api.md"
_HEAD = """# API

What `import mien` gives. This page is made from the docstrings by `python -m tests.documents.api --write`; a
test runs each example, in a folder with a bundle named `bundle` and a portrait named `photo.jpg`.

`mien.__version__` is the version as text."""
_SECTIONS = ("Args", "Returns", "Raises", "Example", "Attributes", "Yields")


def reference() -> str:
    """Return the page as the code is now."""
    names = [name for name in mien.__all__ if not name.startswith("_")]
    return "\n\n".join([_HEAD, *(_entry(name, getattr(mien, name)) for name in names)]) + "\n"


def _entry(name: str, what: object) -> str:
    signature = _signature(what) if callable(what) else ""
    parts = [f"## {name}", f"```text\nmien.{name}{signature}\n```", _text(inspect.getdoc(what) or "")]
    if inspect.isclass(what):
        for method, function in _methods(what):
            parts += [f"`{name}.{method}`: {(inspect.getdoc(function) or '').splitlines()[0]}"]
    return "\n\n".join(part for part in parts if part)


def _signature(what: Callable[..., object]) -> str:
    """Return the names of the arguments, with defaults that are as short as their names."""
    given = inspect.signature(what, eval_str=False).parameters.values()
    plain = [one.replace(annotation=one.empty, default=_default(one.default)) for one in given]
    return str(inspect.Signature(plain)).replace("Ellipsis", "...")


def _default(value: object) -> object:
    """Stand for a default: as it is where it is a plain value, else as dots."""
    return value if value in (inspect.Parameter.empty, None, ()) or isinstance(value, str | int) else ...


def _methods(kind: type) -> list[tuple[str, object]]:
    return [
        (name, member)
        for name, member in vars(kind).items()
        if not name.startswith("_") and callable(member) and inspect.getdoc(member)
    ]


def _text(doc: str) -> str:
    """Turn a docstring of Google's style into Markdown: sections in bold, their items as a list."""
    lines: list[str] = []
    section = ""
    for line in doc.splitlines():
        if line.rstrip(":") in _SECTIONS and line.endswith(":"):
            section = line.rstrip(":")
            lines += [f"**{section}**", "", *(["```pycon"] if section == "Example" else [])]
        elif section == "Example":
            lines.append(line.removeprefix("    "))
        elif section and line.startswith("    "):
            inner = line.removeprefix("    ")
            lines.append(f"  {inner.strip()}" if inner.startswith(" ") else _item(inner, section))
        else:
            lines.append(line)
    closed = [*lines, "```"] if section == "Example" else lines
    return "\n".join(closed)


def _item(line: str, section: str) -> str:
    if section in ("Returns", "Yields"):
        return line
    name, colon, rest = line.partition(": ")
    return f"- `{name}`: {rest}" if colon else line


@click.command()
@click.option("--write", is_flag=True, help="Write docs/api.md.")
def main(*, write: bool) -> None:
    """Make the reference of the public names from their docstrings."""
    if write:
        Path(PAGE).write_text(reference(), encoding="utf-8")
    else:
        click.echo(reference())


if __name__ == "__main__":
    main()
