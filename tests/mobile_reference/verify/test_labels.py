"""Labels of a user's: the file of them, and what float and every variant are worth by them."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from mien.mobile_reference.bundle.reader import Bundle, open_bundle
from mien.mobile_reference.contract import ANY, RELATIVE, GateSpec, PipelineSpec, StageSpec, TensorSpec
from mien.mobile_reference.errors import UsageError
from mien.mobile_reference.labels import LabelMetric, parsed, read_labels
from mien.mobile_reference.verify.labels import (
    FLOAT,
    LabelReport,
    judge_labels,
    labels_record,
    labels_table,
    wilson,
)
from tests.mobile_reference.fakebundles import VARIANTS, Arrays, write_bundle

SPEC = PipelineSpec(
    name="classes",
    tensors=(
        TensorSpec("signal", (1, 4), "float32", 1, "of a test"),
        TensorSpec("logits", (1, 4), "float32", 1, "of a test"),
    ),
    stages=(StageSpec("same", ("signal",), ("logits",)),),
    gates=(GateSpec("logits", RELATIVE, {ANY: 1.0}),),
)


def right(output: Any, label: int, _: TensorSpec) -> list[float]:
    return [float(np.nanargmax(output) == label)]


def share(sums: Any, count: int) -> Any:
    return sums[..., 0] / count


RIGHT = LabelMetric("accuracy", "logits", lambda text, *_: int(text), right, share, share=True)


@dataclass(frozen=True)
class One:
    """An input."""

    name: str
    tensors: Arrays


@dataclass(frozen=True)
class Given:
    """Inputs with labels: of each the class that float finds, but for the ``wrong`` first ones."""

    metric: LabelMetric = RIGHT
    wrong: int = 5

    @property
    def classes(self) -> list[int]:
        return [place % 4 for place in range(20)]

    @property
    def labels(self) -> list[int]:
        return [(one + (place < self.wrong)) % 4 for place, one in enumerate(self.classes)]

    @property
    def files(self) -> list[str]:
        return [f"{place:064}" for place in range(20)]

    def samples(self) -> Iterator[One]:
        for place, one in enumerate(self.classes):
            signal = np.eye(4, dtype=np.float32)[[one]]
            yield One(str(place), {"signal": signal, "logits": signal})


@pytest.fixture
def bundle(tmp_path: Path, stand_in: Any) -> Bundle:
    """A bundle whose float16 TFLite variant is wrong about class 3."""

    def disturb(variant: str, _: str, outputs: Arrays) -> Arrays:
        if variant != "tflite-fp16":
            return outputs
        return {"logits": np.roll(outputs["logits"], int(outputs["logits"].argmax() == 3))}

    signal = np.zeros((1, 4), np.float32)
    write_bundle(tmp_path / "bundle", SPEC, {"signal": signal, "logits": signal})
    stand_in(functions={"same": lambda signal: signal}, disturb=disturb)
    return open_bundle(tmp_path / "bundle")


def judged(bundle: Bundle, given: Given) -> LabelReport:
    return judge_labels(bundle, given, lambda _: None)


def test_float_and_every_variant_are_judged_with_intervals(bundle: Bundle) -> None:
    report = judged(bundle, Given())
    found = {one.name: one for one in report.figures}
    assert list(found) == [FLOAT, *VARIANTS]
    assert [found[name].value for name in (FLOAT, "tflite-fp32", "coreml-fp16")] == [0.75] * 3
    assert found["tflite-fp32"].change_interval == (0, 0)
    half = found["tflite-fp16"]
    # Float is wrong about the first five. Of the five of class 3 it is right about four, which the variant
    # takes for class 0, as the one is labelled that float is wrong about.
    assert half.value == 0.6
    assert half.change == pytest.approx(-0.15)
    assert half.interval == wilson(0.6, 20)
    assert -0.5 < half.change_interval[0] < -0.15 < half.change_interval[1] < 0.1


def test_the_same_inputs_give_the_same_intervals(bundle: Bundle) -> None:
    given = Given(replace(RIGHT, share=False))
    assert judged(bundle, given) == judged(bundle, given)


def test_inputs_that_gave_ranges_are_told(bundle: Bundle) -> None:
    bundle.manifest["provenance"]["calibration"]["images"] = [Given().files[3]]
    report = judged(bundle, Given())
    assert report.gave_ranges == 1
    with (console := Console(width=80)).capture() as text:
        console.print(labels_table(report))
    assert "1 of these inputs gave the bundle its ranges" in text.get()
    heading = next(line for line in text.get().splitlines() if "variant" in line)
    assert heading.split() == ["variant", "accuracy", "from", "to", "against", "float", "from", "to"]
    assert max(map(len, text.get().splitlines())) <= 80


def test_what_is_not_a_number_is_said_so(bundle: Bundle) -> None:
    nothing = LabelMetric("nothing", "logits", lambda text, *_: text, lambda *_: [np.nan], RIGHT.figure)
    report = judged(bundle, Given(nothing))
    record = labels_record(report)
    json.dumps(record, allow_nan=False)
    assert {one["value"] for one in record["figures"]} == {None}
    with (console := Console(width=80)).capture() as text:
        console.print(labels_table(report))
    assert "NaN" in text.get()


def test_a_tensor_that_no_model_of_an_app_makes_is_refused(bundle: Bundle) -> None:
    with pytest.raises(UsageError, match="models make logits, accuracy of signal needs signal"):
        judged(bundle, Given(replace(RIGHT, tensor="signal")))


@pytest.mark.parametrize(
    ("share", "count", "ends"),
    # By hand from Wilson's formula; the first as in Newcombe (1998), table I: 81 of 263.
    [(81 / 263, 263, (0.2553, 0.3662)), (0.0, 20, (0.0, 0.1611)), (1.0, 20, (0.8389, 1.0))],
)
def test_wilsons_interval(share: float, count: int, ends: tuple[float, float]) -> None:
    assert wilson(share, count) == pytest.approx(ends, abs=5e-5)


def test_a_file_of_labels_is_read(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).touch()
    (tmp_path / "labels.csv").write_text("\ufeffmore,label,file\nx,3, a\ny,1,b\n", encoding="utf-8")
    rows = read_labels(tmp_path / "labels.csv")
    assert [(row.line, row.file, row.label) for row in rows] == [
        (2, tmp_path / "a", "3"),
        (3, tmp_path / "b", "1"),
    ]
    assert parsed(rows, tmp_path / "labels.csv", RIGHT, SPEC.tensors[1]) == (3, 1)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has the columns none, it needs file, label"),
        ("file,lable\na,1\n", "has the columns file, lable, it needs file, label"),
        ("file,label\na,1\nb,\n", "line 3: file, label must be filled"),
        ("file,label\na,1\nc,1\n", "line 3: there is no file c"),
        ("file,label\na,1\na,2\n", r"line 3: a is labelled again \(line 2\)"),
        ("file,label\na,1\n", "labels 1 inputs, at least 2"),
        ("file,label\na,1\nb\x00,2\n", "labels.csv"),
        (b"file,label\n\xff,1\n", "not a CSV file|cannot be read as a CSV file"),
    ],
)
def test_a_file_of_labels_that_cannot_be_used_is_refused(
    tmp_path: Path, text: str | bytes, said: str
) -> None:
    for name in "ab":
        (tmp_path / name).touch()
    file = tmp_path / "labels.csv"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UsageError, match=said) as raised:
        read_labels(file)
    assert "\n" not in str(raised.value)


def test_a_label_that_is_none_is_refused_with_its_line(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).touch()
    file = tmp_path / "labels.csv"
    file.write_text("file,label\na,1\nb,nan\n")
    with pytest.raises(UsageError, match=r"labels\.csv, line 3: .*nan"):
        parsed(read_labels(file), file, RIGHT, SPEC.tensors[1])


def test_a_pipe_in_the_place_of_labels_is_refused() -> None:
    with pytest.raises(UsageError, match="it is not a file"):
        read_labels(Path("/dev/null"))


def test_an_input_of_another_shape_is_refused(bundle: Bundle) -> None:
    class Odd(Given):
        def samples(self) -> Iterator[One]:
            wide = np.zeros((1, 5), np.float32)
            yield from (One(one.name, {"signal": wide, "logits": wide}) for one in super().samples())

    with pytest.raises(UsageError, match=r"0 gives signal of shape \[1, 5\] of float32"):
        judged(bundle, Odd())
