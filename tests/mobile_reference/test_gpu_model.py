"""Models on LiteRT's ``CompiledModel``, which a stand-in plays: what it is asked, what its words become."""

import json
import os
import sys
from collections.abc import Callable, Sequence
from enum import IntFlag
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mien.mobile_reference.errors import ModelError, VulkanError
from mien.mobile_reference.run import vulkan as vulkan_module
from mien.mobile_reference.tflite import gpu
from mien.mobile_reference.tflite.gpu import Arithmetic, GPUModel, Placement, has_half_floats
from mien.mobile_reference.tflite.half import HalfModel
from mien.mobile_reference.tflite.litert import LiteRTModel
from tests.benchmarks.tinymodels import compare

ADAPTER = "INFO: Selected adapter: a test, arch=x backend=Vulkan\n"


class Buffer:
    """A tensor of a compiled model, which keeps what is written."""

    def __init__(self, shape: tuple[int, ...], dtype: str) -> None:
        self.shape, self.dtype = shape, dtype
        self.values: NDArray[Any] = np.zeros(shape, dtype)

    def get_tensor_details(self) -> dict[str, Any]:
        return {"shape": self.shape, "dtype": self.dtype}

    def write(self, values: NDArray[Any]) -> None:
        if values.shape != self.shape or values.dtype != np.dtype(self.dtype):
            raise ValueError(f"wrong\nbuffer {values.shape}")
        self.values = values.copy()

    def read(self, count: int, kind: type) -> NDArray[Any]:
        return self.values.ravel()[:count].astype(kind)


class Compiled:
    """Stands in for ``CompiledModel``: computes by LiteRT's own kernels, after ``round_given``."""

    def __init__(self, content: bytes, options: Any, round_given: Callable[[Any], Any]) -> None:
        self.plain, self.options, self.round_given = LiteRTModel(content), options, round_given

    def get_signature_by_index(self, _: int) -> dict[str, Any]:
        # In another order than the file's, as LiteRT may have it.
        return {
            side: list(reversed(names))
            for side, names in zip(("inputs", "outputs"), self.plain.names, strict=True)
        }

    def _order(self) -> int:
        return -1 if hasattr(self.options, "gpu_options") else 1

    def create_input_buffers(self, signature: int) -> list[Buffer]:
        assert signature == 0
        return [Buffer(one.shape, one.dtype) for one in self.plain.inputs][:: self._order()]

    def create_output_buffers(self, signature: int) -> list[Buffer]:
        assert signature == 0
        return [Buffer(one.shape, one.dtype) for one in self.plain.outputs][:: self._order()]

    def run_by_index(self, signature: int, given: Sequence[Buffer], made: Sequence[Buffer]) -> None:
        assert signature == 0
        values = [self.round_given(one.values) for one in given][:: self._order()]
        for buffer, values_ in zip(made, self.plain.run(values)[:: self._order()], strict=True):
            buffer.values = values_

    def is_fully_accelerated(self) -> bool:
        return True


class Units(IntFlag):
    """``HardwareAccelerator``."""

    CPU, GPU = 1, 2


def same(values: Any) -> Any:
    return values


@pytest.fixture
def litert(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Put the stand-in in LiteRT's place; ``words`` are said on standard error, ``refusals`` raised first."""
    plays = SimpleNamespace(words=ADAPTER, refusals=[], round_given=same, asked=[])

    def from_buffer(content: bytes, options: Any) -> Compiled:
        os.write(2, plays.words.encode())
        plays.asked.append(options)
        if plays.refusals:
            raise RuntimeError(plays.refusals.pop(0))
        return Compiled(content, options, plays.round_given)

    names = {
        "compiled_model": {
            "CompiledModel": SimpleNamespace(from_buffer=from_buffer),
            "GpuOptions": SimpleNamespace,
            "HardwareAccelerator": Units,
            "Options": SimpleNamespace,
        },
        "cpu_options": {"CpuOptions": SimpleNamespace},
        "hardware_accelerator": {"HardwareAccelerator": Units},
        "options": {"Options": SimpleNamespace},
    }
    for module, members in names.items():
        made = ModuleType(f"ai_edge_litert.{module}")
        vars(made).update(members)
        monkeypatch.setitem(sys.modules, made.__name__, made)
    monkeypatch.setattr(gpu, "_wait_until_idle", lambda: None)
    return plays


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return compare(tmp_path / "x.tflite")


def inputs(model: Path) -> list[NDArray[Any]]:
    rng = np.random.default_rng(0)
    return [rng.random(one.shape).astype(one.dtype) for one in LiteRTModel(model).inputs]


@pytest.mark.parametrize("arithmetic", Arithmetic)
def test_a_model_on_the_gpu_takes_and_makes_tensors_in_the_order_of_its_file(
    litert: SimpleNamespace, model: Path, arithmetic: Arithmetic
) -> None:
    opened = GPUModel(model, arithmetic)
    given = inputs(model)
    for _ in range(2):
        for found, wanted in zip(opened.run(given), LiteRTModel(model).run(given), strict=True):
            np.testing.assert_array_equal(found, wanted)
    (options,) = litert.asked
    assert options.hardware_accelerators == Units.GPU
    assert options.gpu_options.enforce_f32 is (arithmetic is Arithmetic.FLOAT32)
    assert opened.placement.is_full
    assert opened.placement.device == "a test"
    assert [one.name for one in opened.inputs] == list(LiteRTModel(model).names[0])


def test_bytes_and_files_are_loaded_alike_and_named_in_errors(litert: SimpleNamespace, model: Path) -> None:
    for given, title in ((model, str(model)), (model.read_bytes(), "the model")):
        for opened in (GPUModel(given), HalfModel(given)):
            with pytest.raises(ModelError) as caught:
                opened.run([np.zeros(3, np.int8)] * len(opened.inputs))
            assert str(caught.value).startswith(f"LiteRT cannot run {title}")


def refused(on_gpu: str, which: str, left: int) -> str:
    """Say as the delegate does what it leaves, and why."""
    return (
        "these are not supported by GPU delegate:\nCAST: no\n  CAST: no\nSUM: four axes\n"
        f"{on_gpu} operations will run on the GPU, and {which} {left} operations will run on the CPU."
    )


@pytest.mark.parametrize(("words", "on_gpu"), [(("No", "all", 3), 0), (("2", "the remaining", 1), 2)])
def test_what_the_gpu_refuses_is_left_to_the_processor_and_counted(
    litert: SimpleNamespace, model: Path, words: tuple[str, str, int], on_gpu: int
) -> None:
    litert.refusals = [refused(*words)]
    placement = GPUModel(model).placement
    assert placement == Placement(3, on_gpu, ("CAST: no", "SUM: four axes"), "a test")
    assert not placement.is_full
    assert [one.hardware_accelerators for one in litert.asked] == [Units.GPU, Units.GPU | Units.CPU]


@pytest.mark.parametrize(
    ("refusals", "message"),
    [
        (["first\nlast words"], r"LiteRT cannot load on the GPU .*: last words$"),
        ([refused("No", "all", 3), "a\nworse"], r"LiteRT cannot load on GPU and CPU .*: worse$"),
    ],
)
def test_a_model_that_cannot_be_placed_says_litert_s_last_words(
    litert: SimpleNamespace, model: Path, refusals: list[str], message: str
) -> None:
    litert.refusals = refusals
    with pytest.raises(ModelError, match=message):
        GPUModel(model)


def test_without_a_device_nothing_is_judged(litert: SimpleNamespace, model: Path) -> None:
    litert.words = "INFO: nothing\n"
    with pytest.raises(VulkanError, match="did not say which Vulkan device it took; nothing is judged"):
        GPUModel(model)
    litert.words = f"Warning: no driver\n{gpu._NO_DEVICE}\n"
    with pytest.raises(VulkanError, match="finds no Vulkan device that it can use: no driver"):
        GPUModel(model)


def test_half_floats_are_told_from_float32_by_what_they_round(litert: SimpleNamespace) -> None:
    assert not has_half_floats()
    litert.round_given = lambda values: values.astype(np.float16).astype(np.float32)
    assert has_half_floats()
    assert litert.asked[-1].gpu_options.enforce_f32 is False


def test_a_model_in_half_floats_takes_every_input_in_its_type(litert: SimpleNamespace, model: Path) -> None:
    opened = HalfModel(model, threads=2)
    given = inputs(model)
    for found, wanted in zip(
        opened.run([one.astype(np.float64) for one in given]), LiteRTModel(model).run(given), strict=True
    ):
        np.testing.assert_array_equal(found, wanted)
    assert (litert.asked[-1].cpu_options.num_threads, litert.asked[-1].cpu_options.xnnpack_flags) == (2, 4)
    with pytest.raises(ModelError, match="cannot run"):
        opened.run(given[:-1])


def test_a_model_that_litert_refuses_in_half_floats_says_why(litert: SimpleNamespace, model: Path) -> None:
    litert.refusals = ["no\nkernels"]
    with pytest.raises(ModelError, match=r"LiteRT cannot load .* in half floats: no kernels"):
        HalfModel(model)


def test_what_libraries_say_meanwhile_is_kept_and_what_comes_after_is_not(
    capfd: pytest.CaptureFixture[str],
) -> None:
    def refuse() -> Any:
        os.write(2, b"from inside")
        raise RuntimeError("refused")

    made, said = gpu._with_native_words(refuse)
    os.write(2, b"after")
    assert made is None
    assert said == "from inside\nrefused"
    assert capfd.readouterr().err == "after"


def test_a_process_finds_the_vulkan_that_was_set_up_and_no_other(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / vulkan_module.READY).write_text(json.dumps({vulkan_module.LIBRARIES: []}))
    names = ("VK_DRIVER_FILES", "VK_ICD_FILENAMES", "MESA_SHADER_CACHE_DIR")
    for name in names:
        monkeypatch.setenv(name, "another")
    vulkan_module.SoftwareVulkan(tmp_path, "gpu").find()
    driver = str(tmp_path / vulkan_module.DRIVER)
    assert [os.environ[name] for name in names] == [driver, driver, str(tmp_path / "shaders")]
    (tmp_path / vulkan_module.READY).write_text(json.dumps({vulkan_module.LIBRARIES: ["none.so"]}))
    with pytest.raises(VulkanError, match=r"none\.so does not load"):
        vulkan_module.SoftwareVulkan(tmp_path, "gpu").find()
