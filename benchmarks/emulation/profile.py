"""From counted instructions to the kernels that they belong to."""

import re
import subprocess
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mien.benchmarks.errors import TargetError
from mien.benchmarks.results.records import Work
from mien.mobile_reference.tflite.model_file import DEPTHWISE, TFLiteFile

OUTSIDE = "outside LiteRT"
"""What the calling Python and the C library need."""
_REST = "rest of LiteRT"
# How XNNPACK names the kernels that multiply int8 by dot products or as matrices.
_DOT_PRODUCTS = ("neondot", "neoni8mm")
# Kernels with a smaller share join the rest.
_LEAST = 1e-3
# Kinds of work, convolutions first, by XNNPACK's names; the first that fits counts.
KINDS = (
    ("dense int8", re.compile(r"xnn_q[su]8\w*_i?gemm_")),
    ("dense float", re.compile(r"xnn_f(32|16)\w*_i?gemm_")),
    ("depthwise int8", re.compile(r"xnn_q[su]8\w*_dwconv_")),
    ("depthwise float", re.compile(r"xnn_f(32|16)\w*_dwconv_")),
    ("resizing", re.compile(r"xnn_\w+_ibilinear_")),
    ("sigmoid", re.compile(r"xnn_\w+_vsigmoid_")),
)
DENSE_INT8, DENSE_FLOAT, DEPTHWISE_INT8, DEPTHWISE_FLOAT = (kind for kind, _ in KINDS[:4])
# What does the products of a float kernel in int8.
_IN_INT8 = {DENSE_FLOAT: DENSE_INT8, DEPTHWISE_FLOAT: DEPTHWISE_INT8}
OTHER = "anything else"


@dataclass(frozen=True)
class Symbols:
    """The functions of a library by their addresses, ascending, counted from its beginning."""

    addresses: NDArray[np.uint64]
    names: tuple[str, ...]
    size: int


def read_symbols(library: Path) -> Symbols:
    """Read the functions of an unstripped library with ``nm``."""
    command = ["nm", "--defined-only", "--numeric-sort", "--demangle", str(library)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    lines = [line.split(maxsplit=2) for line in done.stdout.splitlines()]
    functions = [(int(words[0], 16), words[2]) for words in lines if len(words) == 3 and words[1] in "tTwW"]
    if done.returncode or not functions:
        raise TargetError(f"nm finds no functions in {library}; run 'mien setup arm64' again")
    addresses = np.array([address for address, _ in functions], dtype=np.uint64)
    return Symbols(addresses, tuple(name for _, name in functions), library.stat().st_size)


def short_name(name: str) -> str:
    """Shorten a C++ signature to class and function: ``f<int>(a::B<c> const&)`` to ``f``."""
    name = name.replace("(anonymous namespace)::", "")
    while (shorter := re.sub(r"<[^<>]*>", "", name)) != name:
        name = shorter
    return "::".join(name.partition("(")[0].split(" ")[-1].split("::")[-2:])


def work_of(graph: str, counts: Path, symbols: Symbols, base: int, *, expect_dot: bool) -> Work:
    """Read what the counter wrote, and name the kernels; ``base`` is where the library was loaded."""
    by_name = _by_name(counts, symbols, base)
    total = by_name.total()
    dot = sum(count for name, count in by_name.items() if any(kind in name for kind in _DOT_PRODUCTS))
    return Work(
        graph=graph,
        instructions=total,
        kernels=_shares(by_name, total),
        dot_product=dot / total if expect_dot else None,
    )


def by_kind(work: Work) -> dict[str, float]:
    """Sum the instructions of a graph's kernels by ``KINDS``, in their order, and the others."""
    found = dict.fromkeys([*(kind for kind, _ in KINDS), OTHER], 0.0)
    for name, share in work.kernels.items():
        found[_kind(name)] += share * work.instructions
    return found


def _kind(kernel: str) -> str:
    return next((kind for kind, pattern in KINDS if pattern.match(kernel)), OTHER)


def products_by_kind(model: TFLiteFile) -> dict[str, int]:
    """Count the multiply-accumulates of a model by the kind of kernel that does them."""
    found: Counter[str] = Counter()
    for operator in model.running:
        depthwise = operator.name == DEPTHWISE
        kinds = (DEPTHWISE_INT8, DEPTHWISE_FLOAT) if depthwise else (DENSE_INT8, DENSE_FLOAT)
        found[kinds[0] if operator.is_integer else kinds[1]] += operator.macs
    return {kind: macs for kind, macs in found.items() if macs}


@dataclass(frozen=True)
class Kernel:
    """A kernel of a graph: its instructions, and what its products would need by int8 kernels.

    ``in_int8`` is None where the kernel has no int8 counterpart, or none was counted.
    """

    name: str
    instructions: float
    in_int8: float | None


def dearest(work: Work, counted: Sequence[Work], most: int = 10) -> list[Kernel]:
    """Return the ``most`` dearest kernels of a graph, and what each would cost in int8.

    That is an estimate: the products of a float kernel at the instructions per product that the int8 kernels
    of the same kind need, in whichever of the graphs ``counted`` on the same processor has most of them. What
    quantising between float and int8 would cost is not in it.
    """
    named = [name for name in work.kernels if name not in (_REST, OUTSIDE)]
    return [
        Kernel(name, work.kernels[name] * work.instructions, _int8_instructions(work, name, counted))
        for name in named[:most]
    ]


def _int8_instructions(work: Work, kernel: str, counted: Sequence[Work]) -> float | None:
    kind = _kind(kernel)
    int8, own = _IN_INT8.get(kind, ""), _per_product(work, kind)
    model = max(counted, key=lambda one: one.products.get(int8, 0), default=work)
    needed = _per_product(model, int8)
    return work.kernels[kernel] * work.instructions * needed / own if needed and own else None


def _per_product(work: Work, kind: str) -> float | None:
    """Return the instructions for one product by kernels of a kind, None where the graph has none."""
    products = work.products.get(kind, 0)
    return by_kind(work)[kind] / products if products else None


def _by_name(counts: Path, symbols: Symbols, base: int) -> Counter[str]:
    by_name: Counter[str] = Counter()
    for line in counts.read_text().splitlines():
        address, executed = line.split()
        by_name[_kernel(int(address, 16) - base, symbols)] += int(executed)
    return by_name


def _kernel(offset: int, symbols: Symbols) -> str:
    if not 0 <= offset < symbols.size:
        return OUTSIDE
    place = int(np.searchsorted(symbols.addresses, offset, side="right")) - 1
    return short_name(symbols.names[place]) if place >= 0 else _REST


def _shares(by_name: Counter[str], total: int) -> dict[str, float]:
    """Keep the larger kernels; the small ones join the rest."""
    kernels = [
        (name, count)
        for name, count in by_name.items()
        if name not in (_REST, OUTSIDE) and count >= _LEAST * total
    ]
    outside = by_name[OUTSIDE]
    rest = total - outside - sum(count for _, count in kernels)
    named = [*kernels, (_REST, rest), (OUTSIDE, outside)]
    return {name: count / total for name, count in sorted(named, key=lambda pair: -pair[1])}
