"""Runs models for the stand-ins of Android and Core ML: tensors come in and go out by two named pipes.

    python -m tests.benchmarks.apps.model_server FOLDER ROOT

A question is a line of JSON and as many bytes as its ``sizes`` say; an answer likewise. They come by
``FOLDER/questions`` and go by ``FOLDER/answers``; paths in questions lie below ``ROOT``. TFLite models are
run by LiteRT, their tensors found by the names of the signature as on a phone, Core ML packages by mien's
evaluator. A run that was asked for before has the answer of before. The process ends when the questions do.
"""

import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray
from PIL import Image

from mien.benchmarks.model_names import SIGNATURE
from mien.mobile_reference.coreml import Evaluator, load_package
from mien.mobile_reference.run.threads import computing_threads

Header = dict[str, Any]
Answer = tuple[Header, Sequence[bytes]]


class Served(Protocol):
    """A model that was loaded."""

    def about(self) -> Header:
        """Say what whoever loaded it is told."""
        ...

    def run(self, question: Header, given: Mapping[str, bytes]) -> Answer:
        """Run it on tensors by name."""
        ...


class ServedTFLite:
    """A TFLite file by the tensors of its signature."""

    def __init__(self, content: bytes) -> None:
        self._runner = Interpreter(model_content=content, num_threads=1).get_signature_runner(SIGNATURE)
        self._inputs, self._outputs = self._runner.get_input_details(), self._runner.get_output_details()

    def about(self) -> Header:
        """Say how many bytes each tensor has."""
        return {"inputs": _sizes(self._inputs), "outputs": _sizes(self._outputs)}

    def run(self, question: Header, given: Mapping[str, bytes]) -> Answer:
        """Run the signature."""
        if question["signature"] != SIGNATURE:
            raise ValueError(f"there is no signature {question['signature']}")
        details = self._inputs
        arrays = {
            name: np.frombuffer(part, details[name]["dtype"]).reshape(details[name]["shape"])
            for name, part in given.items()
        }
        made = self._runner(**arrays)
        return {}, [made[name].tobytes() for name in question["wanted"]]


class ServedCoreML:
    """A Core ML package; pictures come as the bytes of a pixel buffer."""

    def __init__(self, package: Path) -> None:
        with computing_threads(1):
            self._evaluator = Evaluator(load_package(package))

    def about(self) -> Header:
        """Say nothing: who runs a package knows its tensors."""
        return {}

    def run(self, question: Header, given: Mapping[str, bytes]) -> Answer:
        """Evaluate the package."""
        forms = dict(zip(question["given"], question["forms"], strict=True))
        arrays = {name: _array(part, **forms[name]) for name, part in given.items()}
        with computing_threads(1):
            made = self._evaluator(state=None, **arrays)
        found = {name: np.ascontiguousarray(array) for name, array in made.items()}
        about = {
            "made": list(found),
            "shapes": [list(array.shape) for array in found.values()],
            "kinds": [array.dtype.name for array in found.values()],
        }
        return about, [array.tobytes() for array in found.values()]


_COLOURS = {"bgra": [2, 1, 0], "grey": [0]}
"""Where red, green and blue, or grey, lie in a pixel of a pixel buffer."""


def _array(part: bytes, form: str, shape: list[int]) -> NDArray[Any]:
    """Take the array of a multi-array, or of a pixel buffer the picture [H, W, 3] or [H, W]."""
    if form not in _COLOURS:
        return np.frombuffer(part, form).reshape(shape)
    pixels = np.frombuffer(part, np.uint8).reshape(*shape, -1)[..., _COLOURS[form]]
    return pixels[..., 0] if form == "grey" else pixels


def _sizes(details: Mapping[str, Any]) -> dict[str, int]:
    return {
        name: int(np.prod(one["shape"]) * np.dtype(one["dtype"]).itemsize) for name, one in details.items()
    }


class Server:
    """Answers questions about models, which it keeps as long as it lives."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._models: list[Served] = []
        self._answers: dict[bytes, Answer] = {}

    def answer(self, question: Header, parts: list[bytes]) -> Answer:
        """Load or run a model, or decode or hash a file for a platform whose libraries would."""
        if "decode" in question:
            with Image.open(self._root / question["decode"].lstrip("/")) as image:
                return {"size": image.size}, [image.convert("RGBA").tobytes()]
        if "sha256" in question:
            return {}, [hashlib.sha256(parts[0]).digest()]
        if "load" in question:
            loaders: Mapping[str, Callable[[], Served]] = {
                "tflite": lambda: ServedTFLite(parts[0]),
                "coreml": lambda: ServedCoreML(self._root / question["path"].lstrip("/")),
            }
            self._models.append(loaders[question["load"]]())
            return {"model": len(self._models) - 1, **self._models[-1].about()}, ()
        asked = hashlib.sha256(b"".join((json.dumps(question).encode(), *parts))).digest()
        if asked not in self._answers:
            given = dict(zip(question["given"], parts, strict=True))
            self._answers[asked] = self._models[question["run"]].run(question, given)
        return self._answers[asked]


def _asked(stream: BinaryIO) -> Iterator[tuple[Header, list[bytes]]]:
    for line in iter(stream.readline, b""):
        question = json.loads(line)
        yield question, [stream.read(size) for size in question["sizes"]]


def serve(folder: Path, root: Path) -> None:
    """Answer until the questions end; what fails is answered by the words of its error."""
    server = Server(root)
    with (folder / "questions").open("rb") as questions, (folder / "answers").open("wb") as answers:
        for question, parts in _asked(questions):
            try:
                header, made = server.answer(question, parts)
            except Exception as error:  # whatever it is, the one who asked is told
                header, made = {"error": f"{type(error).__name__}: {error}"}, ()
            answers.write(json.dumps({**header, "sizes": [len(one) for one in made]}).encode() + b"\n")
            answers.writelines(made)
            answers.flush()


if __name__ == "__main__":
    serve(Path(sys.argv[1]), Path(sys.argv[2]))
