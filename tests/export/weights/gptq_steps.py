"""What each step of rounding weights to int8 spares the score, by network: printed side by side.

    python -m tests.export.weights.gptq_steps PORTRAITS

PORTRAITS is a folder as ``mien export --calibration`` takes it. The weights of dense convolutions have 255
levels, everything else is float32; the errors are those on the faces that the weights were rounded for.
"""

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from mien.calibration.moments import Moments, convolution_moments, convolutions
from mien.export.weights.fold_batch_norm import fold_batch_norm
from mien.export.weights.gptq import Roundings, round_with
from mien.models.appraisal.calibration_faces import gather
from mien.models.appraisal.checkpoint import REFERENCE, load_checkpoint
from mien.models.appraisal.pipeline import appraisal
from mien.models.appraisal.portraits import read_portraits

PARTS = ("teacher", "student", "head", "inpainter", "")
# Without a covariance every weight goes to the nearest step, and a mean of zero corrects no bias.
STEPS: Mapping[str, Callable[[Moments], Moments]] = {
    "nearest step": lambda m: Moments(np.zeros_like(m.mean), np.zeros_like(m.covariance)),
    "and bias corrected": lambda m: replace(m, covariance=np.zeros_like(m.covariance)),
    "and by covariance": lambda m: m,
}


@torch.inference_mode()
def scores(net: nn.Module, faces: list[Tensor]) -> NDArray[np.float64]:
    return np.array([float(net(face.float()).score) for face in faces])


def round_in_place(module: nn.Module, roundings: Roundings) -> None:
    """Give the convolutions of ``module``, batch normalisation folded, that it has their rounded weights."""
    known = convolutions(module)
    for name in known.keys() & roundings.keys():
        convolution, rounded = known[name], roundings[name]
        convolution.weight = nn.Parameter(torch.from_numpy(rounded.weight), requires_grad=False)
        convolution.bias = nn.Parameter(torch.from_numpy(rounded.bias), requires_grad=False)


@click.command()
@click.argument("portraits", type=click.Path(path_type=Path, exists=True))
def main(portraits: Path) -> None:
    checkpoint = load_checkpoint(REFERENCE)
    traces = gather(read_portraits(portraits), [], checkpoint, appraisal(checkpoint)).samples
    faces = [torch.from_numpy(one.tensors["face"]).permute(0, 3, 1, 2).contiguous() for one in traces]
    net = fold_batch_norm(checkpoint.appraisal, [faces[0].float()])
    exact = scores(net, faces)
    dense = {name for name, module in convolutions(net).items() if module.groups == 1}
    moments = convolution_moments(net, [[face] for face in faces])
    table = Table(title=f"score error over {len(faces)} faces, mean / worst, points")
    for heading in ("int8 weights of", *STEPS):
        table.add_column(heading)
    for part in PARTS:
        row = []
        for step in STEPS.values():
            rounded = copy.deepcopy(net)
            chosen = {
                name: step(found)
                for name, found in moments.items()
                if name in dense and name.startswith(part)
            }
            round_in_place(rounded, round_with(net, chosen))
            errors = np.abs(scores(rounded, faces) - exact)
            row.append(f"{errors.mean():.3f} / {errors.max():.3f}")
        table.add_row(part or "all of them", *row)
    Console().print(table)


if __name__ == "__main__":
    main()
