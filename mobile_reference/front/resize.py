"""The front that makes a float32 tensor of a photograph: resized, and normalised by mean and deviation."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mien.mobile_reference.errors import UsageError

from .photograph import Pixels

RESIZE = "resize"
"""The kind of front that resizes a photograph and normalises its pixels."""
COLOURS = {1: "grey", 3: "rgb"}
"""What the channels of a picture are, by their number."""
_LONGEST = 4096
_LEAST_STD = 1e-6
_SIZE = re.compile(r"resize:([0-9]{1,4})x([0-9]{1,4})", re.ASCII)
_EXAMPLE = "--front resize:HxW such as resize:224x224"


@dataclass(frozen=True)
class ResizeRule:
    """How a photograph becomes the tensor [1, C, height, width] of float32 that a model takes.

    ``mean`` and ``std`` are of values of 0..1, as torchvision states them: one for each channel, or one for
    all where the number of channels is not known yet.
    """

    height: int
    width: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def of_channels(self, channels: int) -> "ResizeRule":
        """Return the rule with a mean and a deviation for each channel.

        Raises:
            UsageError: neither one value was given nor as many as there are channels.
        """
        mean, std = _spread("--mean", self.mean, channels), _spread("--std", self.std, channels)
        return replace(self, mean=mean, std=std)

    def record(self) -> dict[str, Any]:
        """Return the rule as a manifest has it; ``read_rule`` reads it."""
        return {
            "size": [self.height, self.width],
            "filter": "bilinear",
            "antialias": True,
            "colour": COLOURS[len(self.mean)],
            "mean": list(self.mean),
            "std": list(self.std),
        }

    def tensor(self, photograph: Pixels) -> NDArray[np.float32]:
        """Return the tensor [1, C, height, width] of a photograph [H, W, 3] of sRGB, 0..255.

        Both sides are brought to the size, whatever the photograph's proportions, by a triangle filter that
        widens where it reduces (Pillow's ``BILINEAR``, torchvision's ``Resize((height, width))``), rounded to
        eight bits. Grey is luma by ITU-R BT.601, taken before. Then (pixel / 255 - mean) / std in float32.
        """
        image = Image.fromarray(photograph)
        image = image.convert("L") if len(self.mean) == 1 else image
        resized = np.asarray(image.resize((self.width, self.height), Image.Resampling.BILINEAR))
        pixels = resized.reshape(self.height, self.width, len(self.mean)).astype(np.float32)
        mean, std = np.array(self.mean, np.float32), np.array(self.std, np.float32)
        return np.ascontiguousarray(((pixels / np.float32(255) - mean) / std).transpose(2, 0, 1))[None]


def _spread(option: str, values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    if len(values) not in (1, channels):
        wanted = "one value" if channels == 1 else f"one value or {channels}"
        raise UsageError(
            f"{option} has {len(values)} values, the model's picture is {COLOURS[channels]}; give {wanted}"
        )
    return values * channels if len(values) == 1 else values


def read_rule(record: Mapping[str, Any]) -> ResizeRule:
    """Read what ``ResizeRule.record`` gave, after its JSON was found to be as the schema says."""
    height, width = record["size"]
    return ResizeRule(height, width, tuple(map(float, record["mean"])), tuple(map(float, record["std"])))


def parse_front(front: str | None, mean: str | None, std: str | None) -> ResizeRule | None:
    """Understand the options ``--front``, ``--mean`` and ``--std``, which belong together.

    Returns:
        The rule, none where no option is given.

    Raises:
        UsageError: one is missing, or cannot be understood.
    """
    if front is None and mean is None and std is None:
        return None
    if front is None:
        raise UsageError(
            f"{'--std' if mean is None else '--mean'} was given without --front, whose pixels it is for; "
            f"give {_EXAMPLE} too"
        )
    size = _SIZE.fullmatch(front)
    height, width = map(int, size.groups()) if size else (0, 0)
    if not (0 < height <= _LONGEST and 0 < width <= _LONGEST):
        raise UsageError(f"--front is {front!r:.60}; give {_EXAMPLE}, height first, 1 to {_LONGEST} each")
    if mean is None or std is None:
        raise UsageError(
            "--front needs --mean and --std, by which pixels of 0..1 are normalised; give both, 0 and 1 "
            "where the model takes 0..1 itself"
        )
    return ResizeRule(height, width, _numbers("--mean", mean, 0), _numbers("--std", std, _LEAST_STD))


def _numbers(option: str, text: str, least: float) -> tuple[float, ...]:
    """Read numbers between commas. Those of 0..255 would be 255-fold too large, so they are refused."""
    try:
        found = tuple(map(float, text.split(",")))
    except ValueError:
        found = ()
    if len(found) not in COLOURS or not all(math.isfinite(one) and least <= one <= 1 for one in found):
        raise UsageError(
            f"{option} is {text!r:.60}, expected one number or three between commas, {least:g} to 1 each; "
            "divide those of pixels of 0..255 by 255"
        )
    return found


def rule_problem(rule: Mapping[str, Any], shape: Sequence[int]) -> str | None:
    """Say where a rule does not make a tensor of a shape; none where it does."""
    made = [1, len(rule["mean"]), *rule["size"]]
    if COLOURS.get(len(rule["mean"])) != rule["colour"] or len(rule["std"]) != len(rule["mean"]):
        return f"the front makes a {rule['colour']} picture with other numbers of mean and std"
    return None if list(shape) == made else f"the front makes {made} of float32, which the input is not"
