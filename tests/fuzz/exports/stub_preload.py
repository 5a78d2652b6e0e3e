"""What the processes of a stub's conversions are forked from: a server that need not load PyTorch."""

from contextlib import nullcontext

from mien.export.running import isolation

isolation.one_thread = nullcontext  # type: ignore[assignment]
