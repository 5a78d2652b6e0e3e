"""What can be wrong with what a user brings to the float pipeline.

ModelsError
├── PipelineError     stages that contradict each other, or a module that fails
├── CheckpointError   a checkpoint that is incomplete, foreign, or unsafe to read
└── NoFaceError       a photograph without a face that can be aligned

Each carries ``exit_code``, by which the command line tells a user's mistake from a defect of mien.
"""


class ModelsError(Exception):
    """Base of every error that the user can mend."""

    exit_code = 2


class CheckpointError(ModelsError):
    """A checkpoint cannot be used."""


class NoFaceError(ModelsError):
    """A photograph holds no face that can be aligned."""


class PipelineError(ModelsError):
    """A pipeline contradicts itself."""
