"""Where a pipeline comes from: the built-in one, with the weights that ship or with a checkpoint's."""

from importlib.metadata import entry_points
from pathlib import Path

from .pipeline import Pipeline

PIPELINES = "mien.pipelines"
"""The group of entry points that offer built-in pipelines; so nothing else needs to import one."""
BUILT_IN = "appraisal"


def open_pipeline(source: Path | None = None) -> Pipeline:
    """Open the built-in pipeline with the weights of ``source``, a checkpoint folder or ``.pt`` file.

    Raises:
        CheckpointError: ``source`` is none that the pipeline can use.
    """
    (entry,) = entry_points(group=PIPELINES, name=BUILT_IN)
    found = entry.load()(source)
    assert isinstance(found, Pipeline), f"{entry.value} gives no pipeline"  # noqa: S101
    return found
