"""``import mien``: which names it gives, from where, and that it loads nothing before they are used."""

import ast
import importlib
import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest

import mien

ROOMS = ("export", "models", "calibration", "benchmarks", "mobile_reference")
_NAMES = [name for name in mien.__all__ if not name.startswith("_")]


def _python(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=False, env=os.environ
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_nothing_heavy_is_imported_before_it_is_used() -> None:
    code = "import sys, mien; print(sorted({'numpy', 'torch', 'ai_edge_litert'} & set(sys.modules)))"
    assert _python("-c", code) == "[]"


def test_what_a_bundle_needs_comes_without_torch() -> None:
    code = (
        "import sys, mien; mien.open_bundle, mien.verify_bundle, mien.appraise; print('torch' in sys.modules)"
    )
    assert _python("-c", code) == "False"


@pytest.mark.parametrize("name", _NAMES)
def test_every_name_comes_from_a_module_that_lists_it(name: str) -> None:
    home = importlib.import_module(mien._HOMES[name])
    assert getattr(mien, name) is getattr(home, name)
    assert inspect.getmodule(getattr(mien, name)) is home


def test_the_lists_of_names_are_one() -> None:
    tree = ast.parse(Path(mien.__file__).read_text())
    (checked,) = [node for node in tree.body if isinstance(node, ast.If)]
    typed = {
        (alias.name, line.module)
        for line in checked.body
        if isinstance(line, ast.ImportFrom)
        for alias in line.names
    }
    assert typed == set(mien._HOMES.items())
    assert sorted(mien.__all__) == sorted([*mien._HOMES, "__version__"]) == dir(mien)


def test_no_name_is_that_of_a_room() -> None:
    # Importing mien.export would overwrite it.
    assert not set(mien.__all__) & set(ROOMS)


def test_an_unknown_name_is_an_attribute_error_that_lists_the_known() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Pipelin'; it has Pipeline, SkipSpec, Stage"):
        mien.Pipelin  # noqa: B018


def test_the_version_is_that_of_the_package() -> None:
    from importlib.metadata import version

    assert mien.__version__ == version("mien")


def test_the_package_runs_as_the_command_line() -> None:
    assert _python("-m", "mien", "--version") == f"mien, version {mien.__version__}"
