"""What can be wrong with what a user brings.

MienError
├── PhotographError   a file that is not a usable photograph
│   └── FaceError     a photograph without a face that can be appraised
├── BundleError       a bundle that is incomplete, changed or of an unknown version
├── CoreMLError       a Core ML package that cannot be executed
│   ├── PackageError      a package that is damaged, hostile or no ML Program
│   ├── UnsupportedError  a program that needs operations or parameters the evaluator has not
│   └── EvaluationError   a program or inputs that contradict what is declared
├── VulkanError       a Vulkan for LiteRT's GPU delegate that is missing, or lacks what it needs
├── RatingError       a result that cannot be a rating: not a number, or outside of its range
├── ChildError        a process for foreign bytes that died or passed a limit
├── ResultError       a result that cannot be written, such as a number that is not finite
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


class ModelError(MienError):
    """LiteRT cannot load or run a TFLite model."""


class VulkanError(MienError):
    """There is no Vulkan that LiteRT's GPU delegate can use."""


class CoreMLError(MienError):
    """A Core ML package cannot be executed."""


class PackageError(CoreMLError):
    """A Core ML package is damaged, hostile or of a kind that is not an ML Program."""


class UnsupportedError(CoreMLError):
    """A program needs operations or parameters that the evaluator does not have."""


class EvaluationError(CoreMLError):
    """A program or its inputs contradict the shapes and types that the program declares."""


class RatingError(MienError):
    """The models gave what cannot be a rating."""


class ChildError(MienError):
    """The process that worked on foreign bytes died or passed a limit."""


class ResultError(MienError):
    """A result holds what no result can be, such as a number that is not finite."""


class UsageError(MienError):
    """A request cannot be met."""
