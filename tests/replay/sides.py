"""What one commit makes of the shipped checkpoint, by its own lock, environment and command lines.

``make setup`` and ``make demo`` are what every commit has. What another commit made is kept by its hash;
the working tree is exported anew each time.
"""

import fcntl
import json
import os
import platform
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path

import click

from .errors import ReplayError

ROOT = Path(__file__).parent.parent.parent
OWN = ROOT / "build" / "replay"
"""What the last replay made of this working tree, and its report."""
DEMO = Path("build") / "demo"
_FACTS = "facts.json"
_PICTURES = frozenset([".jpg", ".jpeg", ".png"])
# The judge of the demo, by the name of its file there.
_VERIFY = "parity.json"
# How commits spell the command that evaluates a checkpoint; the first that a commit knows is used.
_EVALUATE: tuple[tuple[str, ...], ...] = (("evaluate",),)
# What make tells its children, and what would lead them to another environment or repository.
_PRIVATE = ("MAKE", "MFLAGS", "GNUMAKEFLAGS", "GIT_", "VIRTUAL_ENV", "PYTHON")


@dataclass(frozen=True)
class Portraits:
    """The portraits that both sides rate, and which ``split`` of them ``evaluate`` takes if not its own."""

    folder: Path
    split: str | None = None

    @property
    def photographs(self) -> list[str]:
        """The pictures by their paths in the folder."""
        found = (file for file in self.folder.rglob("*") if file.suffix.lower() in _PICTURES)
        return sorted(file.relative_to(self.folder).as_posix() for file in found)

    @property
    def key(self) -> str:
        """A hash of everything in the folder and of the split."""
        state = sha256(repr(self.split).encode())
        for file in sorted(file for file in self.folder.rglob("*") if file.is_file()):
            state.update(file.relative_to(self.folder).as_posix().encode())
            state.update(sha256(file.read_bytes()).digest())
        return state.hexdigest()[:16]


@dataclass(frozen=True)
class Side:
    """What a commit made.

    Attributes:
        label: the commit, and whether the tree had changes.
        bundle: the folder that it exported.
        records: files of JSON by the command that wrote them.
        exits: exit codes by command.
    """

    label: str
    bundle: Path
    records: Mapping[str, Path]
    exits: Mapping[str, int]


def sample_portraits() -> Portraits:
    """Return the portraits that ship with the working tree; the golden ones are evaluated."""
    index = _git("ls-files", "--", ":(glob)**/samples/index.csv")
    if not index or "\n" in index:
        raise ReplayError("this tree has no folder 'samples' with an index.csv; give PORTRAITS=folder")
    return Portraits(ROOT / Path(index).parent, "golden")


def find_commit(revision: str | None) -> str:
    """Return the hash of a revision.

    Without one, of what landed last: ``origin/main`` if there is such a branch, else where this branch left
    ``main``, which on ``main`` itself is its last commit.

    Raises:
        ReplayError: there is no such commit.
    """
    if revision is None:
        landed = _git("rev-parse", "--verify", "--quiet", "origin/main^{commit}")
        return landed or _git("merge-base", "HEAD", "main") or find_commit("HEAD")
    found = _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    if not found:
        raise ReplayError(
            f"{revision!r} is not a commit of this repository; give AGAINST=REV, as git names it"
        )
    return found


def make_own(portraits: Portraits) -> Side:
    """Export the working tree, with whatever is changed in it."""
    changed = bool(_git("status", "--porcelain"))
    label = _git("rev-parse", "HEAD") + (" and changes" if changed else "")
    shutil.rmtree(OWN, ignore_errors=True)
    _run_demo(ROOT, OWN, label)
    _rate(ROOT, OWN, portraits, label)
    return _read(label, OWN, portraits)


def make_commit(commit: str, portraits: Portraits, cache: Path) -> Side:
    """Export a commit in a working tree of its own, or take what is kept of it."""
    kept = cache / commit
    cache.mkdir(parents=True, exist_ok=True)
    with _locked(cache / f"{commit}.lock"):
        known = _read_facts(kept)
        exported = known is not None and known.host == _host()
        if not exported:
            shutil.rmtree(kept, ignore_errors=True)
        if not exported or not _read_facts(kept / portraits.key):
            with _checked_out(commit, cache / f"{commit}.tree") as tree:
                if not exported:
                    _run_demo(tree, kept, commit)
                _rate(tree, kept, portraits, commit)
    return _read(commit, kept, portraits)


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    """Let a second replay of the same commit wait for the first."""
    with file.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


@contextmanager
def _checked_out(commit: str, tree: Path) -> Iterator[Path]:
    """Give a working tree with its environment, and remove both at the end: the environment is 6 GB."""
    _remove(tree)  # what a replay that was killed left
    _git("worktree", "add", "--force", "--detach", str(tree), commit)
    if not (tree / "Makefile").is_file():
        raise ReplayError(f"git made no working tree of {commit} in {tree}; see 'git worktree list'")
    try:
        log = tree.with_name(f"{commit}.setup.log")
        _say(f"{commit[:7]}: make setup")
        if _run(["make", "setup"], tree, log):
            raise ReplayError(f"make setup of {commit[:7]} failed; see {log}")
        yield tree
    finally:
        _remove(tree)


def _remove(tree: Path) -> None:
    _git("worktree", "remove", "--force", str(tree))
    shutil.rmtree(tree, ignore_errors=True)


def _run_demo(tree: Path, folder: Path, label: str) -> None:
    """Run ``make demo`` and keep its bundle and verdict. A gate that failed is an exit code to compare."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(tree / DEMO, ignore_errors=True)
    log = folder / "demo.log"
    _say(f"{label[:7]}: make demo (log: {log})")
    code = _run(["make", "demo"], tree, log)
    missing = [name for name in ("bundle/manifest.json", _VERIFY) if not (tree / DEMO / name).is_file()]
    if missing:
        raise ReplayError(f"make demo of {label[:7]} made no {' and no '.join(missing)}; see {log}")
    shutil.rmtree(folder / "bundle", ignore_errors=True)
    shutil.copytree(tree / DEMO / "bundle", folder / "bundle")
    shutil.copy(tree / DEMO / _VERIFY, folder / "verify.json")
    _write_facts(folder, {"make demo": code})


def _rate(tree: Path, folder: Path, portraits: Portraits, label: str) -> None:
    """Run ``appraise`` and ``evaluate`` in the folder of the portraits, so that no record holds its path."""
    place = folder / portraits.key
    place.mkdir(parents=True, exist_ok=True)
    mien = str((tree / ".venv" / "bin" / "mien").absolute())
    split = ["--split", portraits.split] if portraits.split else []
    bundle = ["--bundle", str((folder / "bundle").absolute())]
    commands = {
        "appraise": [mien, "appraise", *bundle, "--json", *portraits.photographs],
        "evaluate": [mien, *_spelling(mien), ".", *split, "--json"],
    }
    exits = {}
    for name, command in commands.items():
        log, record = place / f"{name}.log", place / f"{name}.json"
        _say(f"{label[:7]}: mien {name} (log: {log})")
        exits[f"mien {name}"] = _run(command, portraits.folder, log, record)
        if not record.stat().st_size:
            raise ReplayError(f"mien {name} of {label[:7]} printed nothing; see {log}")
    _write_facts(place, exits)


def _spelling(mien: str) -> Sequence[str]:
    """Find out how a commit calls ``evaluate``."""
    for words in _EVALUATE:
        asked = subprocess.run([mien, *words, "--help"], capture_output=True, check=False, env=_environment())
        if asked.returncode == 0:
            return words
    raise ReplayError(f"{mien} has no command {' or '.join(map(' '.join, _EVALUATE))}; add its spelling")


def _run(command: Sequence[str], folder: Path, log: Path, output: Path | None = None) -> int:
    """Run a command; returns its exit code.

    Args:
        command: the program and its arguments.
        folder: where it runs.
        log: what it says there; also what it prints, without ``output``.
        output: what it prints.
    """
    with ExitStack() as opened:
        said = opened.enter_context(log.open("wb"))
        printed = opened.enter_context(output.open("wb")) if output else said
        done = subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=said,
            check=False,
            env=_environment(),
        )
    return done.returncode


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_PRIVATE)}
    # Both sides make their bundles, however often they made them before.
    return kept | {"MIEN_CACHE": "off"}


def _git(*arguments: str) -> str:
    """Ask git about this repository; the answer is empty where git refuses."""
    command = ["git", "-C", str(ROOT), *arguments]
    asked = subprocess.run(command, capture_output=True, text=True, check=False, env=_environment())
    return asked.stdout.strip() if asked.returncode == 0 else ""


def _host() -> str:
    """Name the processor and the system: others may round differently, so nothing of theirs is compared."""
    cpus = Path("/proc/cpuinfo")
    lines = cpus.read_text(encoding="utf-8").splitlines() if cpus.is_file() else []
    models = {line.partition(":")[2].strip() for line in lines if line.startswith("model name")}
    return " ".join([platform.system(), platform.machine(), *sorted(models or {platform.processor()})])


@dataclass(frozen=True)
class _Facts:
    """On which host a folder was filled, and the exit codes by command."""

    host: str = ""
    exits: Mapping[str, int] = field(default_factory=dict)


def _read_facts(folder: Path) -> _Facts | None:
    """Read the facts of a folder; one without them is not complete."""
    file = folder / _FACTS
    return _Facts(**json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else None


def _write_facts(folder: Path, exits: Mapping[str, int]) -> None:
    """Write the facts last and in one step."""
    partial = folder / f"{_FACTS}.partial"
    partial.write_text(json.dumps(asdict(_Facts(_host(), exits)), indent=1) + "\n", encoding="utf-8")
    partial.replace(folder / _FACTS)


def _read(label: str, folder: Path, portraits: Portraits) -> Side:
    place = folder / portraits.key
    exits = {
        name: code for one in (folder, place) for name, code in (_read_facts(one) or _Facts()).exits.items()
    }
    records = {name: place / f"{name}.json" for name in ("appraise", "evaluate")}
    return Side(label, folder / "bundle", {**records, "verify": folder / "verify.json"}, exits)


def _say(line: str) -> None:
    click.echo(f"replay: {line}", err=True)
