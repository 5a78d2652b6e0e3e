"""The request for half-float arithmetic, which is an entry of a TFLite file's metadata.

XNNPACK reads it where it takes over a graph: with half-float kernels, from ARMv8.2 on, it then computes in
them what it took over, and elsewhere in float32.
"""

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from mien.export.tflite.edit import add_buffer
from mien.mobile_reference.tflite.flatbuffer import parse, serialise
from mien.mobile_reference.tflite.half_words import HALF_FLOATS, REDUCED_PRECISION


def ask_for_half(model: bytes) -> bytes:
    """Ask for arithmetic and sums in half floats, whatever the converter wrote at this place.

    Nothing else of the model changes.
    """
    parsed = parse(model)
    others = [one for one in parsed.metadata or [] if bytes(one.name) != REDUCED_PRECISION]
    entry = schema.MetadataT()
    entry.name, entry.buffer = REDUCED_PRECISION, add_buffer(parsed, np.frombuffer(HALF_FLOATS, np.uint8))
    parsed.metadata = [*others, entry]
    return serialise(parsed)
