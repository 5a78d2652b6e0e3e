"""Colour management: from the colours of an embedded ICC profile to sRGB, by Little CMS."""

import io
from collections.abc import Callable, Mapping
from typing import Any

from PIL import Image

from mien.mobile_reference.errors import PhotographError

COLOUR_RULE: Mapping[str, str] = {
    "space": "sRGB",
    "intent": "relative colorimetric",
    "without_profile": "sRGB",
    "gamma": "ignored",
    "sixteen_bits": "(v + 128) // 257",
}
"""What a manifest says of the colours that a front is given, and of how those of a profile become them."""
# The colour space that a profile's header names (ICC.1:2022, 7.2.6), and Pillow's mode for it.
_MODES = {"GRAY": "L", "RGB": "RGB", "CMYK": "CMYK"}


def srgb_converter(name: object, profile: Any) -> Callable[[Image.Image], Image.Image]:
    """Return what converts pictures from an ICC ``profile`` to sRGB by relative colorimetric intent.

    It gives RGB, or RGBA with the alpha of the picture. A grey picture may have a profile of RGB.

    Raises:
        PhotographError: the profile is damaged, or (when a picture is converted) of another kind of
            picture. The colours could only be guessed, and a wrong guess moves a score by several points.
    """
    from PIL import ImageCms  # most photographs have no profile

    unusable = PhotographError(
        f"{name} has a colour profile (ICC) that cannot be used; save it as sRGB, or without a profile"
    )
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        mode = _MODES[source.profile.xcolor_space.strip()]
        transform = ImageCms.buildTransform(
            source, ImageCms.createProfile("sRGB"), mode, "RGB", ImageCms.Intent.RELATIVE_COLORIMETRIC
        )
    except Exception as error:  # Little CMS and Pillow say what is wrong in many types, or not at all
        raise unusable from error

    def convert(image: Image.Image) -> Image.Image:
        colours, alpha = _split(image)
        if (colours.mode, mode) == ("L", "RGB"):
            colours = colours.convert("RGB")
        if colours.mode != mode:
            raise unusable
        converted = transform.apply(colours)
        if alpha:
            converted.putalpha(alpha)
        return converted

    return convert


def _split(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Return the colours, as L, RGB or CMYK, and the alpha, if there is any."""
    grey = image.mode in ("1", "L", "LA")
    if image.has_transparency_data:
        layer = image.convert("LA" if grey else "RGBA")
        return layer.convert("L" if grey else "RGB"), layer.getchannel("A")
    if image.mode == "CMYK":
        return image, None
    return image.convert("L" if grey else "RGB"), None
