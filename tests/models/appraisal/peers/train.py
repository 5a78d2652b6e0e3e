"""Trains one of anomalib's models on mien's aligned faces and rates the faces of ``mien evaluate --dump``.

    python -m tests.models.appraisal.peers.train PORTRAITS WORK stfpm

WORK keeps the aligned faces, the state of the training (a run that was stopped goes on), and for each model
two folders for ``mien evaluate --rated``: one scored by the most unusual pixel of the whole frame, as
anomalib does, and one by that of mien's face region.
"""

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import click
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mien.models.appraisal.checkpoint import REFERENCE, Checkpoint, load_checkpoint
from mien.models.appraisal.evaluation.evaluate import Request, write_faces
from mien.models.appraisal.evaluation.peers import FACES, HEATMAPS, SCORES
from mien.models.appraisal.evaluation.raters import region_pixels
from mien.models.appraisal.portraits import FaceSet, cut_faces, read_portraits
from mien.models.appraisal.training.morphs import morphed_faces
from mien.models.appraisal.training.sources import MORPHS_PER_FACE
from tests.models.appraisal.peers.models import PEERS, Peer, Trainee
from tests.models.appraisal.peers.scale import fit_scale

SEED = 0
# Every fifth person of the training split is kept from the gradient steps, for the scale of the scores: a
# model rates the faces it was trained on as more typical than any other.
KEPT_BACK = 5
SAVE_EVERY = 50
NOTES = "peer.json"


@dataclass(frozen=True)
class Material:
    """Faces of the training split, uint8 [K, 3, 256, 256]: to train on, and those kept back."""

    training: Tensor
    kept_back: Tensor


def material(portraits: Path, work: Path, checkpoint: Checkpoint) -> Material:
    """Cut the faces of the training split and morph them, once."""
    files = [work / "training.npy", work / "kept-back.npy"]
    if not all(file.is_file() for file in files):
        faces = cut_faces(read_portraits(portraits, "train"), checkpoint, _watch("faces"))
        people = sorted({portrait.identity for portrait in faces.portraits})
        back = set(people[::KEPT_BACK])
        ours = _people(faces, set(people) - back)
        morphs = morphed_faces(ours, MORPHS_PER_FACE * len(ours.faces), SEED, _watch("morphs"))
        work.mkdir(parents=True, exist_ok=True)
        np.save(files[0], torch.cat([ours.faces, morphs]).numpy())
        np.save(files[1], _people(faces, back).faces.numpy())
    return Material(*(torch.from_numpy(np.load(file)) for file in files))


def _people(faces: FaceSet, chosen: set[str]) -> FaceSet:
    rows = [row for row, portrait in enumerate(faces.portraits) if portrait.identity in chosen]
    portraits = tuple(faces.portraits[row] for row in rows)
    return FaceSet(faces.faces[rows], faces.matrices[rows], portraits, ())


def _watch(what: str) -> Callable[[int, int], object]:
    return lambda done, total: done % SAVE_EVERY == 0 and click.echo(f"{what}: {done} of {total}", err=True)


def _one_by_one(faces: Tensor | NDArray[np.uint8]) -> Iterator[Tensor]:
    """Yield faces [1, 3, 256, 256] in 0..1."""
    for face in faces:
        yield torch.as_tensor(face)[None].float() / 255


@dataclass(frozen=True)
class Training:
    """How many steps a model has been trained for, and in how many seconds of processor time."""

    steps: int
    seconds: float


def train(trainee: Trainee, peer: Peer, faces: Tensor, state: Path) -> Training:
    """Train, or go on from ``state``, which may hold more steps than the peer asks for.

    Batches are drawn at random and mirrored by chance. Each step has a seed of its own, so that a run that
    was stopped goes on as if it had not been.
    """
    done, spent = 0, 0.0
    if state.is_file():
        saved = torch.load(state, weights_only=True)
        trainee.model.load_state_dict(saved["model"])
        trainee.optimiser.load_state_dict(saved["optimiser"])
        done, spent = saved["done"], saved["spent"]
    else:
        trainee.fit_before(_one_by_one(faces))
    started = time.process_time() - spent
    trainee.model.train()
    for step in range(done, peer.steps):
        torch.manual_seed(SEED + step)
        batch = faces[torch.randint(len(faces), (peer.batch,))].float() / 255
        mirrored = torch.rand(peer.batch, 1, 1, 1) < 0.5
        loss = trainee.loss(torch.where(mirrored, batch.flip(3), batch))
        trainee.optimiser.zero_grad()
        loss.backward()
        trainee.optimiser.step()
        if (step + 1) % SAVE_EVERY == 0 or step + 1 == peer.steps:
            spent = time.process_time() - started
            click.echo(f"step {step + 1} of {peer.steps}: loss {float(loss):.3f}, {spent:.0f} s", err=True)
            done = step + 1
            record = {"model": trainee.model.state_dict(), "optimiser": trainee.optimiser.state_dict()}
            torch.save(record | {"done": done, "spent": spent}, state)
    return Training(done, spent)


@torch.inference_mode()
def anomaly_maps(model: nn.Module, faces: Iterator[Tensor]) -> NDArray[np.float32]:
    """Return anomalib's map of each face, [N, 256, 256]; the larger the more unusual."""
    model.eval()
    return np.stack([model(face).anomaly_map[0, 0].numpy() for face in faces])


def rate(model: nn.Module, kept_back: Tensor, folder: Path, checkpoint: Checkpoint, notes: dict) -> None:
    """Write the ratings of the faces in ``folder`` into a folder beside it for each way of scoring."""
    scale_maps = anomaly_maps(model, _one_by_one(kept_back))
    faces = np.load(folder / FACES, mmap_mode="r").transpose(0, 3, 1, 2)
    maps = anomaly_maps(model, _one_by_one(faces))
    # EfficientAD's may start below 0; the evaluation sorts heat by its float16 form, and draws 1 as full.
    heatmaps = maps - min(float(maps.min()), 0.0)
    heatmaps /= heatmaps.max()
    areas = {"frame": np.ones((256, 256), bool), "region": region_pixels(checkpoint)}
    for area, inside in areas.items():
        rated = folder.parent / f"{notes['name']}-{area}"
        rated.mkdir(exist_ok=True)
        (rated / FACES).unlink(missing_ok=True)
        os.link(folder / FACES, rated / FACES)
        scale = fit_scale(_highest(scale_maps, inside))
        np.save(rated / SCORES, scale.score(_highest(maps, inside)))
        np.save(rated / HEATMAPS, heatmaps)
        (rated / NOTES).write_text(json.dumps(notes | {"area": area}, indent=2) + "\n", encoding="utf-8")


def _highest(maps: NDArray[np.float32], inside: NDArray[np.bool_]) -> NDArray[np.float64]:
    return maps[:, inside].max(axis=1).astype(np.float64)


def main() -> None:
    """Train and rate."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("portraits", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("peer", choices=PEERS)
    parser.add_argument("--steps", type=int, help="of the training (default: the model's own number)")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    checkpoint = load_checkpoint(REFERENCE)
    faces = material(asked.portraits, asked.work, checkpoint)
    if not (asked.work / "faces").is_dir():
        write_faces(Request(asked.portraits), asked.work / "faces", lambda *_: None)
    planned = PEERS[asked.peer]
    peer = replace(planned, steps=asked.steps or planned.steps)
    torch.manual_seed(SEED)
    trainee = peer.make()
    training = train(trainee, peer, faces.training, asked.work / f"{asked.peer}.state")
    trainee.model.eval()
    trainee.fit_after(_one_by_one(faces.kept_back))
    torch.save(trainee.model.state_dict(), asked.work / f"{asked.peer}.weights")
    notes = {"name": asked.peer, "title": peer.title, "batch": peer.batch} | asdict(training)
    rate(trainee.model, faces.kept_back, asked.work / "faces", checkpoint, notes)


if __name__ == "__main__":
    main()
