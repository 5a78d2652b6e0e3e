"""The appraisal with parts of a user's own: ``appraisal.replace(inpainter=MyInpainter())``."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import torch
from torch import nn

from mien.models.errors import CheckpointError, PipelineError
from mien.models.modules import check_module, weights_hash
from mien.models.pipeline import Pipeline
from mien.models.sources import PYTHON
from mien.models.user_file import RAISED, raised, read_user_file

from .checkpoint import REFERENCE, Checkpoint, checkpoint_hash, load_checkpoint
from .networks.appraisal import FACE_SIZE
from .networks.detector import INPUT_SIZE
from .networks.student import HEAT_SIZE
from .pipeline import Portraits
from .pipeline import appraisal as pipeline_of

_DETECTOR = "detector"
_CANDIDATES = (1, 896, 17)


@dataclass(frozen=True)
class Appraisal:
    """The built-in appraisal as a file of Python has it: ``from mien import appraisal``.

    Example:
        >>> import torch
        >>> class Blank(torch.nn.Module):
        ...     def forward(self, face, mask):
        ...         return face * (1 - mask) + 0.5 * mask
        >>> mien.appraisal.replace(inpainter=Blank()).record["replaced"]
        ['inpainter']
    """

    def replace(
        self,
        *,
        name: str = "appraisal",
        checkpoint: Path | str | None = None,
        inpainter: nn.Module | None = None,
        teacher: nn.Module | None = None,
        student: nn.Module | None = None,
        head: nn.Module | None = None,
        detector: nn.Module | None = None,
    ) -> Pipeline:
        """Return the appraisal with parts of your own, which every command takes but train and fit-score.

        What is normal at each place of a face, and the evidence of a score of 50, stay those of the
        checkpoint: with another teacher, student, head or inpainter scores are on another scale. ``mien
        evaluate`` shows what they are worth.

        Args:
            name: what the bundle is called.
            checkpoint: the checkpoint that has the other parts; without one, that which ships with mien.
            inpainter: takes a face [N, 3, 256, 256] and a mask [N, 1, 256, 256], both in 0..1, and gives the
                normalised face in 0..1.
            teacher: takes a face and gives a tuple of three maps of features, [N, C, S, S].
            student: takes a face and gives what the head compares with the teacher's features.
            head: takes what teacher and student give; of its result ``logit`` [N, 1, 64, 64] counts.
            detector: takes pixels of 0..255, [N, 3, 128, 128], and gives candidates [N, 896, 17]: score,
                box and six keypoints, as the manifest says.

        Returns:
            The pipeline. Parts that are replaced have no precisions by block: they stay float16 in
            tflite-int8 unless ``mien export --precision auto`` finds some.

        Raises:
            PipelineError: a part cannot be exported, fails, or gives other shapes.
            CheckpointError: the checkpoint cannot be used.

        Example:
            >>> import torch
            >>> class Blank(torch.nn.Module):
            ...     def forward(self, face, mask):
            ...         return face * (1 - mask) + 0.5 * mask
            >>> mien.appraisal.replace(inpainter=Blank(), name="blank").name
            'blank'
        """
        given = {
            "inpainter": inpainter,
            "teacher": teacher,
            "student": student,
            "head": head,
            _DETECTOR: detector,
        }
        parts = {part: module for part, module in given.items() if module is not None}
        if not parts:
            raise PipelineError(f"no part is replaced; give one or more of {', '.join(given)}")
        changed = _with_parts(load_checkpoint(Path(checkpoint or REFERENCE)), parts)
        changed.config = replace(changed.config, name=name)
        said = f"{checkpoint_hash(changed)} {weights_hash(parts.values())}"
        pipeline = pipeline_of(changed)
        return replace(
            pipeline,
            weights=sha256(said.encode()).hexdigest(),
            record={**pipeline.record, "replaced": sorted(parts)},
        )


appraisal = Appraisal()
"""The built-in appraisal, to be changed."""


def _with_parts(checkpoint: Checkpoint, parts: Mapping[str, nn.Module]) -> Checkpoint:
    """Put parts in their places, and see that the net then gives what stages hand on."""
    for part, module in parts.items():
        if not isinstance(module, nn.Module):
            raise PipelineError(f"{part} is {module!r:.80}, expected a torch.nn.Module")
        check_module(part, module)
        setattr(checkpoint if part == _DETECTOR else checkpoint.appraisal, part, module)
    names = " and ".join(sorted(parts))
    try:
        found = _shapes(checkpoint)
    except RAISED as error:
        raise PipelineError(f"the appraisal with another {names}: {raised(error)}") from error
    expected = {
        "heat": (1, 1, HEAT_SIZE, HEAT_SIZE),
        "normalised": (1, 3, FACE_SIZE, FACE_SIZE),
        "candidates": _CANDIDATES,
    }
    for tensor, shape in expected.items():
        if found[tensor] != shape:
            raise PipelineError(
                f"with another {names} {tensor} is of shape {list(found[tensor])}, expected {list(shape)}; "
                "see the help of appraisal.replace"
            )
    return checkpoint


@torch.inference_mode()
def _shapes(checkpoint: Checkpoint) -> dict[str, tuple[int, ...]]:
    """Run every part once."""
    net, grey = checkpoint.appraisal, 0.5
    face = torch.full((1, 3, FACE_SIZE, FACE_SIZE), grey)
    heat = net.heat(face, net.teacher(face))
    made = net(255 * face)
    candidates = checkpoint.detector(torch.full((1, 3, INPUT_SIZE, INPUT_SIZE), 255 * grey))
    tensors = {"heat": heat, "normalised": made.normalised, "candidates": candidates}
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def load_appraisal(path: Path | None) -> Checkpoint:
    """Load a checkpoint, or the appraisal that a file of Python defines, which is executed.

    Raises:
        CheckpointError: the path is not a checkpoint, or the file defines another pipeline.
        PipelineError: the file cannot be executed.
    """
    if path is None or path.suffix != PYTHON:
        return load_checkpoint(path or REFERENCE)
    inputs = getattr(read_user_file(path), "inputs", None)
    if not isinstance(inputs, Portraits):
        raise CheckpointError(
            f"{path} defines no appraisal; end it with 'pipeline = appraisal.replace(...)', or use a bundle "
            "of it"
        )
    return inputs.checkpoint
