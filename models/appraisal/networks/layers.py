"""Building blocks shared by the networks: all keep one layout in every converter."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SameConv(nn.Conv2d):
    """A convolution padded as TensorFlow's ``SAME``: odd padding goes to the right and the bottom.

    Weights that were trained in TensorFlow (EfficientNet-Lite, BlazeFace) need it where the stride is 2.
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the name is torch's
        """Map [N, C, H, W] to [N, C', ceil(H / stride), ceil(W / stride)]."""
        return super().forward(self.padded(input))

    def padded(self, x: Tensor) -> Tensor:
        """Add the zeros around [N, C, H, W] that the convolution will see."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        rows, columns = (max((-(-n // stride) - 1) * stride + kernel - n, 0) for n in x.shape[2:])
        padding = (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2)
        return F.pad(x, padding) if any(padding) else x


def same_conv(channels: int, out: int, kernel: int, stride: int = 1, *, groups: int = 1) -> SameConv:
    """Return a bias-free ``SameConv``; a normalisation follows it."""
    return SameConv(channels, out, kernel, stride, groups=groups, bias=False)


class InvertedResidual(nn.Module):
    """MobileNetV2's block (arXiv 1801.04381): expand, depthwise, project, add where shapes allow."""

    def __init__(
        self,
        channels: int,
        out: int,
        kernel: int,
        stride: int,
        expansion: int,
        *,
        epsilon: float = 1e-5,
    ) -> None:
        super().__init__()
        wide = channels * expansion
        expand = [same_conv(channels, wide, 1), nn.BatchNorm2d(wide, epsilon), nn.ReLU6()]
        self.layers = nn.Sequential(
            *(expand if expansion > 1 else []),
            same_conv(wide, wide, kernel, stride, groups=wide),
            nn.BatchNorm2d(wide, epsilon),
            nn.ReLU6(),
            same_conv(wide, out, 1),
            nn.BatchNorm2d(out, epsilon),
        )
        self.residual = stride == 1 and channels == out

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, channels, H, W] to [N, out, H / stride, W / stride]."""
        y: Tensor = self.layers(x)
        return x + y if self.residual else y


class GatedConv(nn.Module):
    """A depthwise-separable gated convolution, relu(p(x)) * sigmoid(g(x)) (arXiv 1806.03589).

    Two 1x1 convolutions make the gate, so that no converter has to split channels.
    """

    def __init__(self, channels: int, out: int, kernel: int, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        padding = dilation * (kernel // 2)
        self.spatial = nn.Conv2d(
            channels, channels, kernel, stride, padding, dilation, groups=channels, bias=False
        )
        self.norm = nn.BatchNorm2d(channels)
        self.feature = nn.Conv2d(channels, out, 1)
        self.gate = nn.Conv2d(channels, out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, channels, H, W] to [N, out, H / stride, W / stride]."""
        x = self.norm(self.spatial(x))
        return F.relu(self.feature(x)) * torch.sigmoid(self.gate(x))


def upsample(x: Tensor, size: int) -> Tensor:
    """Resize [N, C, h, h] to [N, C, size, size], bilinear with half-pixel centres."""
    return F.interpolate(x, size=(size, size), mode="bilinear", align_corners=False)


def mirror(x: Tensor) -> Tensor:
    """Turn [N, C, H, W] left to right, by picking columns: a flip has no form in TFLite's converter."""
    return x.index_select(3, torch.arange(x.shape[3] - 1, -1, -1, device=x.device))


def unit_channels(x: Tensor) -> Tensor:
    """Scale [N, C, H, W] to length 1 over the channels; the epsilon survives float16."""
    return x * torch.rsqrt((x * x).sum(dim=1, keepdim=True) + 1e-3)
