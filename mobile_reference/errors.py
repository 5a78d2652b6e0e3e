"""What can be wrong with what a user brings.

MienError
├── PhotographError   a file that is no usable photograph
│   └── FaceError     a photograph without a face that can be appraised
├── BundleError       a bundle that is incomplete, changed or of an unknown version
└── UsageError        a request that cannot be met (an unknown variant, an output folder in use)

Each message is one line: what was got, what was expected, what to do next. The command line prints it
and exits with ``exit_code``.
"""


class MienError(Exception):
    """Base of every error that the user can mend."""

    exit_code = 2


class PhotographError(MienError):
    """A file cannot be read as a photograph."""


class FaceError(PhotographError):
    """A photograph holds no face that can be appraised."""


class BundleError(MienError):
    """A bundle cannot be trusted."""


class UsageError(MienError):
    """A request cannot be met."""
