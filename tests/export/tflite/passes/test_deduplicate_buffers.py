"""Equal constants are stored once, and nothing else changes."""

from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from mien.export.tflite.edit import add_buffer
from mien.export.tflite.interpreter import Runner
from mien.export.tflite.passes.deduplicate_buffers import deduplicate_buffers
from mien.export.tflite.quantise import quantise
from mien.mobile_reference.bundle.reader import open_bundle
from mien.mobile_reference.tflite.flatbuffer import constant_data, parse, serialise
from tests.export.small_models import Twice, converted, nhwc_input
from tests.export.tflite.test_int8_regions import Net, drawn

VARIANTS = ("tflite-fp32", "tflite-fp16", "tflite-int8")


def _repeated_bytes(model: bytes) -> int:
    """Count the bytes of constants whose equal is stored in another buffer."""
    parsed = parse(model)
    numbers = {t.buffer for t in parsed.subgraphs[0].tensors if constant_data(parsed, t) is not None}
    stored = [bytes(parsed.buffers[number].data) for number in numbers]
    return sum(map(len, stored)) - sum(map(len, set(stored)))


@pytest.fixture(scope="module")
def twice(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A model that runs one part two times, as its converter leaves it."""
    return converted(Twice(), tmp_path_factory.mktemp("twice"))


def test_a_part_used_twice_is_stored_once(twice: bytes) -> None:
    before = twice
    after = deduplicate_buffers(before)
    assert _repeated_bytes(before) > 4000
    assert _repeated_bytes(after) == 0
    assert len(after) < 0.6 * len(before)
    for one, other in zip(Runner(before).run([nhwc_input()]), Runner(after).run([nhwc_input()]), strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_no_tensor_has_is_not_stored() -> None:
    build = Net()
    before = build.build(build.convolve(build.given("x", (1, 6, 6, 4)), "y", drawn(8, 4), drawn(8)))
    parsed = parse(before)
    add_buffer(parsed, np.ones(5000, np.float32))
    described = schema.MetadataT()
    described.name, described.buffer = b"described", add_buffer(parsed, np.full(40, 7, np.uint8))
    parsed.metadata = [*(parsed.metadata or []), described]
    after = parse(deduplicate_buffers(serialise(parsed)))
    stored = [bytes(buffer.data) for buffer in after.buffers if buffer.data is not None]
    assert sum(map(len, stored)) < 5000
    assert bytes([7] * 40) in stored


def test_a_second_pass_changes_nothing(twice: bytes) -> None:
    once = deduplicate_buffers(twice)
    assert deduplicate_buffers(once) == once


def test_a_quantised_model_holds_it_once(twice: bytes, tmp_path: Path) -> None:
    file = tmp_path / "float.tflite"
    file.write_bytes(twice)
    assert _repeated_bytes(quantise(file, {}, {}, {})) == 0


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_bundle_holds_the_teacher_once(exported: Path, variant: str) -> None:
    file = open_bundle(exported).variant(variant).files["appraisal"]
    assert _repeated_bytes(file.read_bytes()) == 0
