"""A folder that has what the commands of the documents name: small, and of the same kinds."""

import shutil
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from tests.benchmarks.tinymodels import tiny_bundle
from tests.commands import call_mien
from tests.conftest import SAMPLES

ONCE = ("--processes", "1", "--runs", "1", "--warmup", "0")
"""What ``mien bench`` is given beside the documented words, so that a test need not wait."""


def face_folder(folder: Path) -> Path:
    """Fill a folder for commands about photographs of faces: tiny bundles, portraits, shards, reports."""
    tiny_bundle(folder / "bundle")
    for name in ("BUNDLE", "OLD", "NEW", "old-bundle"):
        shutil.copytree(folder / "bundle", folder / name)
    photographs = folder / "photographs"
    photographs.mkdir()
    portraits = sorted(SAMPLES.glob("*.jpg"))[:3]
    for name, portrait in zip(("photo", "photo-1", "photo-2"), portraits, strict=True):
        for place in (folder, photographs):
            shutil.copy(portrait, place / f"{name}.jpg")
    shutil.copy(folder / "photo.jpg", folder / "PHOTO")
    for place in ("docs/pages", "benchmarks/estimates/data"):
        (folder / place).mkdir(parents=True)
    (folder / "shards").mkdir()
    with tarfile.open(folder / "shards" / "0.tar", "w") as shard:
        shard.add(photographs / "photo.jpg", "photo.jpg")
    column = pa.array([{"bytes": (folder / "photo.jpg").read_bytes()}])
    pq.write_table(pa.table({"image": column}), folder / "portraits.parquet")
    call_mien("bench", folder / "bundle", *ONCE, "-o", folder / "host.json")
    for name in ("before", "after", "arm64", "phone"):
        shutil.copy(folder / "host.json", folder / f"{name}.json")
    call_mien("bench", folder / "bundle", "--estimate", "-o", folder / "estimate.json")
    return folder


def own_folder(folder: Path, source: Path, bundle: Path, pictures: Path) -> Path:
    """Fill a folder for commands about a pipeline of one's own: its file, its bundle, inputs, labels."""
    folder.mkdir()
    shutil.copy(source, folder / "grader.py")
    for name in ("bundle", "BUNDLE"):
        shutil.copytree(bundle, folder / name)
    held_out = folder / "IMAGES3"
    held_out.mkdir()
    rows = ["file,label"]
    for number in range(2):
        noise = np.random.default_rng(100 + number).integers(0, 256, (4, 4, 3), np.uint8)
        Image.fromarray(noise).resize((30, 30)).save(held_out / f"{number}.png")
        mask = np.random.default_rng(number).integers(0, 2, (16, 16), np.uint8)
        Image.fromarray(mask).save(folder / f"mask-{number}.png")
        rows.append(f"IMAGES3/{number}.png,mask-{number}.png")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    for name in ("IMAGES", "IMAGES2"):
        shutil.copytree(pictures, folder / name)
    return folder
