"""The C of the phone's runner leaves out what the reference runner does, and fills the same bytes."""

import ctypes
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mien.mobile_reference.contract import PipelineSpec, SkipSpec, StageSpec, TensorSpec
from mien.mobile_reference.run.early_exit import outputs_without

RUNNER = Path(__file__).parents[3] / "benchmarks/phone/runner"
KINDS = ("uint8", "int32", "float32")


class Tensor(ctypes.Structure):
    """A tensor as ``common.h`` has it."""

    _fields_ = (("name", ctypes.c_char_p), ("bytes", ctypes.c_size_t), ("values", ctypes.c_void_p))

    @classmethod
    def of(cls, array: NDArray[Any]) -> "Tensor":
        """Take the memory of an array."""
        return cls(b"a tensor", array.nbytes, array.ctypes.data)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Any:
    if not (compiler := shutil.which("gcc")):
        pytest.skip("there is no gcc to compile benchmarks/phone/runner/early_exit.c with")
    made = tmp_path_factory.mktemp("library") / "early_exit.so"
    sources = [RUNNER / "early_exit.c", RUNNER / "common.c"]
    flags = ["-O2", "-std=c17", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    subprocess.run([compiler, *flags, *sources, "-o", made], check=True)
    loaded = ctypes.CDLL(str(made))
    loaded.fill_with_number.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_double]
    return loaded


def reference(kind: str, value: float | str, known: dict[str, NDArray[Any]]) -> NDArray[Any] | None:
    """What the reference runner makes of a stage that is left out."""
    tensors = (TensorSpec("zero", (1, 6), kind, 1, ""), TensorSpec("made", (1, 6), kind, 1, ""))
    stage = StageSpec("stage", ("zero",), ("made",), SkipSpec("zero", {"made": value}))
    found = outputs_without(stage, PipelineSpec("of a test", tensors, (stage,), ()), known)
    return None if found is None else found["made"]


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        *((kind, value) for kind in KINDS for value in (0, 1)),
        ("int32", -1),
        ("int32", 1 << 30),
        ("uint8", 255),
        *(("float32", value) for value in (-0.0, 1e-45, -1e-45, np.nan, np.inf, -1.5)),
    ],
)
@pytest.mark.parametrize("place", [0, 5])
def test_the_same_tensors_are_zero(library: Any, kind: str, value: float, place: int) -> None:
    array = np.zeros((1, 6), kind)
    array[0, place] = value
    expected = reference(kind, 0, {"zero": array}) is not None
    assert bool(library.is_zero(ctypes.byref(Tensor.of(array)), KINDS.index(kind))) == expected
    assert library.kind_named(kind.encode()) == KINDS.index(kind)


@pytest.mark.parametrize(
    ("kind", "number"),
    [
        ("uint8", 255),
        ("int32", -(1 << 31)),
        ("int32", 7),
        ("float32", 0.1),
        ("float32", 0),
        ("float32", -3e38),
    ],
)
def test_a_number_fills_the_same_bytes(library: Any, kind: str, number: float) -> None:
    array = np.full((1, 6), 9, kind)
    library.fill_with_number(ctypes.byref(Tensor.of(array)), KINDS.index(kind), number)
    expected = reference(kind, number, {"zero": np.zeros((1, 6), kind)})
    assert expected is not None
    assert array.tobytes() == expected.tobytes()


@pytest.mark.parametrize(
    ("kind", "source"), [*((kind, kind) for kind in KINDS), ("int32", "uint8"), ("float32", "uint8")]
)
def test_another_tensor_fills_the_same_bytes(library: Any, kind: str, source: str) -> None:
    given = np.array([[0, 1, 2, 127, 128, 255]], source)
    array = np.full((1, 6), 9, kind)
    library.fill_with_tensor(
        ctypes.byref(Tensor.of(array)), KINDS.index(kind), ctypes.byref(Tensor.of(given))
    )
    expected = reference(kind, "given", {"zero": np.zeros((1, 6), kind), "given": given})
    assert expected is not None
    assert array.tobytes() == expected.tobytes()
