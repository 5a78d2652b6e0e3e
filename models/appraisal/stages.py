"""The stages of the appraisal as modules that take pixels: an app has no normalisation to get wrong."""

from torch import Tensor, nn

from .networks.appraisal import AppraisalNet
from .networks.detector import BlazeFace


class Detect(nn.Module):
    """Picture to candidates."""

    def __init__(self, detector: BlazeFace) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, picture: Tensor) -> tuple[Tensor, ...]:
        """Detect."""
        return (self.detector(picture.float()),)


class _OfNet(nn.Module):
    """Base of the stages, which hold the appraisal's net or a part of it."""

    def __init__(self, net: AppraisalNet) -> None:
        super().__init__()
        self.net = net


class Heatmap(_OfNet):
    """Face to heat."""

    def forward(self, face: Tensor) -> tuple[Tensor, ...]:
        """Run stage 1."""
        colours = face.float() / 255
        return (self.net.heat(colours, self.net.teacher(colours)),)


class Mask(_OfNet):
    """Heat to mask."""

    def forward(self, heat: Tensor) -> tuple[Tensor, ...]:
        """Run stage 2."""
        return (self.net.mask(heat),)


class Inpaint(_OfNet):
    """Face and mask to normalised face."""

    def forward(self, face: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        """Run stage 3."""
        return (self.net.paint(face.float(), mask),)


class Compare(_OfNet):
    """Face, normalised face and mask to what changed."""

    def forward(self, face: Tensor, normalised: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        """Run stage 4."""
        before = self.net.teacher(face.float() / 255)
        after = self.net.teacher(normalised / 255)
        return (self.net.change(before, after, mask),)


class Rate(_OfNet):
    """Heat and change to score and final heatmap."""

    def forward(self, heat: Tensor, change: Tensor) -> tuple[Tensor, ...]:
        """Run stage 5."""
        return self.net.rate(heat, change)


class Appraise(_OfNet):
    """Face to everything: the net shares the teacher's run between the stages."""

    def forward(self, face: Tensor) -> tuple[Tensor, ...]:
        """Run all stages."""
        return tuple(self.net(face.float()))
