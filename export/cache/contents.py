"""What a pipeline computes and was given, as a hash: of graphs and weights as PyTorch traces them.

A file of Python is executed, so that its own bytes do not say what comes of it: it may load weights, and
import what lies beside it. What PyTorch traces of every model does.
"""

import hashlib
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mien.export.packing.commit import source_commit
from mien.mobile_reference.bundle.reader import sha256
from mien.models.file_inputs import FileInputs
from mien.models.gates import metrics_of
from mien.models.modules import Composed
from mien.models.onnx_module import OnnxModule
from mien.models.pipeline import Gathered, Golden, Pipeline, to_module

from .conversions import Conversions
from .key import hashed_files, is_whole, record_hash, surroundings
from .store import BUNDLES, CONVERSIONS, FolderCache, NotKept, files_in

Arrays = Mapping[str, NDArray[Any]]
_CONVERTED = ("tensors", "stages", "whole")
"""Parts of a contract that conversions heed; gates, views, refusals and what is left out change no byte."""
_COUNTED = re.compile(r"___torch_mangle_\d+\.")
"""What PyTorch adds to the name of a class that it has seen before in the process."""


@dataclass(frozen=True)
class MadeBefore:
    """What was made before of one pipeline and its inputs: its conversions, and perhaps its bundle.

    ``key`` is that of the bundle; none where it is not kept, or by the bytes of its source already.
    """

    conversions: Conversions
    bundles: FolderCache
    key: str | None

    def fetch_bundle(self, folder: Path) -> tuple[str, ...] | None:
        """Put the bundle into an empty folder, and return the warnings of its export; None without one."""
        if self.key is None:
            return None
        try:
            return self.bundles.fetch(self.key, folder)
        except NotKept:
            return None

    def keep_bundle(self, folder: Path, warnings: Sequence[str]) -> None:
        """Keep a bundle that was just made."""
        if self.key is not None:
            self.bundles.keep(self.key, folder, files_in(folder), warnings)


@dataclass(frozen=True)
class ReuseOfContents:
    """The caches of this user, and what every export here follows from."""

    bundles: FolderCache
    conversions: FolderCache
    around: Mapping[str, Any]

    @classmethod
    def begin(cls, environment: Mapping[str, str]) -> "ReuseOfContents | None":
        """Look around, in the environment of before the export; None where nothing is kept.

        Libraries change the environment while they are imported.
        """
        bundles, conversions = (FolderCache.of_user(kind) for kind in (BUNDLES, CONVERSIONS))
        try:
            around = surroundings(environment)
        except OSError:  # the export says what cannot be read
            return None
        return cls(bundles, conversions, around) if bundles and conversions and around else None

    def of(
        self, source: Path | None, gathered: Gathered, precision: Path, variants: Sequence[str], work: Path
    ) -> MadeBefore | None:
        """Find out what was made of a pipeline before; None where it cannot be told what it computes.

        ``precision`` is the file of assignments, ``work`` the folder that conversions write into.
        """
        pipeline, calibration = gathered.pipeline, gathered.calibration
        converted = _converted_record(pipeline, source, [one.tensors for one in calibration.samples])
        if converted is None:
            return None
        asked = {"variants": list(variants), "precision": sha256(precision)}
        key = None if is_whole(source) else _bundle_key({**self.around, **converted, **asked}, gathered)
        return MadeBefore(
            Conversions(self.conversions, {**self.around, **converted}, work), self.bundles, key
        )


def _converted_record(
    pipeline: Pipeline, source: Path | None, samples: Sequence[Arrays]
) -> dict[str, Any] | None:
    """Record what every conversion of a pipeline follows from; None where that cannot be told.

    ``samples`` have what the float pipeline made of the calibration inputs, stage by stage.
    """
    models: list[str | None] = [] if source is None else [digest for _, digest in hashed_files(source)]
    if not is_whole(source):
        models = [_model_hash(pipeline, model.module, model.inputs, samples[0]) for model in pipeline.models]
        if None in models:
            return None
    converted = {part: pipeline.spec.record()[part] for part in _CONVERTED}
    for stage in converted["stages"]:
        del stage["skip_when"]
    net = pipeline.net
    return {
        "models": models,
        "quantise": [[one.name, one.quantise] for one in pipeline.models],
        "converted": converted,
        "net": None if net is None else [str(net), _hash(_stored(net.state_dict()))],
        "coreml": asdict(pipeline.coreml),
        "samples": [_hash(_stored(sample)) for sample in samples],
    }


def _bundle_key(known: Mapping[str, Any], gathered: Gathered) -> str | None:
    """Return the key of the bundle that a pipeline of files' inputs becomes; None for one that is not kept.

    What functions of the user's judge is judged again.
    """
    pipeline, calibration = gathered.pipeline, gathered.calibration
    if metrics_of(pipeline.gates) or not isinstance(pipeline.inputs, FileInputs):
        return None
    return record_hash(
        {
            **known,
            "commit": source_commit(),
            "contract": pipeline.spec.record(),
            "record": pipeline.record,
            "weights": pipeline.weights,
            "agreement": pipeline.agreement,
            "calibration": [one.name for one in calibration.samples],
            "files": calibration.files,
            "warnings": calibration.warnings,
            "goldens": [_golden(one) for one in gathered.goldens],
        }
    )


def _golden(golden: Golden) -> list[Any]:
    picture = None if golden.source is None else _hash(_stored({"": golden.source}))
    return [golden.sample.name, _hash(_stored(golden.sample.tensors)), picture, dict(golden.found)]


def _model_hash(pipeline: Pipeline, module: nn.Module, inputs: Sequence[str], sample: Arrays) -> str | None:
    """Hash a model's graph and all that is stored in it; None where PyTorch cannot trace it."""
    if isinstance(module, Composed):  # of models that are hashed themselves
        return _hash([repr((module.specs, module.inputs, module.outputs)).encode()])
    if isinstance(module, OnnxModule):
        return _hash([module.file.read_bytes()]) if is_whole(module.file) else None
    given = {**(pipeline.example or {}), **sample}
    arguments = tuple(to_module(given[name], pipeline.spec.tensor(name)) for name in inputs)
    try:
        return _hash((str(module).encode(), *_graph(module, arguments), *_stored(_tensors(module))))
    except Exception:
        # Whatever hinders PyTorch here need not hinder a converter.
        return None


def _tensors(module: nn.Module) -> dict[str, Any]:
    """Return parameters and all buffers by name, those included that no state has."""
    return dict(chain(module.named_parameters(), module.named_buffers()))


def _graph(module: nn.Module, arguments: tuple[Tensor, ...]) -> Iterator[bytes]:
    """Give the graph that the converters trace too, and the exact values of what is constant in it."""
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # the conversion says them
        traced: Any = torch.jit.trace(module, arguments, check_trace=False)  # type: ignore[no-untyped-call]
    graph = traced.inlined_graph
    yield _COUNTED.sub("", graph.str(False)).encode()
    for node in graph.findAllNodes("prim::Constant"):
        if node.hasAttribute("value"):
            value = getattr(node, node.kindOf("value"))("value")
            yield from _stored({"": value}) if isinstance(value, Tensor) else (repr(value).encode(),)


def _stored(tensors: Mapping[str, Any]) -> Iterator[bytes]:
    """Give names, types, shapes and bytes of tensors or arrays, in order."""
    for name, tensor in tensors.items():
        array = tensor.detach().numpy() if isinstance(tensor, Tensor) else tensor
        yield f"{name} {array.dtype} {array.shape} ".encode()
        yield np.ascontiguousarray(array).tobytes()


def _hash(parts: Iterable[bytes]) -> str:
    state = hashlib.sha256()
    for part in parts:
        state.update(len(part).to_bytes(8, "little"))
        state.update(part)
    return state.hexdigest()
