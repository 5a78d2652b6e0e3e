"""The convolutions of a float TFLite graph, by the names that they have in PyTorch."""

import re
from collections.abc import Iterator, Mapping

from mien.mobile_reference.tflite.flatbuffer import operation_name, parse

from .ranges import Range, hulls

# onnx2tf names a filter after the path of its module; further runs of a network that is called
# again have the suffixes _1, _2.
_FILTER = re.compile(r"^(?:/net)?/(?!net/)(.+?)(?:_\d+)?/Conv_(?:conv|depthwise)_filter$")


def convolution_ranges(model: bytes, ranges: Mapping[str, Range]) -> dict[str, Range]:
    """Give every convolution the range of what it reads, in all runs of it.

    ``ranges`` are those of the graph's tensors.
    """
    return hulls((name, ranges[source]) for name, source in _reads(model))


def _reads(model: bytes) -> Iterator[tuple[str, str]]:
    """Yield every convolution's name and the tensor that it reads."""
    parsed = parse(model)
    for graph in parsed.subgraphs:
        for operator in graph.operators:
            if operation_name(parsed, operator) in ("CONV_2D", "DEPTHWISE_CONV_2D"):
                source, weights = (graph.tensors[index].name.decode() for index in operator.inputs[:2])
                name = convolution_name(weights)
                if name:
                    yield name, source


def convolution_name(weights: str) -> str | None:
    """Turn the name of a filter into that of its module in PyTorch; none if it is of no module."""
    match = _FILTER.match(weights)
    return module_name(match[1]) if match else None


def module_name(path: str) -> str:
    """Turn a module's path in ONNX into its name in PyTorch: ``a/b.1/b.1.0`` into ``a.b.1.0``."""
    parts: list[str] = []
    for part in path.split("/"):
        if parts and part.startswith(f"{parts[-1]}."):
            parts.pop()
        parts.append(part)
    return ".".join(parts)
