"""How far the outputs of the tests' networks are apart for two inputs: ``python -m tests.apart``.

A deep network of random weights may give nearly the same whatever it is given. An error of int8, over the
span of its output, then says little about how it follows its input, and a swapped input goes unseen.
"""

import click
import numpy as np
import torch

from tests.matrix.__main__ import MATRIX
from tests.networks import component_of, inputs_of

_SEEDS = (1000, 1001)


def apart(name: str) -> float:
    """Return the largest difference that two inputs make, over the span of the output where it is largest."""
    one = component_of(name, MATRIX)
    with torch.no_grad():
        made = [one.module(*inputs_of(MATRIX[name], seed)) for seed in _SEEDS]
    outputs = zip(*((each,) if isinstance(each, torch.Tensor) else each for each in made), strict=True)
    return max(
        float(
            np.abs(first.numpy() - second.numpy()).max() / np.ptp(np.stack([first.numpy(), second.numpy()]))
        )
        for first, second in outputs
    )


def main() -> None:
    """Print a line for each network of the matrix."""
    for name in MATRIX:
        click.echo(f"{name:<28} {apart(name):.2g}")


if __name__ == "__main__":
    main()
