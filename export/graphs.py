"""The graphs of a bundle as PyTorch modules that take pixels, and the contract of each."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import Tensor, nn

from mien.mobile_reference.bundle import reader as bundle
from mien.models.appraisal.checkpoint import Checkpoint
from mien.models.appraisal.networks.appraisal import AppraisalNet, feature_change
from mien.models.appraisal.networks.detector import BlazeFace


class TensorSpec(bundle.Tensor):
    """A tensor of the bundle as PyTorch has it: ``shape`` with channels second."""

    @property
    def channels_last(self) -> tuple[int, ...]:
        """The shape with channels last, as TFLite has it."""
        if len(self.shape) != 4:
            return self.shape
        batch, channels, height, width = self.shape
        return batch, height, width, channels


TENSORS: Mapping[str, TensorSpec] = {
    spec.name: spec
    for spec in (
        TensorSpec("picture", (1, 3, 128, 128), "uint8", 255, "RGB, 0..255: a square of the photograph"),
        TensorSpec(
            "candidates",
            (1, 896, 17),
            "float32",
            1,
            "score 0..1, box centre x, y, width, height, six keypoints x, y; in fractions of the picture",
        ),
        TensorSpec("face", (1, 3, 256, 256), "uint8", 255, "RGB, 0..255: the aligned face"),
        TensorSpec("heat", (1, 1, 64, 64), "float32", 1, "0..1: where teacher and student disagree"),
        TensorSpec("mask", (1, 1, 256, 256), "float32", 1, "0..1: 1 is inpainted"),
        TensorSpec("normalised", (1, 3, 256, 256), "float32", 255, "RGB, 0..255: the normalised face"),
        TensorSpec(
            "heatmap", (1, 1, 256, 256), "float32", 1, "the final heatmap, 0 where nothing is unusual"
        ),
        TensorSpec("score", (1,), "float32", 100, "0..100, 100 is a typical face"),
    )
}


class DetectorGraph(nn.Module):
    """Picture to candidates."""

    def __init__(self, detector: BlazeFace) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, picture: Tensor) -> tuple[Tensor, ...]:
        """Detect."""
        return (self.detector(picture.float()),)


class StageGraph(nn.Module):
    """Base of the graphs that hold the appraisal's net or a part of it."""

    def __init__(self, net: AppraisalNet) -> None:
        super().__init__()
        self.net = net


class HeatmapGraph(StageGraph):
    """Face to heat."""

    def forward(self, face: Tensor) -> tuple[Tensor, ...]:
        """Run stage 1."""
        colours = face.float() / 255
        return (self.net.heat(colours, self.net.teacher(colours)),)


class MaskGraph(StageGraph):
    """Heat to mask."""

    def forward(self, heat: Tensor) -> tuple[Tensor, ...]:
        """Run stage 2."""
        return (self.net.mask(heat),)


class InpaintGraph(StageGraph):
    """Face and mask to normalised face."""

    def forward(self, face: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        """Run stage 3."""
        return (self.net.inpainter(face.float() / 255, mask) * 255,)


class CompareGraph(StageGraph):
    """Face, normalised face and heat to score and final heatmap."""

    def forward(self, face: Tensor, normalised: Tensor, heat: Tensor) -> tuple[Tensor, ...]:
        """Run stages 4 to 6."""
        before = self.net.teacher(face.float() / 255)
        after = self.net.teacher(normalised / 255)
        return self.net.rate(heat, feature_change(before, after))


class AppraisalGraph(StageGraph):
    """Face to everything, in one graph."""

    def forward(self, face: Tensor) -> tuple[Tensor, ...]:
        """Run all stages."""
        return tuple(self.net(face.float()))


@dataclass(frozen=True)
class Graph:
    """One graph of a bundle: which module it is, and its tensors in order.

    ``int8`` tells whether any of it may be quantised; what is say ``precision`` for TFLite and ``coreml``.
    """

    name: str
    module: type[nn.Module]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    int8: bool = False

    def build(self, checkpoint: Checkpoint) -> nn.Module:
        """Return the module with the checkpoint's weights, in evaluation mode."""
        part = checkpoint.detector if self.module is DetectorGraph else checkpoint.appraisal
        return self.module(part).eval()

    def contract(self) -> bundle.GraphSpec:
        """Return what a bundle says of the graph's tensors, channels last."""
        inputs, outputs = (
            tuple(replace(spec, shape=spec.channels_last) for spec in self.specs(names))
            for names in (self.inputs, self.outputs)
        )
        return bundle.GraphSpec(inputs, outputs)

    def specs(self, names: tuple[str, ...]) -> tuple[TensorSpec, ...]:
        """Return the contracts of tensors."""
        return tuple(TENSORS[name] for name in names)


GRAPHS: tuple[Graph, ...] = (
    # Keypoints place the face: eight bits would move it by pixels.
    Graph("detector", DetectorGraph, ("picture",), ("candidates",)),
    Graph("heatmap", HeatmapGraph, ("face",), ("heat",), int8=True),
    Graph("mask", MaskGraph, ("heat",), ("mask",)),
    Graph("inpaint", InpaintGraph, ("face", "mask"), ("normalised",), int8=True),
    Graph("compare", CompareGraph, ("face", "normalised", "heat"), ("score", "heatmap"), int8=True),
    Graph("appraisal", AppraisalGraph, ("face",), ("score", "heatmap", "mask", "normalised"), int8=True),
)


def graph_named(name: str) -> Graph:
    """Find a graph."""
    return next(graph for graph in GRAPHS if graph.name == name)
