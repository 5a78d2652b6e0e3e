"""The site (``make docs``): every document where its links expect it, and what they link to beside it."""

import shutil
import subprocess
import sys
from pathlib import Path

from .pages import PAGES, ROOT, links, without_root

SOURCE = ROOT / "build" / "docs-pages"
MKDOCS = (str(Path(sys.executable).parent / "uvx"), "--quiet", "mkdocs@1.6.1")


def gather() -> list[str]:
    """Copy the documents and the files that they link to, and return the documents by their paths."""
    shutil.rmtree(SOURCE, ignore_errors=True)
    for page in PAGES:
        for file in (page, *_linked(page)):
            place = SOURCE / without_root(file)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, place)
    return [without_root(page) for page in PAGES]


def _linked(page: Path) -> list[Path]:
    targets = (link.partition("#")[0] for link in links(page.read_text(encoding="utf-8")) if ":" not in link)
    found = ((page.parent / target).resolve() for target in targets if target)
    return [file for file in found if file.is_file()]


if __name__ == "__main__":
    gather()
    sys.exit(subprocess.run([*MKDOCS, "build", "--strict"], cwd=ROOT, check=False).returncode)
