"""Writes ``results.json`` from full and sampled reports, keeping the reasons of known failures.

In ``tests/mobile_reference/coreml``:

    python -m conformance.run --part 1/8 --report 1.json    # and so on: hours on one core
    python -m conformance.run --one --variants 1 --known results.json --report sample.json
    python -m conformance.accept sample.json 1.json 2.json ...

The last two twice where the parts found functions that ``results.json`` did not name. A failure without a
reason stops it: a reason is written by someone who looked.
"""

import json
import sys
from pathlib import Path

RESULTS = Path(__file__).parent / "results.json"
COUNTS = ("run", "reached", "passed")


def main(sample_path, *part_paths):
    sample, *parts = (json.loads(Path(path).read_text()) for path in (sample_path, *part_paths))
    old = json.loads(RESULTS.read_text())["known_failures"] if RESULTS.exists() else {}
    failing = {name.partition("[")[0] for report in (sample, *parts) for name in report["failed"]}
    missing = sorted(failing - old.keys())
    if missing:
        sys.exit(f"no reason in {RESULTS.name} for {missing}")
    results = {
        "coremltools": sample["coremltools"],
        "full": _counts(parts),
        "sample": _counts([sample]),
        "known_failures": {name: old[name] for name in sorted(failing)},
        "functions": sorted({function for report in parts for function in report["functions"]}),
    }
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")


def _counts(reports):
    operations = {name for report in reports for name in report["operations"]}
    return {key: sum(report[key] for report in reports) for key in COUNTS} | {"operations": len(operations)}


if __name__ == "__main__":
    main(*sys.argv[1:])
