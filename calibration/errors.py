"""What can be wrong with images that a user brings for calibration or training."""


class ImageSetError(Exception):
    """A set of images cannot be used."""

    exit_code = 2
