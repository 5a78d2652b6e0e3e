"""One run over a seeded sample of faults: which tests run, which results are kept, what is said of them."""

import hashlib
import json
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from .faults import MODULE, Mutant, find_mutants
from .scratch import Scratch, ScratchError
from .sources import files_of

LEAST_SECONDS = 60.0
"""User CPU seconds that a mutant's tests may always take: what they import takes a part of them."""


@dataclass(frozen=True)
class Coverage:
    """What each test executes and how many user CPU seconds it takes, without any fault."""

    executes: Mapping[str, frozenset[str]]
    seconds: Mapping[str, float]

    def tests_for(self, mutant: Mutant) -> list[str]:
        """List tests that execute the mutant's function, or its file for ``<module>``, fastest first."""
        place = f"{mutant.file}::{mutant.function}"
        if mutant.function == MODULE:
            found = [
                t for t, ran in self.executes.items() if any(f.startswith(f"{mutant.file}::") for f in ran)
            ]
        else:
            found = [t for t, ran in self.executes.items() if place in ran]
        return sorted(found, key=lambda test: (self.seconds[test], test))

    def limit(self, tests: Sequence[str]) -> float:
        """Return the user CPU seconds after which tests that ran this long without a fault are ended."""
        return LEAST_SECONDS + 5 * sum(self.seconds[test] for test in tests)


@dataclass(frozen=True)
class Result:
    """What became of a mutant: ``survived``, ``killed`` or ``timed out``, and how many tests execute it."""

    mutant: Mutant
    status: str
    tests: int
    killer: str = ""


def sample(root: Path, rooms: tuple[str, ...], seed: int, count: int) -> list[Mutant]:
    """Draw mutants without repetition; the same files, seed and count give the same mutants."""
    every = [m for file in files_of(root, rooms) for m in find_mutants(file, (root / file).read_bytes())]
    every.sort(key=lambda mutant: mutant.identity)
    return random.Random(seed).sample(every, min(count, len(every)))  # noqa: S311 - a sample, no secret


def measure_coverage(scratch: Scratch, layers: Sequence[str], paths: Sequence[str], folder: Path) -> Coverage:
    """Run the tests of some layers, below some paths or all, without a fault; a map of equal files is kept.

    Raises:
        ScratchError: a test fails without any fault.
    """
    key = digest([*sorted(scratch.tree.rglob("*.py")), scratch.tree / "pyproject.toml"], *layers, *paths)
    file = folder / f"coverage-{key}.json"
    if not file.is_file():
        ran = scratch.trace(layers, paths, file.with_suffix(".part"))
        if not file.with_suffix(".part").is_file():
            raise ScratchError(f"the tests could not be run without a fault: {ran.output[-2000:]}")
        file.with_suffix(".part").replace(file)
    found = json.loads(file.read_text())
    if found["failed"]:
        file.unlink()
        raise ScratchError(f"tests fail without any fault; mend them first: {', '.join(found['failed'])}")
    return Coverage(
        {name: frozenset(entry["executes"]) for name, entry in found["tests"].items()},
        {name: entry["seconds"] for name, entry in found["tests"].items()},
    )


def run(
    mutants: Sequence[Mutant], scratch: Scratch, coverage: Coverage, folder: Path, tell: Callable[[str], None]
) -> Iterator[Result]:
    """Try every mutant, or take its kept result while that must still hold.

    A killed mutant's result holds while the product and the file of the test that killed it are the same.
    Any other holds while the product and all tests that execute the mutant are the same.
    """
    folder.mkdir(parents=True, exist_ok=True)
    product = digest(_product(scratch.tree))
    for number, mutant in enumerate(mutants, 1):
        tests = coverage.tests_for(mutant)
        key = partial(_key, scratch.tree, product, tests)
        kept = folder / f"{mutant.identity}.json"
        result = _kept(kept, key, mutant)
        if result is None:
            result = try_mutant(mutant, scratch, coverage, tests)
            part = kept.with_suffix(".part")
            part.write_text(json.dumps({"key": key(result)} | asdict(result), indent=1) + "\n")
            part.replace(kept)
        tell(f"{number}/{len(mutants)} {result.status:9} {place(mutant)} {mutant.kind}")
        yield result


def _key(tree: Path, product: str, tests: Sequence[str], result: Result) -> str:
    decided = [result.killer] if result.killer else tests
    files = {tree / test.split("::")[0] for test in decided}
    return digest(sorted(file for file in files if file.is_file()), product, *decided)


def _kept(file: Path, key: Callable[[Result], str], mutant: Mutant) -> Result | None:
    if not file.is_file():
        return None
    kept = json.loads(file.read_text())
    result = Result(mutant, kept["status"], kept["tests"], kept["killer"])
    return result if kept["key"] == key(result) else None


def _product(tree: Path) -> list[Path]:
    """List the sources, and what all tests share; this tool itself changes no result."""
    tests = tree / "tests"
    return sorted(
        file
        for file in tree.rglob("*.py")
        if not file.is_relative_to(tests / "mutants")
        and not (file.is_relative_to(tests) and file.name.startswith("test_"))
    )


def try_mutant(mutant: Mutant, scratch: Scratch, coverage: Coverage, tests: Sequence[str]) -> Result:
    """Run a mutant's tests on it. One that no test executes survives."""
    if not tests:
        return Result(mutant, "survived", 0)
    content = mutant.apply((scratch.tree / mutant.file).read_bytes())
    outcome = scratch.run_tests(mutant.file, content, tests, coverage.limit(tests))
    failed = [
        line.split()[1] for line in outcome.output.splitlines() if line.startswith(("FAILED ", "ERROR "))
    ]
    return Result(mutant, outcome.status, len(tests), failed[0] if failed else "")


def place(mutant: Mutant) -> str:
    """Say where a mutant is."""
    return f"{mutant.file}:{mutant.line}"


def report(results: Sequence[Result], rooms: Callable[[str], str], **about: object) -> dict[str, Any]:
    """Return counts by room and in all, and every survivor. Running out of time counts as noticed."""
    counts = {
        room: _counts([r for r in results if rooms(r.mutant.file) == room]) for room in _named(results, rooms)
    }
    survivors = [
        {
            "place": place(r.mutant),
            "function": r.mutant.function,
            "kind": r.mutant.kind,
            "old": r.mutant.old,
            "new": r.mutant.new,
            "tests": r.tests,
        }
        for r in results
        if r.status == "survived"
    ]
    return about | {"all": _counts(results), "rooms": counts, "survivors": survivors}


def _named(results: Sequence[Result], rooms: Callable[[str], str]) -> list[str]:
    return sorted({rooms(result.mutant.file) for result in results})


def _counts(results: Sequence[Result]) -> dict[str, float]:
    found = Counter(result.status for result in results)
    noticed = found["killed"] + found["timed out"]
    return {
        "mutants": len(results),
        "killed": found["killed"],
        "timed_out": found["timed out"],
        "survived": found["survived"],
        "rate": round(noticed / len(results), 3) if results else 0.0,
    }


def digest(files: Sequence[Path], *words: str) -> str:
    """Return a hash of some files and words."""
    found = hashlib.sha256("\0".join(words).encode())
    for file in files:
        found.update(hashlib.sha256(file.read_bytes()).digest())
    return found.hexdigest()[:24]
