"""What can be wrong with what a user brings to the float pipeline.

ModelsError
├── PipelineError     stages that contradict each other, or a module that fails
├── InputError        an input of a user's pipeline that cannot be prepared
├── CheckpointError   a checkpoint that is incomplete, foreign, or unsafe to read
└── NoFaceError       a photograph without a face that can be aligned

``MienError`` is the one base of all; see ``mien.mobile_reference.errors``.
"""

from mien.mobile_reference.errors import MienError


class ModelsError(MienError):
    """Base of this room's errors."""


class CheckpointError(ModelsError):
    """A checkpoint cannot be used."""


class NoFaceError(ModelsError):
    """A photograph holds no face that can be aligned."""


class PipelineError(ModelsError):
    """A pipeline contradicts itself."""


class InputError(ModelsError):
    """An input cannot be used."""
