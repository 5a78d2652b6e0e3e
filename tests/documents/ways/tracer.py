"""Writes which module of mien hands a value on to which; copied as ``sitecustomize`` into a traced run.

It runs in every process of a command before anything else, so it imports the standard library alone.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import is_dataclass
from functools import partial
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

TOOL = 3  # a free identity of sys.monitoring
EVENT = sys.monitoring.events.PY_START
FILE, VALUE = "MIEN_WAY", "MIEN_WAY_OF"
"""Environment variables: the file to write to, without which nothing is traced, and a key of ``KINDS``."""
# A pipeline with its modules and its contract, models of every form, variants.
_TYPES = frozenset(
    [
        *("Origin", "Checkpoint", "Pipeline", "Stage", "PipelineSpec", "Component", "Job", "Judgement"),
        *("ModelT", "ModelProto", "MLModel", "Program", "Function", "LiteRTModel", "Runner"),
    ]
)
_MODELS = frozenset([".pt", ".pt2", ".onnx", ".tflite", ".mlpackage"])
_PICTURES = frozenset([".jpg", ".jpeg", ".png", ".webp"])
_LEAST = 1000


def _is_checkpoint(value: Any) -> bool:
    if isinstance(value, Path):
        return value.suffix in _MODELS
    if isinstance(value, bytes | bytearray):
        return value[4:8] == b"TFL3"
    kind = type(value)
    return kind.__name__ in _TYPES or any(one.__module__.startswith("torch.nn") for one in kind.__mro__)


def _is_photograph(value: Any) -> bool:
    if isinstance(value, Path):
        return value.suffix in _PICTURES
    return type(value).__name__ == "ndarray" and value.size >= _LEAST


KINDS: Mapping[str, Callable[[Any], bool]] = {"checkpoint": _is_checkpoint, "photograph": _is_photograph}
"""What a value is, and what becomes of it, by its name."""


def carries(value: Any, kind: str, depth: int = 2) -> bool:
    """Tell whether something is the value or what was made of it, or holds it."""
    if KINDS[kind](value):
        return True
    return depth > 0 and any(carries(part, kind, depth - 1) for part in _parts(value))


def _parts(value: Any) -> list[Any]:
    if isinstance(value, partial):
        return [value.func, *value.args, *value.keywords.values()]
    if isinstance(value, tuple | list):
        return list(value[:3])
    if isinstance(value, dict):
        return list(value.values())[:3]
    return list(vars(value).values()) if is_dataclass(value) and hasattr(value, "__dict__") else []


class Tracer:
    """Appends a line of JSON where one module first gives another the value, in every process alike."""

    def __init__(self, file: str, kind: str) -> None:
        self._file = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._kind = kind
        self._seen: set[tuple[str, str]] = set()

    def started(self, code: CodeType, _offset: int) -> object:
        """Look at a function that begins, and at whoever called it."""
        frame = sys._getframe(1)
        module = _module(frame)
        if not module or code.co_filename == "<string>":  # dataclass wrote it: a record is made
            return sys.monitoring.DISABLE
        caller = _caller(frame.f_back)
        if caller not in ("", module) and (caller, module) not in self._seen and self._given(frame, code):
            self._seen.add((caller, module))
            os.write(self._file, (json.dumps([time.monotonic_ns(), caller, module]) + "\n").encode())
        return None

    def _given(self, frame: FrameType, code: CodeType) -> bool:
        names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        given = frame.f_locals
        return any(carries(given[name], self._kind) for name in names if name in given)


def _module(frame: FrameType) -> str:
    name = frame.f_globals.get("__name__", "")
    return name.removeprefix("mien.") if isinstance(name, str) and name.startswith("mien.") else ""


def _caller(frame: FrameType | None) -> str:
    """Return the module of mien that led here, past libraries; nothing where a process begins."""
    while frame is not None and not _module(frame):
        frame = frame.f_back
    return _module(frame) if frame is not None else ""


if FILE in os.environ:
    sys.monitoring.use_tool_id(TOOL, "way")
    sys.monitoring.register_callback(TOOL, EVENT, Tracer(os.environ[FILE], os.environ[VALUE]).started)
    sys.monitoring.set_events(TOOL, EVENT)
