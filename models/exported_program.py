"""A ``.pt2`` file of ``torch.export.save`` as a module, read so that nothing in it is executed or unpickled.

``torch.export.load`` promises neither: it unpickles some tensors without limits, reads shapes with ``eval``,
looks functions up by names that the file gives, and makes Python code of the names in it. So the archive is
looked through first, and only what cannot do harm is handed on.
"""

import io
import json
import re
import warnings
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export.graph_signature import InputKind, OutputKind, TensorArgument

from mien.mobile_reference.run.child import Limits, in_child

from .errors import PipelineError
from .modules import all_stated
from .pickled_tensors import load_pickles

_LARGEST = 4 << 30
"""Bytes of a file, and of what it unpacks to, at most."""
_LARGEST_GRAPH = 256 << 20
_LIMITS = Limits(memory=12 << 30, seconds=100)
_UNTRUSTED = "export it again without custom objects, or give --trust-pt2 if you trust who made it"
_ENTRY = re.compile(
    r"archive_format|archive_version|byteorder|\.[a-z_/]+|extra/.+|models/model\.json"
    r"|data/weights/(model_weights_config\.json|weight_\d+)"
    r"|data/constants/(model_constants_config\.json|tensor_\d+)"
    r"|data/sample_inputs/model\.pt",
    re.ASCII,
)
"""What ``torch.export.save`` writes, below the root. torch also reads pickles of older versions' names, finds
entries in other upper and lower case, and falls back to unpickling whatever these hold."""
_TARGET = re.compile(r"torch\.ops\.aten\.[a-z_]\w*\.\w+|_operator\.getitem", re.ASCII)
_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_PATH = re.compile(r"\w+(\.\w+)*", re.ASCII)
_PATHS = frozenset(["parameter_name", "buffer_name", "tensor_constant_name"])
_DYNAMIC = frozenset(["expr_str", "as_expr"])
_OBJECTS = frozenset(["as_custom_obj", "custom_obj_name", "opaque_obj_name"])
_ATEN = torch.ops.aten


class UnsafeProgramError(PipelineError):
    """A file asks for what only someone who trusts its maker should do."""


class ProgramModule(nn.Module):
    """Computes what an exported program says; ``inputs`` are its tensors by name, with shape and type."""

    def __init__(self, program: torch.export.ExportedProgram) -> None:
        super().__init__()
        signature = program.graph_signature
        values = {node.name: node.meta.get("val") for node in program.graph.nodes}
        # What it was exported with beside tensors, such as a flag, by its place; None stands for a tensor.
        self._fixed = [
            None if isinstance(one.arg, TensorArgument) else one.arg
            for one in signature.input_specs
            if one.kind is InputKind.USER_INPUT
        ]
        self.inputs = tuple(
            (name, tuple(value.shape), str(value.dtype).removeprefix("torch."))
            for name in signature.user_inputs
            if isinstance(value := values.get(str(name)), Tensor)
        )
        self._made = [
            isinstance(one.arg, TensorArgument)
            for one in signature.output_specs
            if one.kind is OutputKind.USER_OUTPUT
        ]
        self.outputs = sum(self._made)
        # Not "graph": that is what traced modules call something else.
        self.program = _plain(program)

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        """Run the program, whose whole numbers may have 64 bits where the contract's have 32."""
        wide = iter(
            value.to(torch.int64) if dtype == "int64" else value
            for (_, _, dtype), value in zip(self.inputs, given, strict=True)
        )
        made = self.program(*(next(wide) if one is None else one.value for one in self._fixed))
        kept = [value for value, is_tensor in zip(made, self._made, strict=True) if is_tensor]
        return all_stated(kept)


def open_program(file: Path) -> ProgramModule:
    """Open a ``.pt2`` file of anybody.

    Raises:
        PipelineError: it is not an exported program, was made by a newer torch, or is in training mode.
        UnsafeProgramError: reading it would execute or unpickle something.
    """
    content = _content(file)
    _check_archive(file, content)
    return _loaded(file, content, _load_checked)


def open_trusted_program(file: Path) -> ProgramModule:
    """Open a ``.pt2`` file as torch does: with whatever it executes or unpickles."""
    return _loaded(file, _content(file), torch.export.load)


def _load_checked(content: io.BytesIO) -> torch.export.ExportedProgram:
    # It brings PyTorch's compiler, whose import takes as long as the rest of PyTorch's.
    from torch.export.pt2_archive._package import load_pt2

    # Not torch.export.load: after an error it logs a traceback, and reads the file as one of an older format.
    return load_pt2(content).exported_programs["model"]


def _loaded(
    file: Path, content: bytes, load: Callable[[io.BytesIO], torch.export.ExportedProgram]
) -> ProgramModule:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            # From the bytes that were looked at: the file may change meanwhile.
            program = load(io.BytesIO(content))
            _check_mode(file, program)
            return ProgramModule(program)
        except PipelineError:
            raise
        except Exception as error:  # torch's loader raises whatever its parts raise
            said = " ".join(str(error).split())[:300]
            raise PipelineError(
                f"{file} cannot be read by torch {torch.__version__} ({type(error).__name__}: {said}); "
                "export it again with this version of torch"
            ) from error


def _plain(program: torch.export.ExportedProgram) -> nn.Module:
    """Make a module that can be traced, copied and put into evaluation mode, as that of a program cannot.

    It takes and makes tensors in a row, however the program has them: by keyword, in lists, in dictionaries.
    """
    made = program.module(check_guards=False)
    made.graph.set_codegen(torch.fx.graph.CodeGen())
    for node in list(made.graph.nodes):
        if node.target in (_ATEN.detach_.default, _ATEN.detach.default, _ATEN.alias.default):
            node.replace_all_uses_with(node.args[0])
            made.graph.erase_node(node)
        elif node.target is _ATEN.lift_fresh_copy.default:
            node.target = _ATEN.clone.default
        elif node.target is _ATEN._assert_tensor_metadata.default:
            # It computes nothing, and Core ML's converter has pixels as reals.
            made.graph.erase_node(node)
    return torch.fx.GraphModule(made, made.graph)


def _check_mode(file: Path, program: torch.export.ExportedProgram) -> None:
    for node in program.graph.nodes:
        name = str(getattr(node.target, "overloadpacket", ""))
        if ("batch_norm" in name or "dropout" in name) and _trains(node):
            raise PipelineError(
                f"{file} has {name.removeprefix('aten.')} in training mode; call .eval() on the module and "
                "export it again"
            )


def _trains(node: Any) -> bool:
    names = [argument.name for argument in node.target._schema.arguments]
    given = dict(zip(names, node.args, strict=False)) | node.kwargs
    return bool(given.get("training") or given.get("train"))


def _content(file: Path) -> bytes:
    if not file.is_file():
        raise PipelineError(f"{file} does not exist; give a .pt2 file")
    if file.stat().st_size > _LARGEST:
        raise PipelineError(f"{file} is larger than {_LARGEST >> 30} GiB; give a smaller model")
    return file.read_bytes()


def _check_archive(file: Path, content: bytes) -> None:
    try:
        archive = zipfile.ZipFile(io.BytesIO(content))
        entries = {entry.filename.partition("/")[2]: entry for entry in archive.infolist()}
        if "archive_format" not in entries or archive.read(entries["archive_format"]) != b"pt2":
            raise PipelineError(
                f"{file} is not an archive of torch.export.save; export the model again with it"
            )
        if sum(entry.file_size for entry in entries.values()) > _LARGEST:
            raise PipelineError(f"{file} unpacks to more than {_LARGEST >> 30} GiB; give a smaller model")
        models = [name for name in entries if name.startswith("models/")]
        if models != ["models/model.json"] or len(entries) != len(archive.infolist()):
            raise UnsafeProgramError(f"{file} holds other than one model; {_UNTRUSTED}")
        roots = {name.partition("/")[0] for name in archive.namelist()}
        if len(roots) != 1:
            raise UnsafeProgramError(f"{file} holds several folders; {_UNTRUSTED}")
        for name, entry in entries.items():
            _check_entry(file, name, archive, entry)
    except (zipfile.BadZipFile, ValueError, KeyError, NotImplementedError, RecursionError) as error:
        raise PipelineError(f"{file} is not a .pt2 file ({error}); export the model again") from error
    _check_pickles(file, content)


def _check_entry(file: Path, name: str, archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> None:
    """Refuse what is native code, a custom object, or text that torch would make code of."""
    if name.startswith("data/aotinductor") or re.match(r"data/constants/(custom_obj|opaque_obj)", name):
        raise UnsafeProgramError(f"{file} holds {name}, which would be executed; {_UNTRUSTED}")
    if not _ENTRY.fullmatch(name):
        raise UnsafeProgramError(
            f"{file} holds {name!r:.100}, which torch.export.save does not write; {_UNTRUSTED}"
        )
    if name.startswith(("models/", "data/weights/", "data/constants/")) and name.endswith(".json"):
        if entry.file_size > _LARGEST_GRAPH:
            raise PipelineError(f"{file}: {name} is larger than {_LARGEST_GRAPH >> 20} MiB")
        for key, value in _pairs(json.loads(archive.read(entry))):
            _check_pair(file, key, value)


def _pairs(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield every key of a JSON value with what it has, however deep."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            yield from one.items()
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one


def _check_pair(file: Path, key: str, value: Any) -> None:
    if key in _DYNAMIC or (key == "range_constraints" and value):
        raise PipelineError(
            f"{file} has axes without a fixed length; export it without dynamic_shapes, with a batch of 1"
        )
    if key in _OBJECTS and value:
        raise UnsafeProgramError(f"{file} has custom objects; {_UNTRUSTED}")
    pattern = {"target": _TARGET, "as_operator": _TARGET, "name": _NAME}.get(key)
    pattern = _PATH if key in _PATHS else pattern
    if pattern is None or value is None:
        return
    if not isinstance(value, str) or not pattern.fullmatch(value):
        what = "operation" if pattern is _TARGET else "name"
        raise UnsafeProgramError(
            f"{file} has the {what} {value!r:.100}, expected one of PyTorch's own; {_UNTRUSTED}"
        )


def _check_pickles(file: Path, content: bytes) -> None:
    """Load every stored tensor with ``weights_only`` in a process of its own, which has limits."""
    try:
        in_child(partial(load_pickles, content), _LIMITS, file)
    except Exception as error:  # torch's loader raises whatever its parts raise
        reason = " ".join(str(error).split())
        raise UnsafeProgramError(
            f"{file} holds a pickle of more than tensors ({reason:.200}); {_UNTRUSTED}"
        ) from error
