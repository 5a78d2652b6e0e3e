"""A float32 TFLite model that is proven: whichever converter made it, it computes what PyTorch computed."""

import logging
from collections.abc import Sequence
from pathlib import Path

from mien.export.component import Component
from mien.models.sources import Source

from .converters import Convert
from .converters.unsupported import naming_operations
from .interpreter import Runner
from .passes.connect_products import connect_products
from .passes.ends import with_own_ends
from .passes.layout import channels_last_model
from .passes.xnnpack_rewrites import fuse_relu
from .quantise import check_contract, check_float
from .ranges import Arrays

_LOG = logging.getLogger(__name__)


def convert_proven(
    ways: Sequence[Convert], component: Component, source: Source, samples: Sequence[Arrays], folder: Path
) -> Path:
    """Convert a component in the first of some ways that makes what ``convert_float`` accepts.

    Raises:
        ConversionError: none does; it says what is wrong in the last one.
    """
    *others, last = ways
    for convert in others:
        try:
            return convert_float(convert, component, source, samples, folder)
        except Exception:  # a converter raises whatever it raises
            _LOG.exception("%s is converted in another way, for this one failed", component.name)
    return convert_float(last, component, source, samples, folder)


def convert_float(
    convert: Convert, component: Component, source: Source, samples: Sequence[Arrays], folder: Path
) -> Path:
    """Convert a component into ``folder``, turn it channels last, and check it against the ``samples``.

    Meant for a process of its own.

    Raises:
        ConversionError: the converter made no model, one that LiteRT cannot load, or one that has other
            tensors or computes something else.
    """
    made = convert(component, source, folder)
    with naming_operations("the converter", r"unresolved custom op: (\w+)"):
        Runner(made)  # LiteRT finds a damaged file before our own passes stumble over it
    model = folder / f"{component.name}.tflite"
    model.write_bytes(with_own_ends(component, fuse_relu(connect_products(channels_last_model(made)))))
    check_contract(component, model)
    check_float(component, model, samples)
    return model
