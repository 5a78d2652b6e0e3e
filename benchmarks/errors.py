"""What can go wrong when measuring, beside the errors of the reference runner.

MienError
├── ReportError    a file that is not a report of ``mien bench``, or two that cannot be compared
└── TargetError    a target that is missing something, or failed while it ran
    ├── SetupError a target that has not been set up, or whose set-up failed
    ├── ProgramError    a program that cannot be started, or says too much
    │   └── ProgramTimeout  a program that takes too long
    └── DeviceError    a phone that cannot be used, or a program that failed on it
        └── DeviceLost a phone that was there and is gone
"""

from mien.mobile_reference.errors import MienError


class ReportError(MienError):
    """A report cannot be read or used."""


class TargetError(MienError):
    """A target cannot measure."""


class SetupError(TargetError):
    """A target is not ready."""


class ProgramError(TargetError):
    """A program cannot be started, or says too much."""


class ProgramTimeout(ProgramError):  # noqa: N818 - what happened, not that it is an error
    """A program takes too long."""


class DeviceError(TargetError):
    """A phone cannot be used, or a program failed on it."""


class DeviceLost(DeviceError):  # noqa: N818 - what happened, not that it is an error
    """A phone was there and is gone."""
