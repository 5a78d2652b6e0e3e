"""What can be wrong with what a user brings for calibration or training.

CalibrationError
├── ImageSetError   a set of images that cannot be used
├── RecipeError     a place or a device that a training cannot use
└── RequestError    an evaluation that cannot be made as it was asked for

``MienError`` is the one base of all; see ``mien.mobile_reference.errors``.
"""

from mien.models.errors import ModelsError


class CalibrationError(ModelsError):
    """Base of the errors of sets, training and evaluation."""


class ImageSetError(CalibrationError):
    """A set of images cannot be used."""


class RecipeError(CalibrationError):
    """A recipe cannot be followed."""


class RequestError(CalibrationError):
    """An evaluation cannot be made as it was asked for."""
