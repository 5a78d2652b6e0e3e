"""The precision of each block of a graph, and what was found to be the best one.

A pipeline may come with a file of assignments, found by a search and by trials after it
(docs/quantisation.md); it is exported with them unless another search is asked for.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from mien.export.errors import ExportError
from mien.mobile_reference.files import check_size
from mien.mobile_reference.output.json_text import json_text, parse_json

from .blocks import Block
from .ranges import Histograms, Method, Range, ranges_by

_MAX_BYTES = 1 << 20


class Precision(StrEnum):
    """What a block's weights are stored in, and what it computes in.

    ``INT8`` computes in int8 throughout, ``INT16`` with int8 weights and int16 activations. ``DYNAMIC`` has
    int8 weights, and its products round each float32 input to eight bits as they run. The others compute in
    float32. In a ``WEIGHTS`` block dense convolutions have int8 weights, depthwise ones float16 weights.
    """

    INT8 = "int8"
    INT16 = "int16"
    DYNAMIC = "dynamic"
    WEIGHTS = "int8w"
    FLOAT16 = "float16"
    FLOAT32 = "float32"


@dataclass(frozen=True)
class Choice:
    """What is done with a block; ``method`` gives the ranges of its activations if they are int8."""

    precision: Precision
    method: Method = Method.MIN_MAX

    @property
    def ranged(self) -> bool:
        """Tell whether the block's tensors need ranges."""
        return self.precision in (Precision.INT8, Precision.INT16)

    def __str__(self) -> str:
        """Name the choice as it is stored: ``int8 mse``, ``float32``."""
        return f"{self.precision} {self.method}" if self.ranged else str(self.precision)


def read_choice(text: str) -> Choice:
    """Read what ``str`` of a choice wrote.

    Raises:
        ValueError: the text names no choice.
    """
    precision, _, method = text.partition(" ")
    return Choice(Precision(precision), Method(method) if method else Method.MIN_MAX)


HALF = Choice(Precision.FLOAT16)
WHOLE = Choice(Precision.FLOAT32)
BYTES: Mapping[Precision, int] = {
    Precision.INT8: 1,
    Precision.INT16: 1,
    Precision.DYNAMIC: 1,
    Precision.WEIGHTS: 1,
    Precision.FLOAT16: 2,
    Precision.FLOAT32: 4,
}
"""Bytes of one weight, but for the few depthwise ones of ``WEIGHTS`` blocks."""
Assignment = Mapping[str, Choice]
"""Choices by block, and by ``REST`` for those with weights that are not named: else float16 weights."""
REST = "*"
"""The name by which an assignment chooses for all blocks that it does not name."""
ALL_INT8: Assignment = {REST: Choice(Precision.INT8)}
ALL_DYNAMIC: Assignment = {REST: Choice(Precision.DYNAMIC)}


def choices(blocks: Sequence[Block], assignment: Assignment) -> dict[str, Choice]:
    """Give every block its choice.

    A block without weights that is not named computes in int8 where all blocks that it reads do, unless
    ``REST`` says that what is not named is float; else it computes in float32.
    """
    rest = assignment.get(REST)
    found = {one.name: assignment.get(one.name, rest or HALF) for one in blocks if one.weights}
    makers = {name: one.name for one in blocks for name in one.outputs}
    for block in (one for one in blocks if not one.weights):
        read = [found.get(makers.get(name, ""), WHOLE) for name in sorted(block.inputs)]
        follows = rest is None or rest.ranged
        eight = follows and bool(read) and all(one.precision is Precision.INT8 for one in read)
        found[block.name] = assignment.get(block.name, read[0] if eight else WHOLE)
    return found


def stored_assignment(variant: str, file: Path) -> dict[str, Choice]:
    """Read the assignment that was stored for a variant such as ``tflite-int8``.

    Raises:
        ExportError: the file is none that ``write_assignments`` wrote, or lacks the variant.
    """
    try:
        check_size(file, _MAX_BYTES)
        found = parse_json(file.read_bytes())[variant]
        return {block: read_choice(choice) for block, choice in found.items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise ExportError(
            f"{file} gives no precision for {variant} ({error}); give a file that --precision auto made"
        ) from error


def write_assignments(assignments: Mapping[str, Assignment], file: Path) -> None:
    """Write assignments by variant, as ``stored_assignment`` reads them."""
    plain = {
        variant: {block: str(choice) for block, choice in assignment.items()}
        for variant, assignment in assignments.items()
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json_text(plain, indent=1) + "\n", encoding="utf-8")


def unmatched_blocks(blocks: Sequence[Block], assignment: Assignment) -> Iterator[str]:
    """Say which blocks the assignment does not know, and which it knows that are not there."""
    names = {block.name for block in blocks}
    unnamed = {block.name for block in blocks if block.weights} - assignment.keys()
    if unnamed and not assignment.get(REST, HALF).ranged:
        yield f"no precision is stored for {_some(unnamed)}: float16 weights; search with --precision auto"
    gone = assignment.keys() - names - {REST}
    if gone:
        yield f"a precision is stored for {_some(gone)}, not in the graph; search with --precision auto"


def _some(names: Collection[str]) -> str:
    """Name the first of some, and say how many more there are."""
    return min(names) + (f" and {len(names) - 1} more" if len(names) > 1 else "")


def tensor_ranges(blocks: Sequence[Block], assignment: Assignment, found: Histograms) -> dict[str, Range]:
    """Choose the range of every tensor.

    It follows the method of the int8 block that makes the tensor; where that block is float, of the one that
    reads it. What no int8 block touches has its least and greatest value.
    """
    by_method = {method: ranges_by(method, found) for method in Method}
    chosen = dict(by_method[Method.MIN_MAX])
    settled = choices(blocks, assignment)
    eight = [(block, c.method) for block in blocks if (c := settled[block.name]).ranged]
    for names in ("inputs", "outputs"):
        for block, method in eight:
            chosen |= {name: by_method[method][name] for name in getattr(block, names)}
    return chosen
