"""A user's ONNX file gets the contract's names, whatever its own tensors are called."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F

from mien.export.component import Component
from mien.export.tflite.converters.onnx_graph import to_onnx
from mien.mobile_reference.contract import TensorSpec
from mien.models.onnx_module import open_onnx

GIVEN = {"first": np.float32([[3, 5]]), "second": np.float32([[2, 7]])}


def written(file: Path) -> Path:
    """Write what subtracts its second input from its first and doubles that."""

    def ends(*names: str) -> list[onnx.ValueInfoProto]:
        return [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 2]) for name in names]

    nodes = [onnx.helper.make_node("Sub", ["a", "b"], ["c"]), onnx.helper.make_node("Mul", ["c", "w"], ["y"])]
    stored = [onnx.numpy_helper.from_array(np.float32(2), "w")]
    graph = onnx.helper.make_graph(nodes, "own", ends("a", "b"), ends("y"), stored)
    onnx.save(
        onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8), file
    )
    return file


@pytest.mark.parametrize(
    ("first", "second", "made"),
    [("a", "b", "y"), ("b", "a", "y"), ("c", "w", "a"), ("y", "x", "c")],
)
def test_names_may_be_those_of_other_tensors(tmp_path: Path, first: str, second: str, made: str) -> None:
    own = written(tmp_path / "own.onnx")
    tensors = {name: TensorSpec(name, (1, 2), "float32", 1, "") for name in (first, second, made)}
    module = open_onnx(own)
    to_onnx(
        Component("own", module, (first, second), (made,), quantise=True, tensors=tensors, onnx=own),
        tmp_path / "stated.onnx",
    )
    session = onnxruntime.InferenceSession(str(tmp_path / "stated.onnx"))
    found = session.run([made], {first: GIVEN["first"], second: GIVEN["second"]})
    np.testing.assert_array_equal(found[0], [[2, -4]])


class ByShapes(torch.nn.Module):
    """Pads to an even number of columns, and weighs by how many there are."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows, columns = x.shape
        padded = F.pad(x, (0, columns % 2, 0, x.size(0) % 2))
        return padded.reshape(-1, x.numel() // columns + 1) * (columns / rows)


class ByValues(torch.nn.Module):
    """Weighs by what it reads."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * x.amax(dim=1, keepdim=True)


def operations(
    module: torch.nn.Module, shape: tuple[int, int], made: tuple[int, int], file: Path
) -> set[str]:
    """Write a module as ONNX, hold what it computes against PyTorch, and name its operations."""
    tensors = {n: TensorSpec(n, s, "float32", 1, "") for n, s in (("x", shape), ("y", made))}
    to_onnx(Component("own", module, ("x",), ("y",), quantise=True, tensors=tensors), file)
    given = np.arange(1, 1 + np.prod(shape), dtype=np.float32).reshape(shape)
    found = onnxruntime.InferenceSession(str(file)).run(["y"], {"x": given})
    np.testing.assert_array_equal(found[0], module(torch.from_numpy(given)).numpy())
    return {node.op_type for node in onnx.load(str(file)).graph.node}


def test_what_is_computed_of_shapes_is_no_operation(tmp_path: Path) -> None:
    found = operations(ByShapes(), (3, 5), (6, 4), tmp_path / "shapes.onnx")
    assert found.isdisjoint({"Shape", "Gather", "Div", "Mod", "Add", "Sub"})


def test_what_is_computed_of_values_stays(tmp_path: Path) -> None:
    assert {"ReduceMax", "Mul"} <= operations(ByValues(), (2, 3), (2, 3), tmp_path / "values.onnx")
