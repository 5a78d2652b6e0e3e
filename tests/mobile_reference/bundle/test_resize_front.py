"""A manifest whose front resizes: it opens, and one that contradicts its input is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mien.mobile_reference.bundle.reader import face_front, open_bundle
from mien.mobile_reference.contract import (
    RELATIVE,
    FrontSpec,
    GateSpec,
    PipelineSpec,
    StageSpec,
    TensorSpec,
)
from mien.mobile_reference.errors import BundleError, UsageError
from mien.mobile_reference.front.colour import COLOUR_RULE
from mien.mobile_reference.front.resize import RESIZE, ResizeRule
from tests.mobile_reference.fakebundles import write_bundle

RULE = ResizeRule(2, 4, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
SPEC = PipelineSpec(
    name="classifier",
    tensors=(
        TensorSpec("picture", (1, 3, 2, 4), "float32", 1, ""),
        TensorSpec("logits", (1, 5), "float32", 1, ""),
    ),
    stages=(StageSpec("classify", ("picture",), ("logits",)),),
    gates=(GateSpec("logits", RELATIVE, {"any": 0.1}),),
    front=FrontSpec(RESIZE, ("picture",), RULE.record(), colour=COLOUR_RULE),
)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle without real models."""
    zeros = {tensor.name: np.zeros(tensor.shape) for tensor in SPEC.tensors}
    write_bundle(tmp_path, SPEC, zeros)
    return tmp_path


def test_a_bundle_says_by_what_rule_pictures_are_resized(bundle: Path):
    front = open_bundle(bundle).spec.front
    assert front == SPEC.front


def test_a_bundle_that_resizes_takes_no_portrait(bundle: Path):
    with pytest.raises(UsageError, match="no front that aligns a face"):
        face_front(open_bundle(bundle).spec)


CHANGES: dict[str, tuple[Callable[[Any], Any], str]] = {
    "another size": (lambda m: m["front"]["rule"].update(size=[4, 2]), "makes [1, 3, 4, 2] of float32"),
    "grey": (lambda m: m["front"]["rule"].update(colour="grey"), "grey picture with other numbers"),
    "one deviation less": (lambda m: m["front"]["rule"]["std"].pop(), "other numbers of mean and std"),
    "two channels": (
        lambda m: m["front"]["rule"].update(mean=[0, 0], std=[1, 1]),
        "other numbers of mean and std",
    ),
    "pixels": (lambda m: m["tensors"][0].update(dtype="uint8"), "of float32, which the input is not"),
    "no deviation": (lambda m: m["front"]["rule"].update(std=[0, 1, 1]), "front/rule/std/0"),
    "mean of bytes": (lambda m: m["front"]["rule"].update(mean=[124, 0, 0]), "front/rule/mean/0"),
    "another filter": (lambda m: m["front"]["rule"].update(filter="nearest"), "front/rule/filter"),
    "unknown key": (lambda m: m["front"]["rule"].update(crop=1), "front/rule"),
    "no rule": (lambda m: m["front"].update(rule={}), "front/rule"),
    "other colours": (
        lambda m: m["front"].update(colour=dict(COLOUR_RULE, space="Display P3")),
        "front/colour/space",
    ),
    "half of the colours": (lambda m: m["front"].update(colour={"space": "sRGB"}), "front/colour"),
    "a model": (lambda m: m["front"].update(models=m["stages"]), "front/models"),
    "another kind": (lambda m: m["front"].update(kind="face-alignment"), "front/"),
    "of no tensor": (lambda m: m["front"].update(outputs=["photo"]), "makes tensor picture"),
}


@pytest.mark.parametrize("case", CHANGES)
def test_a_front_that_contradicts_its_input_is_refused(bundle: Path, case: str):
    change, said = CHANGES[case]
    file = bundle / "manifest.json"
    manifest = json.loads(file.read_text())
    change(manifest)
    file.write_text(json.dumps(manifest))
    with pytest.raises(BundleError) as caught:
        open_bundle(bundle)
    assert said in str(caught.value)
