"""Pictures of the pages for the documents: ``python -m tests.documents.page_pictures [BUNDLE]``.

It needs Debian's chromium. BUNDLE is the one whose export is shown, by default what ships.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from mien.mobile_reference.bundle.reader import open_bundle
from mien.mobile_reference.bundle.shipped import shipped_bundle
from mien.mobile_reference.report.bundle_page import bundle_page
from tests.commands import ROOT, run_mien

FOLDER = ROOT / "docs" / "pages"
SAMPLES = ROOT / "models" / "appraisal" / "samples"
SHOTS = (("appraise", 1000, 620, "light"), ("export", 1000, 900, "dark"), ("verify", 390, 800, "light"))
"""Page, width and height in pixels, theme."""


def main(bundle: Path) -> None:
    """Make the pages and take the pictures."""
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("there is no chromium; apt-get install chromium")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as play:
        pages = {name: Path(folder) / f"{name}.html" for name, *_ in SHOTS}
        run_mien("appraise", *sorted(SAMPLES.glob("*.jpg")), "--page", pages["appraise"])
        run_mien("verify", "--page", pages["verify"])
        pages["export"].write_text(bundle_page(open_bundle(bundle), []))
        browser = play.chromium.launch(
            executable_path=chromium, args=["--no-sandbox"] if os.getuid() == 0 else []
        )
        for name, width, height, scheme in SHOTS:
            page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
            page.goto(pages[name].as_uri())
            page.screenshot(path=FOLDER / f"{name}.jpg", type="jpeg", quality=85)
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else shipped_bundle())
