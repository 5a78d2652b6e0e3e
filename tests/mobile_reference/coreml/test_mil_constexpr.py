"""Compressed constants: bit-equal to coremltools' own decompression, through a saved package."""

import numpy as np
import pytest

pytest.importorskip("torch")  # before coremltools: the other order can crash
ct = pytest.importorskip("coremltools")

from coremltools.converters.mil.mil import Builder as mb  # noqa: E402, N813
from coremltools.converters.mil.mil import types  # noqa: E402

from mien.mobile_reference.coreml import Evaluator, load_package  # noqa: E402

SHAPE = (4, 6, 8)


def narrow(name):
    return types.nptype_from_builtin(types.string_to_builtin(name))


def integers(generator, name, shape):
    low, high = {
        "int8": (-128, 128),
        "uint8": (0, 256),
        "int4": (-8, 8),
        "uint4": (0, 16),
        "uint1": (0, 2),
        "uint2": (0, 4),
        "uint3": (0, 8),
        "uint6": (0, 64),
    }[name]
    return generator.integers(low, high, shape).astype(narrow(name))


def affine(generator, kind, real, axis):
    width = SHAPE[axis] if axis is not None else ()
    return mb.constexpr_affine_dequantize(
        quantized_data=integers(generator, kind, SHAPE),
        zero_point=integers(generator, kind, width),
        scale=generator.random(width).astype(real) if width else real(generator.random()),
        axis=axis or 0,
    )


def packed_table(generator, bits, real):
    count = int(np.prod(SHAPE))
    stream = generator.integers(0, 2, bits * count, dtype=np.uint8)
    return mb.constexpr_lut_to_dense(
        indices=np.packbits(stream, bitorder="little"),
        lut=generator.standard_normal(2**bits).astype(real),
        shape=np.array(SHAPE, dtype=np.uint32),
    )


def packed_sparse(generator, real):
    bits = generator.integers(0, 2, int(np.prod(SHAPE)), dtype=np.uint8)
    return mb.constexpr_sparse_to_dense(
        nonzero_data=generator.standard_normal(int(bits.sum())).astype(real),
        mask=np.packbits(bits, bitorder="little"),
        shape=np.array(SHAPE, dtype=np.uint32),
    )


def blockwise(generator, kind, real, blocks, offset):
    return mb.constexpr_blockwise_shift_scale(
        data=integers(generator, kind, SHAPE),
        scale=generator.random(blocks).astype(real),
        offset=offset(generator, kind, blocks),
    )


def no_offset(generator, kind, blocks):
    return None


def integer_offset(generator, kind, blocks):
    return integers(generator, kind, blocks)


def real_offset(generator, kind, blocks):
    return generator.standard_normal(blocks).astype(np.float16)


def table(generator, kind, groups, vector, axis):
    bits = int(kind.removeprefix("uint"))
    return mb.constexpr_lut_to_dense(
        indices=integers(generator, kind, SHAPE),
        lut=generator.standard_normal((*groups, 2**bits, vector)).astype(np.float16),
        vector_axis=axis,
    )


def sparse(generator, kind):
    mask = integers(generator, "uint1", SHAPE)
    data = generator.standard_normal(int((mask != 0).sum())).astype(kind)
    return mb.constexpr_sparse_to_dense(nonzero_data=data, mask=mask)


def sparse_blockwise(generator, kind):
    mask = integers(generator, "uint1", SHAPE)
    kept, data = mb.constexpr_sparse_blockwise_shift_scale(
        data_mask=mask,
        nonzero_data=integers(generator, kind, int((mask != 0).sum())),
        scale=generator.random((4, 1, 1)).astype(np.float16),
        offset=integers(generator, kind, (4, 1, 1)),
    )
    return mb.constexpr_sparse_to_dense(nonzero_data=data, mask=kept)


def sparse_table(generator, vector, axis):
    mask = integers(generator, "uint1", SHAPE)
    kept, data = mb.constexpr_lut_to_sparse(
        indices_mask=mask,
        indices_nonzero_data=integers(generator, "uint4", int((mask != 0).sum())),
        lut=generator.standard_normal((1, 1, 1, 16, vector)).astype(np.float16),
        vector_axis=axis,
    )
    return mb.constexpr_sparse_to_dense(nonzero_data=data, mask=kept)


half, single = np.float16, np.float32
CASES = {
    "affine uint8, one scale": ("iOS16", affine, "uint8", half, None),
    "affine int8, one scale": ("iOS16", affine, "int8", single, None),
    "affine int8, axis 0": ("iOS16", affine, "int8", half, 0),
    "affine uint8, axis 2": ("iOS17", affine, "uint8", single, 2),
    "packed table of 1 bit": ("iOS16", packed_table, 1, half),
    "packed table of 2 bits": ("iOS16", packed_table, 2, half),
    "packed table of 4 bits": ("iOS16", packed_table, 4, single),
    "packed table of 6 bits": ("iOS16", packed_table, 6, half),
    "packed table of 8 bits": ("iOS17", packed_table, 8, half),
    "packed sparse": ("iOS16", packed_sparse, half),
    "packed sparse float32": ("iOS17", packed_sparse, single),
    "blockwise int8": ("iOS18", blockwise, "int8", half, (4, 1, 1), no_offset),
    "blockwise uint8": ("iOS18", blockwise, "uint8", half, (4, 3, 1), integer_offset),
    "blockwise int4": ("iOS18", blockwise, "int4", half, (4, 1, 2), no_offset),
    "blockwise uint4": ("iOS18", blockwise, "uint4", half, (2, 2, 2), integer_offset),
    "blockwise int4, real offset": ("iOS18", blockwise, "int4", half, (4, 6, 2), real_offset),
    "blockwise float32": ("iOS18", blockwise, "int8", single, (1, 1, 8), integer_offset),
    "table of 1 bit": ("iOS18", table, "uint1", (1, 1, 1), 1, None),
    "table of 2 bits, groups": ("iOS18", table, "uint2", (2, 1, 1), 1, None),
    "table of 3 bits": ("iOS18", table, "uint3", (1, 3, 1), 1, None),
    "table of 4 bits, groups": ("iOS18", table, "uint4", (4, 2, 1), 1, None),
    "table of 6 bits": ("iOS18", table, "uint6", (1, 1, 1), 1, None),
    "table of 8 bits": ("iOS18", table, "uint8", (1, 1, 1), 1, None),
    "table of pairs, axis 0": ("iOS18", table, "uint4", (1, 1, 1), 2, 0),
    "table of pairs, axis 1": ("iOS18", table, "uint2", (1, 2, 1), 2, 1),
    "table of triples, last axis": ("iOS18", table, "uint3", (1, 1, 2), 3, -1),
    "sparse": ("iOS18", sparse, half),
    "sparse int8 blocks": ("iOS18", sparse_blockwise, "int8"),
    "sparse uint4 blocks": ("iOS18", sparse_blockwise, "uint4"),
    "sparse table": ("iOS18", sparse_table, 1, None),
    "sparse table of pairs": ("iOS18", sparse_table, 2, 1),
}


def saved(case, folder):
    """Build ``x * constant``, save it, and return the package and coremltools' own value."""
    target, make, *arguments = CASES[case]
    generator = np.random.default_rng(7)

    @mb.program(
        input_specs=[mb.TensorSpec(shape=(1,), dtype=types.fp32)],
        opset_version=getattr(ct.target, target),
    )
    def program(x):
        constant = make(generator, *arguments)
        kind = "fp16" if constant.dtype == types.fp16 else "fp32"
        return mb.mul(x=mb.cast(x=x, dtype=kind), y=constant)

    multiply = program.functions["main"].find_ops(op_type="mul")[0]
    expected = multiply.y.op.materialized_val_inference()
    # The empty pipeline keeps the constants apart from the operations that use them.
    model = ct.convert(
        program,
        convert_to="mlprogram",
        minimum_deployment_target=getattr(ct.target, target),
        pass_pipeline=ct.PassPipeline.EMPTY,
        skip_model_load=True,
    )
    package = folder / "constant.mlpackage"
    model.save(str(package))
    return package, multiply.y.name, expected


@pytest.mark.parametrize("case", CASES)
def test_bit_equal_to_coremltools(case, tmp_path):
    package, name, expected = saved(case, tmp_path)
    value = Evaluator(load_package(package)).constants[name]
    assert value.dtype == expected.dtype
    np.testing.assert_array_equal(value, expected)
    assert np.ptp(expected.astype(np.float32)) > 0  # a constant of one value would prove little
