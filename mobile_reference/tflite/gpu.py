"""A TFLite model on LiteRT's GPU delegate: what it takes of the graph, and what its shaders compute.

The delegate is Google's own, out of LiteRT's wheel for Linux; its shaders run on the Vulkan that this process
finds. It says on standard error what it refuses and why, and nowhere else.
"""

import os
import re
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import reduce
from operator import or_
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from mien.mobile_reference.errors import ModelError, UsageError, VulkanError

from .flatbuffer import parse, serialise
from .litert import LiteRTTensor
from .model_file import running_operators

if TYPE_CHECKING:
    from ai_edge_litert.compiled_model import CompiledModel

_STANDARD_ERROR = 2
_PAUSE_S, _IDLE = 0.5, 0.02
_NO_DEVICE = "No adapters found"
_REFUSED = re.compile(
    r"not supported by GPU delegate:\n(?P<why>.*?)\n"
    r"(?P<on_gpu>\d+|No) operations will run on the GPU, and (the remaining|all) (?P<left>\d+) operations",
    re.S,
)
_DEVICE = re.compile(r"Selected adapter: (.*?), arch=.*backend=Vulkan")
_WARNING = re.compile(r"^Warning: (.*)$", re.M)


class Arithmetic(Enum):
    """What shaders compute in: float32, or half floats where the device has them, as phones do by default."""

    FLOAT32 = "float32"
    HALF = "half floats"


@dataclass(frozen=True)
class Placement:
    """Where a model runs: ``on_gpu`` of its ``operations`` on the GPU, in shaders on ``device``.

    ``refused`` says in the delegate's words what it does not take, and why. Operations that are done once,
    when the model is loaded, do not count where it takes all.
    """

    operations: int
    on_gpu: int
    refused: tuple[str, ...]
    device: str

    @property
    def is_full(self) -> bool:
        """Tell whether the GPU runs the whole model."""
        return self.on_gpu == self.operations


class GPUModel:
    """A TFLite file on the GPU delegate; what that leaves runs on the CPU, and ``placement`` says what.

    Raises:
        VulkanError: there is no Vulkan, or it lacks what the delegate needs.
        ModelError: LiteRT cannot load the model, or left operations to the CPU and did not say which.
    """

    def __init__(self, model: Path | bytes, arithmetic: Arithmetic = Arithmetic.FLOAT32) -> None:
        self._title = "the model" if isinstance(model, bytes) else str(model)
        self._content = model if isinstance(model, bytes) else model.read_bytes()
        self._model, self.placement = self._placed(arithmetic)
        self._compiled_shaders = False
        names = _names_by_position(self._content)
        signature = self._model.get_signature_by_index(0)
        self._given, self._made = (
            dict(zip(signature[side], make(0), strict=True))
            for side, make in (
                ("inputs", self._model.create_input_buffers),
                ("outputs", self._model.create_output_buffers),
            )
        )
        self.inputs, self.outputs = (
            tuple(_tensor(name, place, buffers[name]) for place, name in enumerate(side))
            for side, buffers in zip(names, (self._given, self._made), strict=True)
        )
        self._order = tuple(signature["inputs"]), tuple(signature["outputs"])

    def run(self, inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        """Run once, inputs and outputs in the file's order.

        Raises:
            ModelError: LiteRT refuses an input, or cannot compute.
        """
        given, made = self._order
        try:
            for tensor, value in zip(self.inputs, inputs, strict=True):
                self._given[tensor.name].write(value)
            for (
                tensor
            ) in self.outputs:  # what is not written must not be taken for a result of the run before
                self._made[tensor.name].write(_poison(tensor))
            self._model.run_by_index(0, [self._given[n] for n in given], [self._made[n] for n in made])
            if not self._compiled_shaders:
                _wait_until_idle()
                self._compiled_shaders = True
            return [self._read(tensor) for tensor in self.outputs]
        except (RuntimeError, ValueError) as error:
            raise self._failed("run", error) from error

    def _read(self, tensor: LiteRTTensor) -> NDArray[Any]:
        values = self._made[tensor.name].read(int(np.prod(tensor.shape)), np.dtype(tensor.dtype).type)
        return np.asarray(values).reshape(tensor.shape)

    def _placed(self, arithmetic: Arithmetic) -> "tuple[CompiledModel, Placement]":
        """Compile for the GPU alone; where LiteRT refuses, since something is left, with the CPU's help."""
        compiled, words = self._compiled(("GPU",), arithmetic)
        if compiled is not None:
            if not compiled.is_fully_accelerated():
                raise ModelError(f"LiteRT left operations of {self._title} to the CPU without naming them")
            count = len(running_operators(self._content))
            return compiled, Placement(count, count, (), _device(words))
        refused = _REFUSED.search(words)
        if refused is None:
            raise self._failed("load on the GPU", words.strip().rpartition("\n")[2] or "it said nothing")
        helped, words = self._compiled(("GPU", "CPU"), arithmetic)
        if helped is None:
            raise self._failed("load on GPU and CPU", words.strip().rpartition("\n")[2])
        on_gpu = int(refused["on_gpu"].replace("No", "0"))
        left = int(refused["left"])
        reasons = tuple(dict.fromkeys(line.strip() for line in refused["why"].splitlines()))
        return helped, Placement(on_gpu + left, on_gpu, reasons, _device(words))

    def _compiled(self, units: Sequence[str], arithmetic: Arithmetic) -> "tuple[CompiledModel | None, str]":
        """Compile the model; returns none where LiteRT refuses, and all it said.

        Raises:
            VulkanError: no device could be opened.
            UsageError: this version of LiteRT has no options for a GPU.
        """
        # The least LiteRT that is allowed has no options for a GPU, and runs everything else.
        try:
            from ai_edge_litert.compiled_model import CompiledModel, GpuOptions, HardwareAccelerator, Options
        except ImportError as error:
            raise UsageError(f"this LiteRT cannot be asked for its GPU ({error}); install 2.3") from error
        where = reduce(or_, (HardwareAccelerator[unit] for unit in units))
        options = Options(
            hardware_accelerators=where,
            gpu_options=GpuOptions(enforce_f32=arithmetic is Arithmetic.FLOAT32),
        )
        compiled, words = _with_native_words(
            lambda: CompiledModel.from_buffer(self._content, options=options)
        )
        if _NO_DEVICE in words:
            said = " ".join(_WARNING.findall(words)[:1]) or _NO_DEVICE
            raise VulkanError(f"LiteRT finds no Vulkan device that it can use: {said:.300}")
        return compiled, words

    def _failed(self, what: str, error: object) -> ModelError:
        reason = " ".join(str(error).split())
        return ModelError(f"LiteRT cannot {what} {self._title}: {reason:.500}")


def _wait_until_idle() -> None:
    """Wait while this process computes: software Vulkan may compile shaders for longer than LiteRT waits."""
    while True:
        before = time.process_time()
        time.sleep(_PAUSE_S)
        if time.process_time() - before < _IDLE * _PAUSE_S:
            return


def _with_native_words(make: "Callable[[], CompiledModel]") -> "tuple[CompiledModel | None, str]":
    """Call ``make``, and return what it made, none where it raised, and what libraries said meanwhile."""
    kept = os.dup(_STANDARD_ERROR)
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), _STANDARD_ERROR)
        made, reason = None, ""
        try:
            made = make()
        except RuntimeError as error:
            reason = f"\n{error}"
        finally:
            os.dup2(kept, _STANDARD_ERROR)
            os.close(kept)
        said.seek(0)
        return made, said.read().decode(errors="replace") + reason


def _device(words: str) -> str:
    """Return the device that LiteRT says it took.

    Raises:
        VulkanError: it says none, so nothing shows that a shader ran.
    """
    found = _DEVICE.search(words)
    if found is None:
        raise VulkanError("LiteRT's GPU delegate did not say which Vulkan device it took; nothing is judged")
    return found.group(1)


def _names_by_position(content: bytes) -> tuple[list[str], list[str]]:
    """Return the names of inputs and of outputs by which LiteRT calls them, in the order of positions."""
    parsed = parse(content)
    graph = parsed.subgraphs[0]
    names = {index: tensor.name.decode() for index, tensor in enumerate(graph.tensors)}
    inputs, outputs = dict(names), dict(names)
    for signature in (parsed.signatureDefs or [])[:1]:
        inputs |= {entry.tensorIndex: entry.name.decode() for entry in signature.inputs}
        outputs |= {entry.tensorIndex: entry.name.decode() for entry in signature.outputs}
    return [inputs[int(i)] for i in graph.inputs], [outputs[int(i)] for i in graph.outputs]


def _tensor(name: str, place: int, buffer: Any) -> LiteRTTensor:
    details: Mapping[str, Any] = buffer.get_tensor_details()
    return LiteRTTensor(name, place, tuple(map(int, details["shape"])), str(details["dtype"]), 0.0, 0)


def _poison(tensor: LiteRTTensor) -> NDArray[Any]:
    dtype = np.dtype(tensor.dtype)
    return np.full(tensor.shape, np.nan if dtype.kind == "f" else 0, dtype)


def has_half_floats() -> bool:
    """Tell whether the device computes in half floats: 1 + 2^-13 through a RELU becomes 1.

    Where it has none, the delegate takes float32 and says nothing.

    Raises:
        VulkanError: there is no Vulkan, or it lacks what the delegate needs.
    """
    given = np.full((1, 1, 1, 4), 1 + 2**-13, np.float32)
    (made,) = GPUModel(_relu(), Arithmetic.HALF).run([given])
    return bool((made == 1).all())


def _relu() -> bytes:
    """Return a TFLite model of one RELU over four values."""
    kind, shape = schema.TensorType.FLOAT32, [1, 1, 1, 4]
    names = (b"x", b"y")
    graph = schema.SubGraphT(
        name=b"main",
        tensors=[schema.TensorT(name=name, type=kind, shape=shape, buffer=0) for name in names],
        inputs=[0],
        outputs=[1],
        operators=[schema.OperatorT(opcodeIndex=0, inputs=[0], outputs=[1])],
    )
    relu = schema.BuiltinOperator.RELU
    code = schema.OperatorCodeT(builtinCode=relu, deprecatedBuiltinCode=relu, version=1)
    model = schema.ModelT(
        version=3, operatorCodes=[code], subgraphs=[graph], buffers=[schema.BufferT()], description=b"probe"
    )
    return serialise(model)
