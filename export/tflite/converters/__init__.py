"""The front ends: each turns a graph of PyTorch modules into a float32 TFLite model.

A front end is one file with one function, ``convert(component, source, folder)``, which returns
what its converter made, the tensors in the contract's order. ``conversion.convert_float`` proves that before
anything uses it. Imports of converters stand in functions: listing the front ends loads none.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from mien.export.component import Component
from mien.export.running.isolation import Limits
from mien.models.sources import Source

from . import flatbuffer_direct, litert_torch, tf_converter

Convert = Callable[[Component, Source, Path], bytes]


@dataclass(frozen=True)
class FrontEnd:
    """One way from PyTorch to TFLite.

    ``convert`` takes a component, the pipeline's source and a scratch folder; it runs in a process of its own
    within ``limits``. ``installed`` tells whether it can, ``install`` is the line that makes it so.
    """

    name: str
    convert: Convert
    installed: Callable[[], bool]
    install: str
    limits: Limits


def _modules(*names: str) -> Callable[[], bool]:
    return lambda: all(find_spec(name) is not None for name in names)


# Both take minutes for the one graph, and more on a busy machine.
_PATIENT = Limits(seconds=1200)
FRONT_ENDS: tuple[FrontEnd, ...] = (
    FrontEnd(
        "flatbuffer_direct",
        flatbuffer_direct.convert,
        _modules("onnx2tf"),
        "pip install 'mien[export]'",
        Limits(),
    ),
    FrontEnd(
        "tf_converter",
        tf_converter.convert,
        _modules("onnx2tf", "tensorflow", "tf_keras"),
        "pip install 'mien[export,tensorflow]'",
        _PATIENT,
    ),
    FrontEnd(
        litert_torch.NAME,
        litert_torch.convert,
        litert_torch.is_ready,
        f"mien setup {litert_torch.NAME}",
        _PATIENT,
    ),
)
DEFAULT = FRONT_ENDS[0]
"""The front end of every graph: no further install, and no layout operation in the one graph."""
