#!/usr/bin/env bash
# Measures on this Mac (Xcode needed) and leaves the measurements in results/.
set -euo pipefail
cd "$(dirname "$0")"
rm -rf results
mkdir results
swift build -c release --build-tests
# A process for each block; a failed check does not stop the others, its figures are in the results.
for block in 1 2 3; do
    MIEN_OUTPUT="$PWD/results/tensors" swift test -c release --skip-build 2>&1 |
        tee "results/block-$block.log" || true
done
