"""Equal constants of a TFLite file stored once.

The one graph runs the teacher three times, and a converter or a quantiser that writes each use its own
weights makes the file much larger.
"""

from mien.mobile_reference.tflite.flatbuffer import constant_data, parse, serialise


def share_constants(model: bytes) -> bytes:
    """Let tensors whose stored bytes are equal read one buffer; nothing that is computed changes.

    Type, shape and quantisation stay with each tensor.
    """
    parsed = parse(model)
    constants = [
        tensor
        for graph in parsed.subgraphs
        for tensor in graph.tensors
        if constant_data(parsed, tensor) is not None
    ]
    stored = {tensor.buffer for tensor in constants}
    first: dict[bytes, int] = {}
    for tensor in constants:
        tensor.buffer = first.setdefault(bytes(parsed.buffers[tensor.buffer].data), tensor.buffer)
    # Emptied, not removed: metadata points at buffers by their number.
    for number in stored - set(first.values()):
        parsed.buffers[number].data = None
    return serialise(parsed)
