"""What coremltools leaves out of its passes changes no package."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mien.export.coreml.canonical_package import canonicalise
from mien.export.coreml.passes import marked_where_compressed, mended_passes, rarely_validated, unprinted
from mien.mobile_reference.coreml import Evaluator, load_package


def _package(folder: Path) -> dict[str, bytes]:
    """Convert a small network, and read the files of its package."""
    import coremltools as ct

    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU6(), nn.Conv2d(8, 4, 1)
    ).eval()
    traced = torch.jit.trace(net, torch.rand(1, 3, 16, 16))
    given = [ct.TensorType(name="x", shape=(1, 3, 16, 16))]
    ct.convert(traced, inputs=given, convert_to="mlprogram", skip_model_load=True).save(str(folder))
    canonicalise(folder)
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_validated_marked_and_printed_or_not_a_package_is_the_same(tmp_path: Path) -> None:
    with rarely_validated(), marked_where_compressed(), unprinted():
        ours = _package(tmp_path / "ours.mlpackage")
    assert ours == _package(tmp_path / "theirs.mlpackage")


def _program(*, compressed: bool) -> Any:
    """Make a program that adds weights, stored in eight bits or not."""
    from coremltools import target
    from coremltools.converters.mil import Builder

    @Builder.program(input_specs=[Builder.TensorSpec((4, 8))], opset_version=target.iOS16)
    def added(x: Any) -> Any:
        weights: Any = np.ones((4, 8), np.float32)
        if compressed:
            weights = Builder.constexpr_affine_dequantize(
                quantized_data=np.ones((4, 8), np.int8),
                zero_point=np.int8(0),
                scale=np.float32(0.5),
                axis=np.int32(0),
            )
        return Builder.add(x=x, y=weights, name="y")

    return added


@pytest.mark.parametrize("compressed", [True, False])
def test_what_follows_from_compressed_weights_is_marked(*, compressed: bool) -> None:
    program = _program(compressed=compressed)
    block = program.functions["main"]
    (sum_,) = block.find_ops(op_type="add")
    sum_.outputs[0].nonreplaceable_vars_upstream = set()
    with marked_where_compressed(), block:
        pass  # as a pass leaves it
    assert bool(sum_.outputs[0].nonreplaceable_vars_upstream) is compressed


def test_marks_go_with_the_weights() -> None:
    block = _program(compressed=False).functions["main"]
    (sum_,) = block.find_ops(op_type="add")
    sum_.outputs[0].nonreplaceable_vars_upstream = {sum_.outputs[0]}  # of weights that were there
    with marked_where_compressed(), block:
        pass
    assert sum_.outputs[0].nonreplaceable_vars_upstream == set()


def test_a_program_is_text_again_afterwards() -> None:
    program = _program(compressed=False)
    with unprinted():
        assert "add" not in f"{program}"
    assert "add" in f"{program}"


def test_the_thorough_validations_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from coremltools.converters.mil.mil import Program

    validate, asked = Program.validate, list[bool]()

    def count(program: Any, **how: bool) -> None:
        asked.append(how.get("check_essential_scope", False))
        validate(program, **how)

    monkeypatch.setattr(Program, "validate", count)
    _package(tmp_path / "all.mlpackage")
    thorough = asked.count(True)
    assert len(asked) > 3 * thorough > 0
    asked.clear()
    with rarely_validated():
        _package(tmp_path / "rarely.mlpackage")
    assert asked == [True] * thorough
    assert Program.validate is count


class Moved(nn.Module):
    """A linear layer, to which something constant is added on one side or the other."""

    def __init__(self, outputs: int, added: Tensor | float) -> None:
        super().__init__()
        self.layer, self.added = nn.Linear(4, outputs), added

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.layer(x) + self.added) - torch.sigmoid(self.added - self.layer(2 * x))


@pytest.mark.parametrize(
    ("module", "operations"),
    [
        (Moved(1, 0.25), {"add", "linear", "sub"}),
        # Of as many numbers as there are outputs they become the biases.
        (Moved(3, torch.tensor([0.5, 1.0, 2.0])), {"linear", "sub"}),
    ],
)
def test_a_constant_may_be_added_to_a_linear_layer(
    tmp_path: Path, module: nn.Module, operations: set[str]
) -> None:
    import coremltools as ct

    example = torch.linspace(-1, 1, 4)[None]
    with mended_passes():
        made = ct.convert(
            torch.jit.trace(module.eval(), example),
            inputs=[ct.TensorType(name="x", shape=(1, 4))],
            outputs=[ct.TensorType(name="y")],
            convert_to="mlprogram",
            compute_precision=ct.precision.FLOAT32,
            skip_model_load=True,
        )
    made.save(str(tmp_path / "moved.mlpackage"))
    program = load_package(tmp_path / "moved.mlpackage")
    found = {one.type for one in program.functions[program.default_function].body.operations}
    assert found - {"const", "mul", "sigmoid", "tanh"} == operations
    (made_of_it,) = Evaluator(program)(x=example.numpy()).values()
    np.testing.assert_allclose(made_of_it, module(example).detach().numpy(), atol=1e-6)
