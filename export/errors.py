"""What can go wrong in an export.

ExportError
├── ConversionError   a converter failed, or what it made is not what went in
└── CoreAIError       a Core AI package that cannot be executed

``MienError`` is the one base of all; see ``mien.mobile_reference.errors``.
"""

from mien.mobile_reference.errors import MienError


class ExportError(MienError):
    """An export cannot be made as asked for."""


class ConversionError(ExportError):
    """A converter crashed, hung, or made a model that computes something else."""

    exit_code = 1


class CoreAIError(ExportError):
    """A Core AI package is of another version, or Apple's runtime cannot execute it."""
