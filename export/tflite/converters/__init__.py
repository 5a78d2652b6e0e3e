"""The converters: each turns a graph of PyTorch modules into a float32 TFLite model.

A converter is one file with one function, ``convert(component, source, folder)``, which returns
what its converter made, the tensors in the contract's order. ``conversion.convert_float`` proves that before
anything uses it. Imports of converters stand in functions: listing the converters loads none.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mien.export.component import Component
from mien.export.environments import LITERT_TORCH, TENSORFLOW, TFLITE, Environment
from mien.export.running.isolation import Limits
from mien.mobile_reference.files import default_cache
from mien.models.sources import Source

from . import flatbuffer_direct, litert_torch, tf_converter

Convert = Callable[[Component, Source, Path], bytes]


@dataclass(frozen=True)
class Converter:
    """One way from PyTorch to TFLite.

    ``convert`` takes a component, the pipeline's source and a scratch folder; it runs in a process of its own
    within ``limits``. ``installed`` tells whether it can, ``install`` is the line that makes it so.
    """

    name: str
    convert: Convert
    installed: Callable[[], bool]
    install: str
    limits: Limits


def _converter(name: str, convert: Convert, environment: Environment, limits: Limits) -> Converter:
    def installed() -> bool:
        return environment.is_ready(default_cache())

    return Converter(name, convert, installed, f"mien setup {environment.name}", limits)


# Both take minutes for the end-to-end model, and more on a busy machine.
_PATIENT = Limits(seconds=1200)
CONVERTERS: tuple[Converter, ...] = (
    _converter(flatbuffer_direct.NAME, flatbuffer_direct.convert, TFLITE, Limits()),
    _converter("tf_converter", tf_converter.convert, TENSORFLOW, _PATIENT),
    _converter(litert_torch.NAME, litert_torch.convert, LITERT_TORCH, _PATIENT),
)
DEFAULT = CONVERTERS[0]
"""The converter of all models: it takes the least time, and leaves no layout operation in the largest one."""
