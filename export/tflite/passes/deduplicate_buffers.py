"""Constants of a TFLite file stored once, and those alone that are read.

The end-to-end model runs the teacher three times, and a converter or a quantiser that writes each use its own
weights makes the file much larger. So does a pass that gives an operation other constants than it had.
"""

from mien.mobile_reference.tflite.flatbuffer import constant_data, parse, serialise

_NO_DATA = 0
"""The number of the buffer that is empty in every file."""


def deduplicate_buffers(model: bytes) -> bytes:
    """Let tensors whose stored bytes are equal read one buffer, and those that nothing reads none.

    Buffers that no tensor has are emptied. Nothing that is computed changes. Type, shape and quantisation
    stay with each tensor.
    """
    parsed = parse(model)
    first: dict[bytes, int] = {}
    for graph in parsed.subgraphs:
        read = {int(index) for one in graph.operators for index in one.inputs} | set(map(int, graph.outputs))
        for place, tensor in enumerate(graph.tensors):
            data = constant_data(parsed, tensor)
            if data is not None:
                tensor.buffer = first.setdefault(bytes(data), tensor.buffer) if place in read else _NO_DATA
    # Emptied, not removed: metadata points at buffers by their number.
    kept = {*first.values(), *(int(one.buffer) for one in parsed.metadata or [])}
    for number, buffer in enumerate(parsed.buffers):
        if number not in kept:
            buffer.data = None
    return serialise(parsed)
