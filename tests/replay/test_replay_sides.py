"""The whole of a replay on a repository of two commits, whose ``make demo`` copies a small bundle."""

import json
import shutil
import subprocess

import pytest
from rich.console import Console

from . import __main__ as command
from . import sides
from .errors import ReplayError
from .report import Replay, compare_sides, terminal
from .smallbundles import MODELS, write_bundle

MAKEFILE = """
setup:
	mkdir -p .venv/bin
	cp tool .venv/bin/mien
demo: setup
	mkdir -p build/demo
	cp -r made build/demo/bundle
	echo '{"passed": true}' > build/demo/parity.json
	echo demo >> $(COUNT)
"""
TOOL = """#!/bin/sh
case "$*" in
  *--help) exit 0;;
  appraise*) shift 4; for photo in "$@"; do echo "{\\"photo\\": \\"$photo\\", \\"score\\": SCORE}"; done;;
  evaluate*) echo '{"figures": [1.5], "asked": "'"$*"'"}';;
esac
"""


def git(root, *arguments):
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    command = ["git", "-C", str(root), *who, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def write_manifest(root, commit, score=31.0):
    manifest = {
        "format": 2,
        "provenance": {"commit": commit},
        "gates": [{"tensor": "score", "metric": "scalar", "limits": {"any": 0.01}, "over": "each"}],
        "variants": [{"name": "tflite-fp32"}],
        "goldens": [{"name": "face", "values": {"score": score}}],
    }
    (root / "made" / "manifest.json").write_text(json.dumps(manifest))


def write_manifest_of_format_1(root, commit):
    manifest = {
        "format": 1,
        "provenance": {"commit": commit},
        "variants": [{"name": "tflite-fp32", "gate": 0.01}],
        "goldens": [{"name": "face", "score": 31.0}],
    }
    (root / "made" / "manifest.json").write_text(json.dumps(manifest))


def write_tool(root, score=50.0):
    (root / "tool").write_text(TOOL.replace("SCORE", str(score)))
    (root / "tool").chmod(0o755)


@pytest.fixture
def root(tmp_path, monkeypatch):
    root = tmp_path / "repository"
    write_bundle(root / "made")
    write_manifest(root, "first")
    write_tool(root)
    (root / "Makefile").write_text(MAKEFILE.replace("$(COUNT)", str(tmp_path / "count")))
    (root / ".gitignore").write_text("build\n.venv\n")
    (root / "samples").mkdir()
    (root / "samples" / "index.csv").write_text("image\none.jpg\n")
    (root / "samples" / "one.jpg").write_bytes(b"a picture")
    (root / "samples" / "two.jpg").write_bytes(b"another")
    git(root, "init", "--quiet", "--initial-branch=main")
    git(root, "add", ".")
    git(root, "commit", "--quiet", "--message=first")
    monkeypatch.setattr(sides, "ROOT", root)
    monkeypatch.setattr(sides, "OWN", root / "build" / "replay")
    return root


@pytest.fixture
def replay(root, tmp_path, monkeypatch, capsys):
    """Run the command; returns its exit code and what it printed."""

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["replay", "--cache", str(tmp_path / "cache"), *arguments])
        with pytest.raises(SystemExit) as ended:
            command.main()
        return ended.value.code, capsys.readouterr()

    return run


def demos(root):
    return (root.parent / "count").read_text().count("demo")


def test_two_exports_of_one_commit_are_the_same_product(root, replay):
    code, said = replay()
    assert code == 0
    assert "the same product" in said.out
    assert demos(root) == 2
    assert not list((root.parent / "cache").glob("*.tree"))
    assert git(root, "worktree", "list").count("\n") == 0


def test_a_second_replay_exports_the_new_side_alone(root, replay):
    replay()
    write_manifest(root, "second")
    code, _ = replay()
    assert code == 0
    assert demos(root) == 3


def test_a_changed_score_of_appraise_is_a_difference(root, replay):
    write_tool(root, 50.25)
    code, said = replay()
    assert code == 1
    assert "appraise, differs:\n  [one.jpg].score: 50.0 -> 50.25" in said.out
    assert " and changes: DIFFERENCES" in said.out


def test_json_says_all_of_it_and_is_kept(root, replay):
    shutil.rmtree(root / "made")
    write_bundle(root / "made", weight=2.5)
    write_manifest(root, "second")
    code, said = replay("--json")
    found = json.loads(said.out)
    assert code == 1
    assert found == json.loads((root / "build" / "replay" / "report.json").read_text())
    assert found["equal"] is False
    assert {one["verdict"] for one in found["files"] if one["file"] in MODELS} == {"differs"}
    (manifest,) = (one for one in found["records"] if one["record"] == "manifest")
    assert manifest["expected"] == [{"path": "provenance.commit", "old": "first", "new": "second"}]


def test_an_older_commit_runs_by_its_own_files(root, replay):
    write_tool(root, 60.0)
    git(root, "commit", "--quiet", "--all", "--message=second")
    assert replay()[0] == 0
    assert replay("--against", "HEAD~1")[0] == 1


@pytest.mark.parametrize(
    ("score", "code", "verdict"), [(31.0, 0, "the same product"), (31.5, 1, "DIFFERENCES")]
)
def test_a_commit_of_format_1_is_compared_with_a_tree_of_format_2(root, replay, score, code, verdict):
    write_manifest_of_format_1(root, "first")
    git(root, "commit", "--quiet", "--all", "--message=format 1")
    write_manifest(root, "second", score)
    found, said = replay()
    assert found == code
    assert verdict in said.out
    assert ("goldens[face].score: 31.0 -> 31.5" in said.out) == (code == 1)


def test_other_portraits_are_rated_without_another_export(root, replay, tmp_path):
    replay()
    (tmp_path / "faces").mkdir()
    (tmp_path / "faces" / "two.png").write_bytes(b"another")
    assert replay("--portraits", str(tmp_path / "faces"))[0] == 0
    assert demos(root) == 3
    (record,) = sides.OWN.glob("*/appraise.json")
    assert record.read_text() == '{"photo": "two.png", "score": 50.0}\n'


def test_a_failed_gate_is_compared_and_a_missing_bundle_ends_it(root, replay):
    makefile = root / "Makefile"
    whole = makefile.read_text()
    makefile.write_text(whole + "\tfalse\n")
    code, said = replay()
    assert code == 1
    assert "exit codes, differs:\n  [make demo]: 0 -> 2" in said.out
    makefile.write_text(whole.replace("cp -r made build/demo/bundle", "echo no bundle; false"))
    code, said = replay()
    assert code == 2
    assert "made no bundle/manifest.json and no parity.json; see" in said.err


def test_a_failed_set_up_ends_it_and_leaves_no_tree(root, replay):
    (root / "Makefile").write_text("setup:\n\tfalse\n")
    git(root, "commit", "--quiet", "--all", "--message=broken")
    code, said = replay()
    assert code == 2
    assert "make setup of" in said.err
    assert not list((root.parent / "cache").glob("*.tree"))


def test_results_of_another_processor_are_not_compared(root, replay, monkeypatch):
    replay()
    monkeypatch.setattr(sides, "_host", lambda: "another")
    assert replay()[0] == 0
    assert demos(root) == 4


@pytest.mark.parametrize("revision", ["nonsense", "--all", ""])
def test_a_revision_that_is_none_is_refused(root, revision):
    with pytest.raises(ReplayError, match="is not a commit"):
        sides.find_commit(revision)


def test_the_default_is_what_landed_last(root):
    first = git(root, "rev-parse", "HEAD")
    git(root, "checkout", "--quiet", "-b", "work")
    git(root, "commit", "--quiet", "--allow-empty", "--message=second")
    assert sides.find_commit(None) == first
    git(root, "update-ref", "refs/remotes/origin/main", "HEAD")
    assert sides.find_commit(None) == git(root, "rev-parse", "HEAD")


def test_a_folder_without_portraits_is_refused_before_the_work(root, replay, tmp_path):
    code, said = replay("--portraits", str(tmp_path / "none"))
    assert (code, said.out) == (2, "")
    assert "holds no .jpg" in said.err


def test_the_report_fits_a_terminal(root, tmp_path):
    portraits = sides.sample_portraits()
    old = sides.make_own(portraits)
    kept = shutil.copytree(sides.OWN, tmp_path / "old")
    old = sides.Side(old.label, kept / "bundle", old.records, old.exits)
    shutil.rmtree(root / "made")
    write_bundle(root / "made", module="renamed", weight=2.5)
    write_manifest(root, "second")
    found = compare_sides(old, sides.make_own(portraits))
    console = Console(width=80, record=True)
    console.print(terminal(found, tmp_path / "report.json"))
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 80
    assert "y: 7.5" in text


def test_nothing_compared_is_not_the_same_product():
    assert not Replay("a", "b", (), ()).equal
