"""The steps of ``action.yml``, as GitHub's runner starts them.

    python -m tests.documents.commands.action FOLDER

writes each step's script into the folder, for ``.ci/check-image``, which runs them on a clean system.
"""

import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tests.commands import ROOT

SHELL = ("bash", "--noprofile", "--norc", "-eo", "pipefail")
"""What the runner makes of ``shell: bash``."""
_INPUT = re.compile(r"\$\{\{ inputs\.([\w-]+) \}\}")


@dataclass(frozen=True)
class Step:
    """A step: its name, its script, and its variables, which may name inputs of the action."""

    name: str
    script: str
    variables: Mapping[str, str]

    def environment(self, inputs: Mapping[str, str]) -> dict[str, str]:
        """Return its variables for these inputs."""
        return {
            name: _INPUT.sub(lambda found: inputs[found[1]], said) for name, said in self.variables.items()
        }


def action() -> dict[str, Any]:
    """Read the action."""
    read: dict[str, Any] = YAML(typ="safe").load(ROOT / "action.yml")
    return read


def steps() -> Iterator[Step]:
    """Yield the steps that run a script, in their order."""
    for step in action()["runs"]["steps"]:
        if "run" in step:
            assert step["shell"] == "bash"
            yield Step(step["name"], step["run"], step.get("env", {}))


def main(folder: Path) -> None:
    """Write the scripts, numbered in their order."""
    for number, step in enumerate(steps(), start=1):
        (folder / f"step-{number}.sh").write_text(step.script)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
