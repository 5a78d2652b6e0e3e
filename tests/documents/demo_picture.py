"""The picture at the top of the README, out of what `make demo` drew.

make demo
python -m tests.documents.demo_picture
"""

import argparse
from pathlib import Path

from PIL import Image

from .pages import ROOT

PICTURE = ROOT / "docs" / "demo.jpg"
_SHOWN = ("nobody-01", "nobody-02-cleft", "nobody-04-lesion")
_SIZE = (768, 192)


def draw(appraisals: Path) -> Image.Image:
    """Return the panels of three photographs, one below the other: face, heatmap, mask, normalised face."""
    sheet = Image.new("RGB", (_SIZE[0], _SIZE[1] * len(_SHOWN)))
    for row, name in enumerate(_SHOWN):
        with Image.open(appraisals / f"{name}.panel.png") as panel:
            sheet.paste(panel.convert("RGB").resize(_SIZE, Image.Resampling.LANCZOS), (0, row * _SIZE[1]))
    return sheet


def main() -> None:
    """Draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("appraisals", type=Path, nargs="?", default=ROOT / "build" / "demo" / "appraisals")
    draw(parser.parse_args().appraisals).save(PICTURE, quality=85)


if __name__ == "__main__":
    main()
