"""What a TFLite file is said to hold: work by operator, integers, stored numbers, and its two halves."""

from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from mien.mobile_reference.errors import BundleError
from mien.mobile_reference.tflite import half as half_module
from mien.mobile_reference.tflite import model_file as model_file_module
from mien.mobile_reference.tflite.flatbuffer import parse, serialise
from mien.mobile_reference.tflite.model_file import DEPTHWISE, Operator, TensorOf, TFLiteFile


def tensor(number: int, *shape: int, dtype: str = "FLOAT32", constant: bool = False) -> TensorOf:
    return TensorOf(number, shape, dtype, constant)


def stored(number: int, *shape: int, dtype: str = "FLOAT32") -> TensorOf:
    return tensor(number, *shape, dtype=dtype, constant=True)


def convolution(dtype: str = "FLOAT32", weights: str | None = None) -> Operator:
    """5 channels of 3x3 over 2 channels, to a map of 4x4: 80 values, 18 products each."""
    return Operator(
        "CONV_2D",
        (tensor(1, 1, 4, 4, 2, dtype=dtype), stored(2, 5, 3, 3, 2, dtype=weights or dtype), stored(3, 5)),
        (tensor(4, 1, 4, 4, 5, dtype=dtype),),
    )


MACS = [
    (convolution(), 80 * 18),
    (
        Operator(
            "CONV_2D",  # of two groups: a filter has half of the channels
            (tensor(1, 1, 4, 4, 4), stored(2, 6, 3, 3, 2)),
            (tensor(3, 1, 4, 4, 6),),
        ),
        96 * 18,
    ),
    (Operator("FULLY_CONNECTED", (tensor(1, 3, 7), stored(2, 11, 7)), (tensor(3, 3, 11),)), 33 * 7),
    (
        Operator(DEPTHWISE, (tensor(1, 1, 4, 4, 6), stored(2, 1, 3, 5, 6)), (tensor(3, 1, 4, 4, 6),)),
        96 * 15,
    ),
    (
        Operator(
            "TRANSPOSE_CONV",
            (stored(1, 4, dtype="INT32"), stored(2, 5, 2, 3, 7), tensor(3, 1, 4, 4, 7)),
            (tensor(4, 1, 8, 8, 5),),
        ),
        112 * 30,
    ),
    (Operator("BATCH_MATMUL", (tensor(1, 2, 3, 7), tensor(2, 2, 7, 5)), (tensor(3, 2, 3, 5),)), 30 * 7),
    (Operator("ADD", (tensor(1, 9), tensor(2, 9)), (tensor(3, 9),)), 0),
]


@pytest.mark.parametrize(("operator", "macs"), MACS)
def test_multiply_accumulates_follow_from_the_shapes(operator: Operator, macs: int) -> None:
    assert operator.macs == macs
    assert TFLiteFile((operator,)).macs[operator.name] == macs


def test_what_is_folded_when_a_model_is_loaded_costs_nothing_in_a_run() -> None:
    folded = Operator("DEQUANTIZE", (stored(1, 5, dtype="FLOAT16"),), (tensor(2, 5),))
    none = Operator("CUSTOM", (), (tensor(3, 7),))
    assert folded.folded
    assert not none.folded
    assert not convolution().folded
    model = TFLiteFile((folded, none, convolution()))
    assert [one.name for one in model.running] == ["CUSTOM", "CONV_2D"]
    assert model.activations == {"CUSTOM": 7, "CONV_2D": 80}
    assert folded.written == 0


def test_a_change_of_shape_writes_nothing() -> None:
    for name, written in (("RESHAPE", 0), ("SQUEEZE", 0), ("EXPAND_DIMS", 0), ("TRANSPOSE", 9)):
        assert Operator(name, (tensor(1, 9),), (tensor(2, 9),)).written == written


def test_only_int8_in_and_out_is_integer() -> None:
    mixed = Operator("CONV_2D", convolution("INT8").inputs, (tensor(4, 1, 4, 4, 5),))
    assert [one.is_integer for one in (convolution("INT8"), convolution(), mixed)] == [True, False, False]
    shape, weights = stored(1, 4, dtype="INT32"), stored(2, 5, 2, 3, 7, dtype="INT8")
    transposed = Operator(
        "TRANSPOSE_CONV",
        (shape, weights, tensor(3, 1, 4, 4, 7, dtype="INT8")),
        (tensor(4, 1, 8, 8, 5, dtype="INT8"),),
    )
    assert transposed.is_integer


def test_shares_of_eight_bits_are_of_products_alone() -> None:
    addition = Operator("ADD", (tensor(1, 9, dtype="INT8"),) * 2, (tensor(2, 9, dtype="INT8"),))
    model = TFLiteFile((convolution("INT8"), convolution(), convolution("FLOAT32", "INT8"), addition))
    assert model.integer_macs == 80 * 18
    assert model.eight_bit_macs == 2 * 80 * 18
    assert model.has_integer_convolution
    assert not TFLiteFile((convolution(), addition)).has_integer_convolution
    assert not TFLiteFile((addition,)).has_integer_convolution


def test_a_model_is_integer_only_but_for_changes_of_type() -> None:
    ends = Operator("DEQUANTIZE", (tensor(4, 9, dtype="INT8"),), (tensor(5, 9),))
    assert TFLiteFile((convolution("INT8"), ends)).integer_only
    assert not TFLiteFile((convolution("INT8"), convolution())).integer_only
    assert not TFLiteFile((convolution("BFLOAT16"),)).integer_only


def test_stored_numbers_are_counted_once_and_without_axes() -> None:
    axes = Operator("MEAN", (tensor(4, 1, 4, 4, 5), stored(9, 2, dtype="INT32")), (tensor(5, 1, 5),))
    assert TFLiteFile((convolution(), convolution(), axes)).parameters == 90 + 5
    eight = Operator("CONV_2D", (*convolution("INT8").inputs[:2], stored(3, 5, dtype="INT32")), ())
    assert TFLiteFile((eight,)).parameters == 90 + 5


def test_a_model_is_cut_where_half_of_the_values_are_written() -> None:
    large = Operator("ADD", (tensor(1, 8), tensor(2, 8)), (tensor(3, 8),))
    small = Operator("ADD", (tensor(1, 4), tensor(2, 4)), (tensor(3, 4),))
    first, second = TFLiteFile((large, small, small)).halves
    assert (len(first.operators), len(second.operators)) == (1, 2)
    first, second = TFLiteFile((small, small, large)).halves
    assert (len(first.operators), len(second.operators)) == (2, 1)


@pytest.mark.parametrize(
    ("asks", "computes", "said"),
    [(False, True, None), (True, True, half_module.FORCED), (True, False, half_module.FLOAT32)],
)
def test_a_model_of_half_floats_says_what_it_is_computed_in(
    monkeypatch: pytest.MonkeyPatch, *, asks: bool, computes: bool, said: str | None
) -> None:
    monkeypatch.setattr(half_module, "asks_for_half", lambda _: asks)
    monkeypatch.setattr(half_module, "computes_in_half", lambda: computes)
    assert half_module.arithmetic(Path("model")) == said


def test_half_floats_are_forced_on_a_model_without_signatures() -> None:
    parsed = parse(half_module._doubling())
    signature = schema.SignatureDefT()
    signature.signatureKey, signature.inputs, signature.outputs = b"serving", [], []
    parsed.signatureDefs = [signature]
    signed = serialise(parsed)
    assert parse(signed).signatureDefs
    assert not parse(half_module._unsigned(signed)).signatureDefs


def test_products_of_a_volume_are_counted() -> None:
    made, read = (Mock(elements=10, shape=(1, 1, 1, 2, 5)), Mock(elements=12, shape=(2, 3, 3, 4, 5)))
    plain = Mock(outputs=[made], inputs=[None, read])
    assert model_file_module._volume_macs(plain) == 10 * 2 * 3 * 3 * 4
    turned = Mock(outputs=[made], inputs=[None, read, Mock(elements=7)])
    assert model_file_module._transposed_volume_macs(turned) == 7 * 2 * 3 * 3 * 4


def test_a_file_may_be_as_large_as_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "model.tflite"
    file.write_bytes(half_module._doubling())
    monkeypatch.setattr(model_file_module, "_MAX_BYTES", file.stat().st_size)
    assert model_file_module.read_tflite(file).operators
    monkeypatch.setattr(model_file_module, "_MAX_BYTES", file.stat().st_size - 1)
    with pytest.raises(BundleError, match="is larger than"):
        model_file_module.read_tflite(file)


@pytest.mark.parametrize("behind", [False, True])
def test_float_constants_are_read_inside_the_tables_and_behind_them(tmp_path: Path, *, behind: bool) -> None:
    """Those of large models lie behind; an input that is left out, -1, is none."""
    values = np.array([1.5, -2.0], np.float32)
    parsed = parse(half_module._doubling())
    graph, buffer, tensor = parsed.subgraphs[0], schema.BufferT(), schema.TensorT()
    tensor.name, tensor.shape, tensor.type, tensor.buffer = b"w", [2], schema.TensorType.FLOAT32, 1
    graph.tensors.append(tensor)
    graph.operators[0].inputs = [0, 2, -1]
    parsed.buffers.append(buffer)
    if behind:
        buffer.offset, buffer.size = 1 << 20, values.nbytes
        buffer.offset = len(serialise(parsed))
    else:
        buffer.data = np.frombuffer(values.tobytes(), np.uint8)
    (tmp_path / "m.tflite").write_bytes(serialise(parsed) + (values.tobytes() if behind else b""))
    ((name, found),) = model_file_module.float_constants(tmp_path / "m.tflite")
    assert name == "w"
    assert found.tolist() == values.tolist()
