"""The composite action and its example are what GitHub takes, and run commands that exist."""

import re
import shlex
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from tests.commands import ROOT

from .test_documents import parse

ACTION, WORKFLOW = ROOT / "action.yml", ROOT / "docs" / "examples" / "verify-bundle.yml"


def checked(file: Path, schema: str) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "check_jsonschema",
        "--builtin-schema",
        f"vendor.github-{schema}",
        str(file),
    ]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("file", "schema"), [(ACTION, "actions"), (WORKFLOW, "workflows")])
def test_github_takes_it(file: Path, schema: str):
    done = checked(file, schema)
    assert done.returncode == 0, done.stdout


def test_what_github_does_not_take_is_seen(tmp_path: Path):
    (tmp_path / "action.yml").write_text(ACTION.read_text().replace("using: composite", "using: magic"))
    assert checked(tmp_path / "action.yml", "actions").returncode == 1


def test_the_action_runs_commands_that_exist():
    lines = [line.strip() for line in ACTION.read_text().splitlines() if line.strip().startswith("mien ")]
    assert {line.split()[1] for line in lines} == {"verify", "compare"}
    for line in lines:
        words = re.sub(r"\$\{MAX_SHIFT:\+(.*?)\}", "--max-shift 1", line).partition("|")[0]
        parse(shlex.split(words)[1:])


def test_what_a_user_gives_reaches_the_shell_by_variables_alone():
    """An expression inside a script would let a name of a folder be run."""
    scripts = re.findall(r"run: (?:\|\n((?: {8}.*\n)+)|(.*)\n)", ACTION.read_text())
    assert len(scripts) == 3
    assert not [script for script in scripts if "${{" in "".join(script)]


def test_the_example_gives_the_action_what_it_takes():
    inputs = set(
        re.findall(r"^  ([\w-]+):\n    description", ACTION.read_text().partition("outputs:")[0], re.M)
    )
    given = WORKFLOW.read_text().partition("uses: OWNER/mien@main")[2].partition("- if")[0]
    assert set(re.findall(r"^ +([\w-]+): (?=\S)", given, re.M)) <= inputs
    for output in re.findall(r"steps\.mien\.outputs\.(\w+)", WORKFLOW.read_text()):
        assert f"steps.verify.outputs.{output}" in ACTION.read_text()


def test_the_image_holds_a_python_that_mien_takes():
    text = (ROOT / "Dockerfile").read_text()
    (version,) = re.findall(r"^FROM python:([\d.]+)-", text, re.M)
    assert version in ("3.12", "3.13")
    assert 'ENTRYPOINT ["mien"]' in text


def test_pip_takes_every_pin_that_the_image_gives_it():
    """Unlike uv it heeds what a package says of Pythons that are newer."""
    text = (ROOT / "Dockerfile").read_text()
    (version,) = re.findall(r"^FROM python:([\d.]+)-", text, re.M)
    left_out = set(re.findall(r"grep -v '\^([\w-]+)=='", text))
    pins = set(re.findall(r"^([\w.-]+)==", (ROOT / "requirements.lock").read_text(), re.M))
    said = {canonicalize_name(one.name): one.metadata["Requires-Python"] for one in distributions()}
    refused = {name for name in pins if version not in SpecifierSet(said.get(name) or "")}
    assert len(pins & said.keys()) > 50
    assert refused == left_out == {"backports-strenum"}
