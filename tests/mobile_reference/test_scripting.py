"""What scripts do with a bundle."""

from collections.abc import Callable

import numpy as np
import pytest

import mien
from mien.mobile_reference.errors import UsageError
from tests.mobile_reference.conftest import SPEC, FakeBundle

_INPUT = {name: np.zeros(SPEC.tensor(name).shape, SPEC.tensor(name).dtype) for name in SPEC.inputs}


def test_run_gives_what_the_models_make(fake: FakeBundle, stand_in: Callable[..., None]) -> None:
    stand_in()
    made = mien.run_bundle(str(fake.path), _INPUT, variant="tflite-fp16")
    assert {*SPEC.inputs, *SPEC.served[-1].outputs} <= set(made)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "the inputs are none; pipeline"),
        (_INPUT | {"other": np.zeros(1)}, "the inputs are face, other; pipeline"),
        ({"face": _INPUT["face"].astype(np.float32)}, "of float32, expected"),
        ({"face": _INPUT["face"][0]}, r"input face is \[\d+, \d+, 3\] of uint8, expected \[1, "),
    ],
    ids=["missing", "unknown", "another type", "another shape"],
)
def test_run_refuses_inputs_of_another_form(
    fake: FakeBundle, inputs: dict[str, np.ndarray], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        mien.run_bundle(str(fake.path), inputs)
