"""The pickles in a ``.pt2`` file, which may be anybody's: they may hold tensors alone."""

import io
import json
import zipfile
from collections.abc import Iterator

import torch

_CONFIGS = ("data/weights/model_weights_config.json", "data/constants/model_constants_config.json")
_SAMPLES = "data/sample_inputs/model.pt"


def load_pickles(content: bytes) -> None:
    """Load every pickled tensor of a file with ``weights_only``; raises what torch raises.

    To be called in a child process: torch's reader allocates what a file says.
    """
    torch.set_num_threads(1)  # reading needs no more, and each takes of the memory that is allowed
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        root = archive.namelist()[0].partition("/")[0]
        for name in (*_pickled(archive, root), f"{root}/{_SAMPLES}"):
            torch.load(io.BytesIO(archive.read(name)), weights_only=True)


def _pickled(archive: zipfile.ZipFile, root: str) -> Iterator[str]:
    """Name the entries that torch would unpickle."""
    for config in _CONFIGS:
        folder = config.rpartition("/")[0]
        for payload in json.loads(archive.read(f"{root}/{config}"))["config"].values():
            if payload["use_pickle"]:
                yield f"{root}/{folder}/{payload['path_name']}"
