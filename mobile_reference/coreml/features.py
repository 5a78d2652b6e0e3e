"""From what an app has to what the program's function takes, and back.

Image features: the package's own scale and bias are operations of the program, so nothing is scaled
here. The only preprocessing outside the program is the order of colours and axes: (height, width,
channels) in RGB becomes (1, channels, height, width) in the order that the feature declares.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from mien.mobile_reference.errors import EvaluationError

from .program import (
    Array,
    ArrayFeature,
    ColourSpace,
    Feature,
    Function,
    ImageFeature,
    Interface,
    StateType,
    TensorType,
)
from .registry import Value


def accept_inputs(
    function: Function, interface: Interface | None, given: Mapping[str, Any]
) -> dict[str, Array]:
    """Check an app's inputs against the interface and bring them into the function's form."""
    features = {f.name: f for f in interface.inputs} if interface else {}
    declared = {n.name: n.type for n in function.inputs if not isinstance(n.type, StateType)}
    unknown = sorted(given.keys() - declared.keys())
    if unknown:
        raise EvaluationError(f"there is no input {unknown}; the inputs are {sorted(declared)}")
    tensors = {}
    for name, kind in declared.items():
        if not isinstance(kind, TensorType):
            raise EvaluationError(f"input '{name}' is not a tensor; the evaluator takes tensors only")
        feature = features.get(name, Feature(name, None, optional=False))
        tensors[name] = _accept(feature, kind, given.get(name))
    return tensors


def _accept(feature: Feature, kind: TensorType, value: Any) -> Array:
    if value is None:
        return _default(feature, kind)
    array = np.asarray(value)
    if isinstance(feature.kind, ImageFeature):
        return _image_in(feature.name, feature.kind, array).astype(kind.kind.dtype)
    if kind.shape == () and array.size == 1:  # an app gives a single number as an array of one
        array = array.reshape(())
    elif isinstance(feature.kind, ArrayFeature):
        _check_array(feature.name, feature.kind, array)
    return _cast(feature.name, array, kind)


def _default(feature: Feature, kind: TensorType) -> Array:
    array = feature.kind
    if not feature.optional or not isinstance(array, ArrayFeature) or not array.shapes[0]:
        raise EvaluationError(f"input '{feature.name}' is missing")
    shape = () if kind.shape == () else array.shapes[0]
    return np.full(shape, array.default or 0.0, dtype=kind.kind.dtype)


def _cast(name: str, array: Array, kind: TensorType) -> Array:
    """Core ML converts among reals and among whole numbers, and never between the two."""
    families = ({"f"}, {"i", "u", "b"})
    target = kind.kind.dtype
    if not any(array.dtype.kind in family and target.kind in family for family in families):
        raise EvaluationError(f"input '{name}' has type {array.dtype}, declared is {kind.kind.name}")
    return array.astype(target, copy=False)


def _check_array(name: str, feature: ArrayFeature, array: Array) -> None:
    if feature.ranges is not None:
        fits = len(feature.ranges) == array.ndim and all(
            size in allowed for size, allowed in zip(array.shape, feature.ranges, strict=True)
        )
        if not fits:
            bounds = [f"{r.lower}..{'' if r.upper is None else r.upper}" for r in feature.ranges]
            raise EvaluationError(f"input '{name}' has shape {array.shape}, allowed is {bounds}")
        return
    shapes = [shape for shape in feature.shapes if shape]
    if shapes and array.shape not in shapes:
        raise EvaluationError(f"input '{name}' has shape {array.shape}, allowed is {shapes}")


def _image_in(name: str, feature: ImageFeature, image: Array) -> Array:
    colour = feature.colour
    grey = colour.channels == 1
    wanted = "(height, width)" if grey else "(height, width, 3)"
    if image.ndim != (2 if grey else 3) or (not grey and image.shape[2] != 3):
        raise EvaluationError(f"image '{name}' has shape {image.shape}; expected is {wanted}")
    if image.dtype != np.uint8 and colour is not ColourSpace.GREY_FLOAT16:
        raise EvaluationError(f"image '{name}' has type {image.dtype}; expected is uint8, 0 to 255")
    _check_size(name, feature, (image.shape[0], image.shape[1]))
    if grey:
        return image[np.newaxis, np.newaxis]
    ordered = image[..., ::-1] if colour is ColourSpace.BGR else image
    return np.ascontiguousarray(ordered.transpose(2, 0, 1))[np.newaxis]


def _check_size(name: str, feature: ImageFeature, size: tuple[int, int]) -> None:
    if feature.ranges is not None:
        if size[0] in feature.ranges[0] and size[1] in feature.ranges[1]:
            return
    elif size in feature.sizes:
        return
    allowed = feature.ranges or feature.sizes
    raise EvaluationError(f"image '{name}' has height and width {size}; allowed is {allowed}")


def deliver_outputs(results: Mapping[str, Value], interface: Interface | None) -> dict[str, Value]:
    """Bring results into the form in which an app gets them: images as uint8 in RGB order."""
    images = {
        f.name: f.kind for f in (interface.outputs if interface else ()) if isinstance(f.kind, ImageFeature)
    }
    return {
        name: _image_out(value, images[name]) if name in images and isinstance(value, np.ndarray) else value
        for name, value in results.items()
    }


def _image_out(tensor: Array, feature: ImageFeature) -> Array:
    if feature.colour is ColourSpace.GREY_FLOAT16:
        return tensor.reshape(tensor.shape[-2:])
    pixels = np.clip(np.rint(tensor.astype(np.float32)), 0, 255).astype(np.uint8)
    if feature.colour is ColourSpace.GREY:
        return pixels.reshape(pixels.shape[-2:])
    image = pixels.reshape(pixels.shape[-3:]).transpose(1, 2, 0)
    return image[..., ::-1] if feature.colour is ColourSpace.BGR else image
