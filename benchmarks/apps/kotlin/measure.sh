#!/usr/bin/env bash
# Builds the library, runs its test on the phone that adb reaches and leaves what it measured in results/.
# Needs JDK 17, Gradle 8.9 or later, Android's SDK (ANDROID_HOME) and adb.
set -euo pipefail
cd "$(dirname "$0")"
rm -rf results
mkdir results
adb logcat --clear
code=0
# A failed check does not take the figures along: they are in the log.
gradle connectedDebugAndroidTest || code=$?
adb logcat -d --format=raw MIEN:I '*:S' | grep '^{' > results/measurements.jsonl || true
exit "$code"
