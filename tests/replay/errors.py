"""What can go wrong with a replay."""

from mien.mobile_reference.errors import MienError


class ReplayError(MienError):
    """A side could not be made or read, so that nothing can be compared."""
