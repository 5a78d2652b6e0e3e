"""TFLite files as mien reads them, wherever their constants lie."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from numpy.testing import assert_array_equal

from mien.mobile_reference.tflite.flatbuffer import constant_data, parse, serialise
from mien.mobile_reference.tflite.litert import LiteRTModel
from mien.mobile_reference.tflite.model_file import read_tflite
from tests.benchmarks.tinymodels import heatmap


@pytest.fixture
def inside(tmp_path: Path) -> bytes:
    """A model whose constants lie among its tables."""
    return heatmap(tmp_path / "inside.tflite").read_bytes()


def behind(model: bytes) -> bytes:
    """Put the constants of a model behind its tables, as the quantiser does with those of larger models."""
    parsed = parse(model)
    stored = [buffer for buffer in parsed.buffers if buffer.data is not None and len(buffer.data)]
    constants = [bytes(buffer.data) for buffer in stored]
    for buffer in stored:
        buffer.data, buffer.offset, buffer.size = None, 1, 1
    end = len(serialise(parsed))
    for buffer, constant in zip(stored, constants, strict=True):
        buffer.offset, buffer.size = end, len(constant)
        end += len(constant)
    return serialise(parsed) + b"".join(constants)


def constants_of(model: bytes) -> dict[str, bytes]:
    parsed = parse(model)
    found = {tensor.name.decode(): constant_data(parsed, tensor) for tensor in parsed.subgraphs[0].tensors}
    return {name: bytes(data) for name, data in found.items() if data is not None}


def output_of(model: bytes) -> Any:
    loaded = LiteRTModel(model)
    rng = np.random.default_rng(0)
    return loaded.run([rng.integers(0, 100, one.shape).astype(one.dtype) for one in loaded.inputs])[0]


def test_constants_behind_the_tables_are_read(inside: bytes) -> None:
    outside = behind(inside)
    assert outside[4:8] == b"TFL3"
    assert len(constants_of(inside)) > 1
    assert constants_of(outside) == constants_of(inside)
    assert_array_equal(output_of(outside), output_of(inside))
    assert_array_equal(output_of(serialise(parse(outside))), output_of(inside))


def test_they_count_as_constants(inside: bytes, tmp_path: Path) -> None:
    files = {"inside": inside, "outside": behind(inside)}
    for name, model in files.items():
        (tmp_path / f"{name}.tflite").write_bytes(model)
    one, other = (read_tflite(tmp_path / f"{name}.tflite") for name in files)
    assert one.parameters > 0
    assert (one.parameters, one.macs) == (other.parameters, other.macs)


def test_reading_leaves_the_numbers_of_buffers(inside: bytes) -> None:
    """Those of empty ones too: LiteRT's own reader leaves them out, and what is written again differs."""
    parsed = parse(inside)
    parsed.buffers.insert(1, schema.BufferT())
    for tensor in parsed.subgraphs[0].tensors:
        tensor.buffer += tensor.buffer > 0
    written = serialise(parsed)
    assert len(parse(written).buffers) == len(parsed.buffers)
    assert constants_of(written) == constants_of(inside)
    assert serialise(parse(written)) == written
