"""Draw plates with and without rust, and train both networks on them: a stand-in for your own training."""

import sys
from pathlib import Path

import numpy as np
import torch
from networks import Scorer, UNet
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional

SIDE = 64
_DRAWN, _BATCH = 600, 16


def plate(generator: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Draw a plate [H, W, 3] of uint8, and the mask of its rust [H, W] of 0 and 1."""
    rows, columns = np.mgrid[:SIDE, :SIDE] / SIDE
    light = (
        generator.uniform(90, 180) + generator.uniform(-40, 40) * rows + generator.uniform(-40, 40) * columns
    )
    picture = light[..., None] + generator.normal(0, 6, (SIDE, SIDE, 1))
    picture = np.repeat(picture, 3, 2)
    mask = np.zeros((SIDE, SIDE), np.float32)
    for _ in range(generator.integers(0, 6)):
        row, column, radius = *generator.uniform(0.1, 0.9, 2), generator.uniform(0.04, 0.2)
        wobble = generator.normal(0, 0.02, (SIDE, SIDE))
        mask[(rows - row) ** 2 + (columns - column) ** 2 < (radius + wobble) ** 2] = 1
    rust = np.array([150, 75, 35]) + generator.normal(0, 12, (SIDE, SIDE, 1))
    picture = np.where(mask[..., None] > 0, 0.25 * picture + 0.75 * rust, picture)
    return picture.clip(0, 255).astype(np.uint8), mask


def train(steps: int, seed: int = 0) -> tuple[UNet, Scorer]:
    """Train both networks, the same way for the same seed."""
    torch.manual_seed(seed)
    generator = np.random.default_rng(seed)
    drawn = [plate(generator) for _ in range(_DRAWN)]
    pictures = torch.from_numpy(np.stack([picture for picture, _ in drawn])).permute(0, 3, 1, 2) / 127.5 - 1
    masks = torch.from_numpy(np.stack([mask for _, mask in drawn]))[:, None]
    grades = 100 * (1 - masks.mean((1, 2, 3)))
    unet, scorer = UNet(), Scorer()
    optimiser = torch.optim.Adam([*unet.parameters(), *scorer.parameters()], 3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-2, total_steps=steps)
    for _ in range(steps):
        chosen = torch.from_numpy(generator.integers(0, _DRAWN, _BATCH))
        mask = unet(pictures[chosen])
        grade = scorer(pictures[chosen], mask.detach())[:, 0]
        loss = functional.binary_cross_entropy(mask, masks[chosen])
        loss = loss + functional.mse_loss(grade / 100, grades[chosen] / 100)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return unet.eval(), scorer.eval()


def main(folder: Path, steps: int) -> None:
    """Write the weights of both networks, and pictures to calibrate and to judge with."""
    unet, scorer = train(steps)
    torch.save(unet.state_dict(), folder / "unet.pt")
    torch.save(scorer.state_dict(), folder / "scorer.pt")
    generator = np.random.default_rng(1)
    for name, count in (("calibration", 24), ("golden", 4), ("held-out", 16)):
        (folder / name).mkdir(exist_ok=True)
        for number in range(count):
            Image.fromarray(plate(generator)[0]).save(folder / name / f"plate-{number:02d}.png")


if __name__ == "__main__":
    main(Path(__file__).parent, int(sys.argv[1]) if sys.argv[1:] else 300)
