"""The end of a classifier."""

from typing import Any

import numpy as np

from mien.mobile_reference.coreml.program import Array
from mien.mobile_reference.coreml.registry import Values, exact
from mien.mobile_reference.errors import EvaluationError


@exact("classify")
def classify(probabilities: Array, classes: Values) -> Any:
    """The most probable class, the first of equals, and every class with its probability."""
    names = _labels(classes)
    values = probabilities.reshape(-1)
    if len(names) != len(values):
        raise EvaluationError(f"{len(names)} classes for {len(values)} probabilities")
    return names[int(np.argmax(values))], {
        name: float(value) for name, value in zip(names, values, strict=True)
    }


def _labels(classes: Values) -> list[Any]:
    flat: list[Any] = []
    for entry in classes:
        if isinstance(entry, tuple):
            flat.extend(_labels(entry))
        elif isinstance(entry, str):
            flat.append(entry)
        else:
            flat.extend(np.asarray(entry).reshape(-1).tolist())
    return flat
