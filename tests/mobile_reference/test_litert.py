"""LiteRT as mien talks to it: tensors by position, all of them readable where asked for, one-line errors."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mien.mobile_reference.errors import ModelError
from mien.mobile_reference.tflite.gpu import _names_by_position
from mien.mobile_reference.tflite.half import _doubling
from mien.mobile_reference.tflite.litert import Kernels, LiteRTModel
from tests.benchmarks.tinymodels import appraisal, compare, int8_appraisal, softmax_of_products


@pytest.fixture
def given() -> Callable[[LiteRTModel], list[Any]]:
    """Make inputs of a model: whole numbers, which every type has."""

    def inputs(model: LiteRTModel) -> list[Any]:
        rng = np.random.default_rng(0)
        return [rng.integers(0, 100, one.shape).astype(one.dtype) for one in model.inputs]

    return inputs


def test_all_kernels_take_and_make_tensors_by_position(tmp_path: Path, given: Any) -> None:
    file = softmax_of_products(tmp_path / "x.tflite")
    models = [LiteRTModel(file, kernels=kernels) for kernels in Kernels]
    models.append(LiteRTModel(file.read_bytes(), threads=2))
    results = [model.run(given(model)) for model in models]
    for model, result in zip(models, results, strict=True):
        assert [one.shape for one in result] == [one.shape for one in model.outputs]
        np.testing.assert_allclose(result[0], results[0][0], rtol=1e-5)


def test_with_litert_s_own_kernels_every_tensor_can_be_read(tmp_path: Path, given: Any) -> None:
    model = LiteRTModel(appraisal(tmp_path / "x.tflite"), kernels=Kernels.LITERT)
    outputs = model.run(given(model))
    made = {tensor.index: model.value(tensor) for tensor in model.made}
    assert len(made) > len(outputs)
    for tensor, output in zip(model.outputs, outputs, strict=True):
        assert np.array_equal(made[tensor.index], output)
    assert all(np.isfinite(value).all() for value in made.values())


def test_quantised_tensors_have_their_step(tmp_path: Path) -> None:
    model = LiteRTModel(int8_appraisal(tmp_path / "x.tflite"))
    steps = {tensor.dtype: tensor.scale for tensor in model.tensors}
    assert steps["int8"] > 0
    assert steps["float32"] == 0


def test_names_are_those_of_the_signature(tmp_path: Path) -> None:
    model = LiteRTModel(compare(tmp_path / "x.tflite"))
    inputs, outputs = model.names
    assert len(inputs) == len(model.inputs)
    assert len(outputs) == len(model.outputs)
    assert model.signatures == ("serving_default",)
    assert "?" not in (*inputs, *outputs)


@pytest.mark.parametrize("as_bytes", [False, True])
def test_what_litert_cannot_load_is_one_line(as_bytes: bool, tmp_path: Path) -> None:  # noqa: FBT001
    file = compare(tmp_path / "x.tflite")
    cut = file.read_bytes()[:200]
    file.write_bytes(cut)
    with pytest.raises(ModelError, match=r"^LiteRT cannot load (the model|\S+x\.tflite): [^\n]+$"):
        LiteRTModel(cut if as_bytes else file)


def test_an_input_of_another_shape_is_one_line(tmp_path: Path, given: Any) -> None:
    model = LiteRTModel(compare(tmp_path / "x.tflite"))
    inputs = given(model)
    with pytest.raises(ModelError, match=r"^LiteRT cannot run \S+x\.tflite: [^\n]+$"):
        model.run([inputs[0][:, :1], *inputs[1:]])
    with pytest.raises(ModelError, match="cannot run"):
        model.run(inputs[:-1])


def test_what_xnnpack_takes_over_is_not_named(tmp_path: Path) -> None:
    file = appraisal(tmp_path / "x.tflite")
    assert LiteRTModel(file).undelegated() == ("CAST",)
    left = LiteRTModel(file, kernels=Kernels.LITERT).undelegated()
    assert left == ("CAST", "CONV_2D", "CONV_2D", "MEAN")


def test_the_names_of_gpu_buffers_are_those_of_the_signature(tmp_path: Path) -> None:
    file = compare(tmp_path / "x.tflite")
    assert _names_by_position(file.read_bytes()) == tuple(map(list, LiteRTModel(file).names))


def test_the_model_that_shows_half_floats_adds_its_input_to_itself() -> None:
    x = np.arange(8, dtype=np.float32)[None]
    for kernels in Kernels:
        (made,) = LiteRTModel(_doubling(), kernels=kernels).run([x])
        np.testing.assert_array_equal(made, 2 * x)
