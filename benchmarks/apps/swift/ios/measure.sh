#!/usr/bin/env bash
# Measures on a connected iPhone and leaves the measurements in results/.
#   ./measure.sh TEAM [DESTINATION]    e.g. ./measure.sh AB12CD34EF 'platform=iOS,name=My iPhone'
# TEAM is the development team that signs. The iPhone must be in developer mode, unlocked and at rest.
set -euo pipefail
cd "$(dirname "$0")"
team=${1:?give the development team that signs, e.g. ./measure.sh AB12CD34EF}
destination=${2:-generic/platform=iOS}
if [ "$destination" = generic/platform=iOS ]; then
    # xcodebuild takes no "any iPhone": use the first that is connected.
    id=$(xcrun xctrace list devices 2>&1 | sed -n '/^== Devices ==/,/^== /s/^iPhone.*(\([0-9A-Fa-f-]*\))$/\1/p' | head -n 1)
    destination="platform=iOS,id=${id:?no iPhone is connected; or name one as the second argument}"
fi
rm -rf results
mkdir results
common=(-project Phone.xcodeproj -scheme Phone -destination "$destination" -derivedDataPath build)
xcodebuild build-for-testing "${common[@]}" -allowProvisioningUpdates "DEVELOPMENT_TEAM=$team"
# A process for each block; a failed check does not stop the others, its figures are in the results.
for block in 1 2 3; do
    xcodebuild test-without-building "${common[@]}" -resultBundlePath "results/block-$block.xcresult" 2>&1 |
        tee "results/block-$block.log" || true
done
