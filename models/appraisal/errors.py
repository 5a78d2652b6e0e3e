"""What can be wrong with what a user brings for calibration or training.

CalibrationError
├── ImageSetError   a set of images that cannot be used
├── RecipeError     a place or a device that a training cannot use
└── RequestError    an evaluation that cannot be made as it was asked for

Each carries ``exit_code``, by which the command line tells a user's mistake from a defect of mien.
"""


class CalibrationError(Exception):
    """Base of every error that the user can mend."""

    exit_code = 2


class ImageSetError(CalibrationError):
    """A set of images cannot be used."""


class RecipeError(CalibrationError):
    """A recipe cannot be followed."""


class RequestError(CalibrationError):
    """An evaluation cannot be made as it was asked for."""
