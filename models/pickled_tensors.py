"""``python -m mien.models.pickled_tensors FILE.pt2``: tell whether its pickles hold tensors alone.

A program of its own, with limits: what it reads may be hostile. It prints the hash of what it read.
"""

import io
import json
import resource
import sys
import zipfile
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import torch

_MEMORY = 12 << 30
"""Bytes of address space; torch takes some of it before anything is read."""
_CPU_SECONDS = 100
_CONFIGS = ("data/weights/model_weights_config.json", "data/constants/model_constants_config.json")
_SAMPLES = "data/sample_inputs/model.pt"


def main(file: Path) -> None:
    """Load every pickled tensor of a file with ``weights_only``; raises what torch raises."""
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU_SECONDS, _CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    content = file.read_bytes()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        root = archive.namelist()[0].partition("/")[0]
        for name in (*_pickled(archive, root), f"{root}/{_SAMPLES}"):
            torch.load(io.BytesIO(archive.read(name)), weights_only=True)
    sys.stdout.write(sha256(content).hexdigest())


def _pickled(archive: zipfile.ZipFile, root: str) -> Iterator[str]:
    """Name the entries that torch would unpickle."""
    for config in _CONFIGS:
        folder = config.rpartition("/")[0]
        for payload in json.loads(archive.read(f"{root}/{config}"))["config"].values():
            if payload["use_pickle"]:
                yield f"{root}/{folder}/{payload['path_name']}"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
