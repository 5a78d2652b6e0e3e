"""Metrics by labels: accuracy, mean IoU, and a function of the user's."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from mien.mobile_reference.contract import PICTURE, TensorSpec
from mien.mobile_reference.errors import UsageError
from mien.mobile_reference.labels import LabelMetric, Row
from mien.models.errors import InputError, PipelineError
from mien.models.label_metrics import accuracy, mean_iou, metric_of_labels, scored_by
from mien.models.sources import open_pipeline

NAN = float("nan")


def tensor(*shape: int, dtype: str = "float32", layout: str = "any") -> TensorSpec:
    return TensorSpec("made", shape, dtype, 1, "", layout)


def figure(metric: LabelMetric, of: TensorSpec, outputs: list[NDArray], labels: list[object]) -> float:
    rows = [metric.measure(output, label, of) for output, label in zip(outputs, labels, strict=True)]
    return float(metric.figure(np.sum(rows, axis=0, dtype=np.float64), len(rows)))


def test_accuracy_counts_the_largest_value() -> None:
    made = [np.float32([row]) for row in ([0, 2, 1], [5, 2, 1], [NAN, 2, 1], [0, 1, 2])]
    assert figure(accuracy("made"), tensor(1, 3), made, [1, 1, 1, 2]) == 0.5


def test_a_class_counts_as_it_is() -> None:
    of = tensor(1, dtype="int32")
    assert figure(accuracy("made"), of, [np.int32([4]), np.int32([7])], [4, 6]) == 0.5
    assert accuracy("made").read("1200", Path(), of) == 1200


@pytest.mark.parametrize("text", ["3", "-1", "1.5", "nan", "cat", "²"])
def test_a_label_that_is_no_class_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a class of made, 0\.\.2"):
        accuracy("made").read(text, Path(), tensor(1, 3))


@pytest.mark.parametrize("of", [tensor(1), tensor(1, 3, 4), tensor(1, 3, dtype="int32")])
def test_accuracy_of_what_has_no_classes_is_refused(of: TensorSpec) -> None:
    with pytest.raises(ValueError, match="give another metric"):
        accuracy("made").read("1", Path(), of)


def write(file: Path, values: NDArray[np.uint8]) -> str:
    Image.fromarray(values).save(file)
    return file.name


@pytest.mark.parametrize(
    "of", [tensor(1, 3, 5, 4), tensor(1, 5, 4, 3, layout=PICTURE), tensor(1, 5, 4, dtype="int32")]
)
def test_mean_iou_is_that_of_the_classes_that_are_seen(tmp_path: Path, of: TensorSpec) -> None:
    rng = np.random.default_rng(0)
    metric, outputs, labels, true, found = mean_iou("made"), [], [], [], []
    for place in range(4):
        classes, label = rng.integers(0, 2, (2, 5, 4))
        label[0, :2] = 255
        true.append(label[label != 255])
        found.append(classes[label != 255])
        scores = np.eye(3, dtype=np.float32)[classes]
        by_layout = {PICTURE: scores[None], "any": scores.transpose(2, 0, 1)[None]}
        outputs.append(by_layout[of.layout] if of.dtype == "float32" else classes[None].astype(np.int32))
        labels.append(metric.read(write(tmp_path / f"{place}.png", label.astype(np.uint8)), tmp_path, of))
    one, two = np.concatenate(true), np.concatenate(found)
    by_class = [((one == c) & (two == c)).sum() / ((one == c) | (two == c)).sum() for c in (0, 1)]
    assert figure(metric, of, outputs, labels) == pytest.approx(np.mean(by_class))


def test_a_mask_has_two_classes(tmp_path: Path) -> None:
    metric, of = mean_iou("made"), tensor(1, 1, 2, 2)
    mask = np.float32([[[[0.9, 0.6], [0.5, NAN]]]])
    label = metric.read(write(tmp_path / "a.png", np.uint8([[255, 0], [0, 1]])), tmp_path, of)
    # Class 1: one of three, as what is not a number is of no class. Class 0: one of two.
    assert figure(metric, of, [mask], [label]) == pytest.approx((1 / 3 + 1 / 2) / 2)


def test_maps_that_cannot_be_labels_are_refused(tmp_path: Path) -> None:
    metric, of = mean_iou("made"), tensor(1, 3, 2, 2)
    write(tmp_path / "class.png", np.uint8([[0, 1], [2, 3]]))
    write(tmp_path / "size.png", np.uint8([[0, 1]]))
    write(tmp_path / "colour.png", np.zeros((2, 2, 3), np.uint8))
    (tmp_path / "cut.png").write_bytes((tmp_path / "class.png").read_bytes()[:40])
    for name, said in {
        "class.png": r"has class 3, made has 0\.\.2",
        "size.png": "it is 2x1 of mode L, expected 2x2",
        "colour.png": "mode RGB, expected 2x2 of 8-bit grey",
        "cut.png": "cannot be used",
        "none.png": "it is not a file",
    }.items():
        with pytest.raises(ValueError, match=said):
            metric.read(name, tmp_path, of)
    with pytest.raises(ValueError, match="mean IoU judges maps"):
        metric.read("class.png", tmp_path, tensor(1, 3))


def test_a_function_is_given_the_label_as_it_stands() -> None:
    def off(output: NDArray[np.float64], label: str) -> float:
        return abs(output.item() - float(label))

    metric = scored_by("made", off)
    assert metric.title == "off of made"
    labels = [metric.read(text, Path(), tensor(1)) for text in ("2", "2.5")]
    assert figure(metric, tensor(1), [np.float32([1]), np.float32([3])], labels) == 0.75
    with pytest.raises(PipelineError, match="off of made raised ValueError: could not convert string"):
        figure(metric, tensor(1), [np.float32([1])], ["much"])
    with pytest.raises(PipelineError, match="give a function that has a name"):
        scored_by("made", lambda *_: 0.0)


def rows(*labels: str) -> list[Row]:
    return [Row(line, Path("input.npz"), label) for line, label in enumerate(labels, 2)]


@pytest.mark.parametrize(
    ("labels", "outputs", "title"),
    [
        (("1", "0"), [tensor(1, 3, 5, 4), tensor(1, 3)], "accuracy of made"),
        (("a.png", "b.PNG"), [tensor(1, 3, 5, 4)], "mean IoU of made"),
        # What stands there may be wrong, and is told where it is read.
        (("1", "cat"), [tensor(1, dtype="int32")], "accuracy of made"),
    ],
)
def test_labels_say_what_they_are_for(labels: tuple[str, ...], outputs: list[TensorSpec], title: str) -> None:
    assert metric_of_labels(Path("labels.csv"), rows(*labels), outputs).title == title


@pytest.mark.parametrize(
    ("labels", "outputs", "said"),
    [
        (("1", "0"), [tensor(1, 3, 4)], "one class, and no output is that"),
        (("a.png", "b.png"), [tensor(1, 3)], r"\[1, H, W\], and no output is that"),
        (
            ("1", "0"),
            [tensor(1, 3), tensor(1, 5)],
            r"more than one output is that .*Pipeline\(metric=\.\.\.\)",
        ),
    ],
)
def test_labels_for_no_output_or_several_are_refused(
    labels: tuple[str, ...], outputs: list[TensorSpec], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        metric_of_labels(Path("labels.csv"), rows(*labels), outputs)


def test_a_model_file_is_judged_by_labels_without_a_file_of_python(tmp_path: Path) -> None:
    module = torch.nn.Sequential(torch.nn.Linear(4, 3)).eval()
    file, labels = tmp_path / "model.pt2", tmp_path / "labels.csv"
    torch.export.save(torch.export.export(module, (torch.zeros(1, 4),)), file)
    for number in range(2):
        np.savez(tmp_path / f"{number}.npz", input=np.full((1, 4), number, np.float32))
    labels.write_text("file,label\n0.npz,2\n1.npz,0\n")
    pipeline = open_pipeline(file)
    found = pipeline.inputs.labelled(pipeline, labels)
    assert (found.metric.title, found.labels) == ("accuracy of output", (2, 0))
    assert [sample.tensors["output"].shape for sample in found.samples()] == [(1, 3), (1, 3)]


def test_a_file_of_python_says_its_metric_itself(tmp_path: Path) -> None:
    file, labels = tmp_path / "own.py", tmp_path / "labels.csv"
    file.write_text(
        "import mien, torch\n"
        "pipeline = mien.Pipeline('own', [mien.Stage('one', torch.nn.Linear(4, 3), ['x'], ['y'])])"
    )
    pipeline = open_pipeline(file)
    with pytest.raises(InputError, match=r"Pipeline\(metric="):
        pipeline.inputs.labelled(pipeline, labels)
