"""Labels of the user's: a CSV file of them, and the metrics by which outputs are judged."""

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .contract import TensorSpec
from .errors import UsageError
from .files import check_size

COLUMNS = ("file", "label")
_MAX_BYTES = 64 << 20
_LEAST = 2
Values = NDArray[np.float64]


@dataclass(frozen=True)
class LabelMetric:
    """What an output is worth by labels.

    ``read`` makes a label of what stands in the file, a path being relative to the file's folder.
    ``measure`` gives numbers [M] of one input's output and label, ``figure`` makes the figure of their sums
    [..., M] over so many inputs, shaped [...]. ``share`` tells whether the figure is the share of inputs that
    are right.
    """

    name: str
    tensor: str
    read: Callable[[str, Path, TensorSpec], Any]
    measure: Callable[[NDArray[Any], Any, TensorSpec], Sequence[float] | Values]
    figure: Callable[[Values, int], Values]
    share: bool = False

    @property
    def title(self) -> str:
        """What it is called where there are several."""
        return f"{self.name} of {self.tensor}"


@dataclass(frozen=True)
class Row:
    """A line of a file of labels: its number, the input's file, and the label as it stands there."""

    line: int
    file: Path
    label: str


def read_labels(file: Path) -> tuple[Row, ...]:
    """Read a CSV file in UTF-8 with the columns ``file`` and ``label``; paths are relative to its folder.

    Raises:
        UsageError: it cannot be read, lacks a column or a value, or names a file twice or one that is not
            there.
    """
    rows, seen = [], dict[Path, int]()
    for line, name, label in _lines(file):
        path = file.parent / name
        if path in seen:
            raise UsageError(
                f"{file}, line {line}: {name:.80} is labelled again (line {seen[path]}); keep one label"
            )
        if not path.is_file():
            raise UsageError(
                f"{file}, line {line}: there is no file {name:.80}; give its path from the "
                f"folder of {file.name}"
            )
        seen[path] = line
        rows.append(Row(line, path, label))
    if len(rows) < _LEAST:
        raise UsageError(f"{file} labels {len(rows)} inputs, at least {_LEAST} are needed; add lines")
    return tuple(rows)


def _lines(file: Path) -> Iterator[tuple[int, str, str]]:
    """Yield the number and both columns of every line below the headings."""
    wanted = ", ".join(COLUMNS)
    try:
        check_size(file, _MAX_BYTES)
        with file.open(newline="", encoding="utf-8-sig") as text:
            reader = csv.DictReader(text, restval="")
            if reader.fieldnames is None or not set(COLUMNS) <= set(reader.fieldnames):
                found = ", ".join(map(str, reader.fieldnames or ["none"]))
                raise UsageError(f"{file} has the columns {found:.200}, it needs {wanted}")
            for row in reader:
                name, label = (row[column].strip() for column in COLUMNS)
                if not (name and label):
                    raise UsageError(f"{file}, line {reader.line_num}: {wanted} must be filled")
                yield reader.line_num, name, label
    except OSError as error:
        raise UsageError(f"{file} cannot be read ({error.strerror}); give a CSV file of labels") from error
    except (ValueError, csv.Error) as error:
        raise UsageError(f"{file} cannot be read as a CSV file in UTF-8: {error!s:.200}") from error


def parsed(rows: Sequence[Row], file: Path, metric: LabelMetric, tensor: TensorSpec) -> tuple[Any, ...]:
    """Read every label of a file for a metric of a tensor.

    Raises:
        UsageError: the metric cannot judge the tensor, or a label is none that it could have.
    """
    found = []
    for row in rows:
        try:
            found.append(metric.read(row.label, file.parent, tensor))
        except (ValueError, OSError) as error:
            raise UsageError(f"{file}, line {row.line}: {error}") from error
    return tuple(found)
