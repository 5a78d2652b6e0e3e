"""What can go wrong in an export.

ExportError
└── ConversionError   a converter failed, or what it made is not what went in
"""


class ExportError(Exception):
    """An export cannot be made as asked for."""

    exit_code = 2


class ConversionError(ExportError):
    """A converter crashed, hung, or made a model that computes something else."""

    exit_code = 1
