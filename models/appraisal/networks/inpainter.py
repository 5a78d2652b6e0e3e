"""The two-phase inpainter: a coarse face from the context and the face's other half, then a refined one."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layers import GatedConv, mirror, upsample

_DILATIONS = (2, 4, 8, 2, 4, 8)


class GatedUNet(nn.Module):
    """An encoder to stride 16 with dilated residual blocks, and a decoder with skips.

    ``widths`` are the channels at strides 2, 4, 8 and 16. Full size is reached by one convolution alone:
    what lies outside the mask is kept from the photograph anyway.
    """

    def __init__(self, channels: int, widths: tuple[int, int, int, int]) -> None:
        super().__init__()
        self.down = nn.ModuleList()
        before = channels
        for width in widths:
            self.down.append(GatedConv(before, width, 5, 2))
            before = width
        self.context = nn.ModuleList(GatedConv(before, before, 3, dilation=d) for d in _DILATIONS)
        self.up = nn.ModuleList()
        for width in reversed(widths[:-1]):
            self.up.append(GatedConv(before + width, width, 3))
            before = width
        self.to_rgb = nn.Conv2d(before, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, channels, S, S] to colours [N, 3, S, S] in 0..1."""
        size, skips = x.shape[-1], []
        for down in self.down:
            x = down(x)
            skips.append(x)
        for block in self.context:
            x = x + block(x)
        for up, skip in zip(self.up, reversed(skips[:-1]), strict=True):
            x = up(torch.cat([upsample(x, skip.shape[-1]), skip], dim=1))
        return torch.sigmoid(self.to_rgb(upsample(x, size)))


def composite(face: Tensor, painted: Tensor, mask: Tensor) -> Tensor:
    """Keep ``face`` where ``mask`` is 0 and take ``painted`` where it is 1."""
    return face + mask * (painted - face)


class Inpainter(nn.Module):
    """Replaces what the mask covers by what a normal face would show there.

    Both phases see the face and its mirror image: what one half hides the other most often shows.
    """

    def __init__(self) -> None:
        super().__init__()
        self.coarse = GatedUNet(8, (24, 48, 64, 96))
        self.refine = GatedUNet(11, (24, 48, 96, 160))

    def phases(self, face: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the coarse phase (at half size, brought to full size) and the refinement paint."""
        hidden = face * (1 - mask)
        small = F.avg_pool2d(torch.cat([hidden, mask], dim=1), 2)
        coarse = upsample(self.coarse(torch.cat([small, mirror(small)], dim=1)), face.shape[-1])
        context = torch.cat([composite(face, coarse, mask), mask], dim=1)
        return coarse, self.refine(torch.cat([hidden, context, mirror(context)], dim=1))

    def forward(self, face: Tensor, mask: Tensor) -> Tensor:
        """Map a face [N, 3, 256, 256] in 0..1 and a mask [N, 1, 256, 256] to the normalised face in 0..1."""
        return composite(face, self.phases(face, mask)[1], mask)
