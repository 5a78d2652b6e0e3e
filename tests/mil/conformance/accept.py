"""Writes ``results.json`` from full and sampled reports, keeping the reasons of known failures.

    python tests/mil/conformance/run.py --report full.json
    python tests/mil/conformance/run.py --one --known full.json --report sample.json
    python tests/mil/conformance/accept.py full.json sample.json

A failure without a reason stops it: a reason is written by someone who looked.
"""

import json
import sys
from pathlib import Path

RESULTS = Path(__file__).parent / "results.json"
COUNTS = ("run", "reached", "passed", "operations")


def main(full_path, sample_path):
    full, sample = (json.loads(Path(p).read_text()) for p in (full_path, sample_path))
    old = json.loads(RESULTS.read_text())["known_failures"] if RESULTS.exists() else {}
    failing = {name.partition("[")[0] for name in (*full["failed"], *sample["failed"])}
    missing = sorted(failing - old.keys())
    if missing:
        sys.exit(f"no reason in {RESULTS.name} for {missing}")
    results = {
        "coremltools": full["coremltools"],
        "full": {key: full[key] for key in COUNTS},
        "sample": {key: sample[key] for key in COUNTS},
        "known_failures": {name: old[name] for name in sorted(failing)},
        "functions": full["functions"],
    }
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
