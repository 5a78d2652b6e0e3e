"""The built-in pipeline: facial-anomaly appraisal as a value of ``mien.models.pipeline.Pipeline``."""

from collections.abc import Sequence
from dataclasses import asdict
from itertools import chain
from pathlib import Path

import numpy as np

from mien.mobile_reference.bundle.reader import FACE_ALIGNMENT
from mien.mobile_reference.contract import (
    ABOVE,
    ANY,
    BELOW,
    COLOUR,
    GREY,
    MEAN,
    OVERLAY,
    PICTURE,
    RANK,
    SET,
    GateSpec,
    LimitSpec,
    RefusalSpec,
    SkipSpec,
    ViewSpec,
)
from mien.mobile_reference.front.alignment import SNAP
from mien.mobile_reference.report.steps import Progress, Step
from mien.mobile_reference.run.threads import side_by_side, usable_cores
from mien.models.gates import correlation, iou, scalar
from mien.models.pipeline import (
    Calibration,
    CoreMLChoices,
    Front,
    Golden,
    HeldOut,
    Inputs,
    Pipeline,
    Sample,
    Stage,
)

from .alignment import SURE
from .calibration_faces import gather
from .checkpoint import REFERENCE, Checkpoint, Config, checkpoint_hash, load_checkpoint
from .evaluation.anomalies import ANOMALIES
from .evaluation.held_out import held_out_faces, varied
from .networks.appraisal import FACE_SIZE
from .networks.detector import INPUT_SIZE, KEYPOINTS
from .portraits import SAMPLES, read_image, read_portraits
from .stages import Appraise, Compare, Detect, Heatmap, Inpaint, Mask, Rate
from .traces import trace

_TOLERANCES = {"fp32": 0.01, "fp16": 0.1, "int8": 1.0, "int8w": 0.5, "pal6": 0.5, "pal4": 0.5, "w8a8": 1.0}
GATES = (
    scalar("score", **_TOLERANCES),
    # A mean error is held to the limit of the largest one, but where that one leaves room.
    GateSpec("score", MEAN, _TOLERANCES | {"tflite-int8": 0.3, "coreml-w8a8": 0.3}, SET),
    GateSpec("score", RANK, {ANY: 0.001}, SET),
    correlation("heatmap", fp32=1e-5, fp16=0.001, int8=0.005),
    iou("mask", fp32=1e-4, fp16=0.01, int8=0.03),
)
AGREEMENT = 1.0
"""Largest difference of scores between a TFLite and a Core ML variant, in points."""
VIEWS = (ViewSpec("heatmap", OVERLAY), ViewSpec("mask", GREY), ViewSpec("normalised", COLOUR))
LIMITS = (
    LimitSpec("detector_score", BELOW, note=0.7, refuse=0.62),
    LimitSpec("turn", ABOVE, note=0.6, refuse=0.9),
    LimitSpec("misfit", ABOVE, note=0.14, refuse=0.2),
    LimitSpec("outside", ABOVE, note=0.01, refuse=0.05),
    LimitSpec("eyes_shown", BELOW, note=0.63, refuse=0.4),
    LimitSpec("mouth_shown", BELOW, note=0.42, refuse=0.33),
    LimitSpec("roll", ABOVE, note=30, refuse=None),
    LimitSpec("faces", ABOVE, note=1, refuse=None),
    LimitSpec("eye_distance", BELOW, note=40, refuse=24),
    LimitSpec("sharpness", BELOW, note=0.045, refuse=0.03),
    LimitSpec("contrast", BELOW, note=14, refuse=7),
    LimitSpec("brightness", BELOW, note=30, refuse=10),
    LimitSpec("black", ABOVE, note=0.25, refuse=0.6),
    LimitSpec("burnt", ABOVE, note=0.15, refuse=0.4),
)
"""Which photographs are not rated, without regard to the score; docs/refusals.md tells what each buys."""
_MEANINGS = {
    "picture": "RGB, 0..255: a square of the photograph",
    "candidates": "score 0..1, box centre x, y, width, height, six keypoints x, y; in fractions of the "
    "picture",
    "face": "RGB, 0..255: the aligned face",
    "heat": "0..1: where teacher and student disagree",
    "mask": "0..1: 1 is inpainted",
    "normalised": "RGB, 0..255: the normalised face",
    "change": "0..4: how far the features of face and normalised face are apart",
    "heatmap": "the final heatmap, 0 where nothing is unusual",
    "score": "0..100, 100 is a typical face",
}
_SCALE = {"picture": 255, "face": 255, "normalised": 255, "change": 4, "score": 100}
_SCALE |= dict.fromkeys(("candidates", "heat", "mask", "heatmap"), 1)
_RANGES = {"score": (0.0, 100.0)}
_COORDINATES = "pixels, x right and y down, the centre of the first pixel at (0, 0)"
_RESAMPLING = (
    "reduce by a box filter of whole size max(1, floor(1 / scale + 0.000001)), then bilinear with the border "
    "repeated, then add 0.500001 and round down"
)
_SCORE_MAP = (
    "100 * tolerated_evidence / (tolerated_evidence + evidence), "
    "evidence: mean of the final heatmap to the power of 1.5 over the face region"
)

# What stays float32 in a float16 graph was found by the score: rounding the weights of the first stages, 0.4
# of 1.4 million numbers, cost 0.6 points on the worst of 132 held-out faces; the ends of the refinement,
# where it meets the photograph, most of what was left. The names are those of modules, without the names of
# module lists: teacher.2 is the teacher's stages.2, refine.0 the first of down, context and up alike. The one
# graph runs the net, a stage its parts.
_SINGLE = (
    r"module\.(net\.)?(teacher\.(stem|[0-3]|4\.0)|student\.(stem|0|1)|head|inpainter\.refine\.(0|to_rgb))\b"
)

# Found by the score as well. Rounded weights of the teacher cost most of what all would: with its last stage
# one held-out face erred by 0.75 points. Those of the head and of the student's first stages are few and cost
# 0.4; depthwise ones (layers.3 of a block, spatial) are few, and their errors cannot cancel.
_WEIGHTS = r"net\.(student\.stages\.2\.\d+\.layers\.(0|6)|inpainter(?!.*\.spatial))\."
# The parts that compute in int8 in TFLite too (precision.json). Left out are the teacher's first stages and
# the first block of each, whose linear output is what all that follows is added to, the student's stem, and
# what costs most of the head and of the inpainter: unit features, and the refinement's large maps.
_EIGHT = (
    r"net\.(teacher\.stages\.[34]\.[12]|student\.(stages|taps)|head\.refine"
    r"|inpainter\.(coarse\.(down|context|up)|refine\.(context|to_rgb)))\."
)
# Six bits cost more than eight: those of the student's last stage and of maps of a sixteenth of the face.
_PALETTES = r"net\.(student\.stages\.2|inpainter\.(coarse\.(down|context|up\.0)|refine\.context))\."
# Single numbers and maps of one channel stay float32. A float16 score near 100 has steps of a sixteenth of a
# point. The square of a heat of 0.007 lies below float16's normal numbers, and a typical face has little
# more: its score erred by up to 0.1 points. Maps as large as the face do too: where nothing is masked, the
# composite must give back the photograph's own pixels, or the comparison sees a change.
_NARROW = 1
PRECISION = Path(__file__).parent / "precision.json"
"""The precision of every block, found by a search and by trials after it (docs/quantisation.md)."""
REACH = Path(__file__).parent / "reach.json"
"""How far tensors reached on everyday and studio faces, whose pictures do not come along."""


class Portraits(Inputs):
    """Portraits as the inputs of an appraisal: aligned, plain and with drawn anomalies."""

    samples = SAMPLES

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint

    def calibration(self, pipeline: Pipeline, folder: Path | None, progress: Progress) -> Calibration:
        """Cut faces of a folder of portraits, or of the samples that ship, plain and drawn upon."""
        portraits = read_portraits(folder) if folder else read_portraits(SAMPLES, "calibration")
        return gather(portraits, read_portraits(SAMPLES, "golden"), self.checkpoint, pipeline, progress)

    def golden(self, pipeline: Pipeline, folder: Path | None, progress: Progress) -> Sequence[Golden]:
        """Cut the golden faces."""
        portraits = read_portraits(folder) if folder else read_portraits(SAMPLES, "golden")
        found = []
        for portrait in Step("tracing golden faces", len(portraits), progress).over(portraits):
            photo = read_image(portrait.image)
            traced = trace(photo, self.checkpoint, pipeline)
            picture = photo.permute(1, 2, 0).contiguous().numpy()
            sample = Sample(portrait.image.stem, traced.tensors)
            found.append(Golden(sample, picture, {"alignment": traced.aligned.matrix.tolist()}))
        return found

    def judging(self, pipeline: Pipeline, goldens: Sequence[Golden], progress: Progress) -> Sequence[Sample]:
        """Draw every kind of anomaly, and none, on each golden face."""
        step = Step("inputs to judge by", len(goldens) * (1 + len(ANOMALIES)), progress)

        def of_face(place: int) -> list[Sample]:
            sample = goldens[place].sample
            return [
                Sample(f"{sample.name} {kind}", pipeline.run({"face": pixels}))
                for kind, pixels in step.over(varied(sample.tensors["face"], place, self.checkpoint))
            ]

        return list(chain.from_iterable(side_by_side(of_face, range(len(goldens)), usable_cores())))

    def held_out(self, pipeline: Pipeline, folder: Path) -> HeldOut:
        """Cut the faces of a folder that neither weights nor ranges were made from, plain and drawn upon."""
        return held_out_faces(folder, self.checkpoint, pipeline)


def open_appraisal(source: Path | None = None) -> Pipeline:
    """Open the appraisal of a checkpoint folder or ``.pt`` file, or the one that ships with mien.

    Raises:
        CheckpointError: ``source`` is not a checkpoint of the appraisal.
    """
    return appraisal(load_checkpoint(source or REFERENCE))


def appraisal(checkpoint: Checkpoint) -> Pipeline:
    """Return the pipeline of a checkpoint, in evaluation mode."""
    net = checkpoint.appraisal
    return Pipeline(
        name=checkpoint.config.name,
        stages=(
            Stage("heatmap", Heatmap(net).eval(), ("face",), ("heat",)),
            Stage("mask", Mask(net).eval(), ("heat",), ("mask",), quantise=False),
            Stage(
                "inpaint",
                Inpaint(net).eval(),
                ("face", "mask"),
                ("normalised",),
                skip_when=SkipSpec("mask", {"normalised": "face"}),
            ),
            Stage(
                "compare",
                Compare(net).eval(),
                ("face", "normalised", "mask"),
                ("change",),
                skip_when=SkipSpec("mask", {"change": 0}),
            ),
            Stage("rate", Rate(net).eval(), ("heat", "change"), ("score", "heatmap"), quantise=False),
        ),
        whole=Stage("appraisal", Appraise(net).eval(), ("face",), ("score", "heatmap", "mask", "normalised")),
        net=net,
        # Keypoints place the face: eight bits would move it by pixels.
        front=Front(
            FACE_ALIGNMENT,
            ("face",),
            _alignment(checkpoint.config),
            (
                Stage(
                    "detector",
                    Detect(checkpoint.detector).eval(),
                    ("picture",),
                    ("candidates",),
                    quantise=False,
                ),
            ),
        ),
        gates=GATES,
        example={
            "picture": np.zeros((1, INPUT_SIZE, INPUT_SIZE, 3), np.uint8),
            "face": np.zeros((1, FACE_SIZE, FACE_SIZE, 3), np.uint8),
        },
        inputs=Portraits(checkpoint),
        layout=dict.fromkeys(("heat", "mask", "normalised", "change", "heatmap"), PICTURE),
        scale=_SCALE,
        meanings=_MEANINGS,
        ranges=_RANGES,
        views=VIEWS,
        weights=checkpoint_hash(checkpoint),
        record=_record(checkpoint),
        agreement=AGREEMENT,
        precision=PRECISION,
        reach=REACH,
        coreml=CoreMLChoices(_SINGLE, _WEIGHTS, _EIGHT, _PALETTES, FACE_SIZE, _NARROW),
        refusals=RefusalSpec(
            checkpoint.config.appraisal.region_centre,
            checkpoint.config.appraisal.region_radii,
            checkpoint.config.appraisal.region_exponent,
            LIMITS,
        ),
    )


def _alignment(config: Config) -> dict[str, object]:
    return {
        **asdict(config.alignment),
        "sure": SURE,
        "keypoints": list(KEYPOINTS),
        "detector_size": INPUT_SIZE,
        "coordinates": _COORDINATES,
        "resampling": _RESAMPLING,
        "snap": SNAP,
    }


def _record(checkpoint: Checkpoint) -> dict[str, object]:
    """Say what is built into the models."""
    tolerated = float(checkpoint.appraisal.tolerated_evidence)
    stored = {"weights_stored_as": list(checkpoint.stored_as)} if checkpoint.stored_as else {}
    return stored | {
        "score": {"lowest": 0, "typical": 100, "map": _SCORE_MAP, "tolerated_evidence": tolerated},
        "appraisal": asdict(checkpoint.config.appraisal),
    }
