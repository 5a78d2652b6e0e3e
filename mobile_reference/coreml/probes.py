"""Inputs that show what a package computes wrongly: pixels, signs, wide ranges, outliers, whole numbers.

Numbers from [0, 1) alone hide a lost negative slope, a lost threshold, or an epsilon that grows with the
largest value, and indices that are all 0 hide rows in the wrong order.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from mien.mobile_reference.errors import UsageError

from .program import Array, ArrayFeature, Function, ImageFeature, Interface, NamedType, TensorType
from .sources import SourceInput, SourceModel

_WIDE = 30.0
_FAINT = 0.02
_RARE = 16
# Above 2**24 float32 does not hold every whole number, and above 2**15 int16 holds none; and so many of them
# can be added before int32 overflows.
_LARGEST_WHOLE = 2**25 + 1
_PIXEL = "uint8"

Generator = np.random.Generator
Draw = Callable[[Generator, tuple[int, ...]], Array]


def _evenly(generator: Generator, shape: tuple[int, ...]) -> Array:
    """Numbers from -30 to 30, as far apart from each other as there are."""
    values = np.linspace(-_WIDE, _WIDE, int(np.prod(shape)))
    return generator.permutation(values).reshape(shape)


def _with_outliers(generator: Generator, shape: tuple[int, ...]) -> Array:
    """Small numbers, and one of sixteen as large as 30."""
    values = generator.normal(0, _FAINT, int(np.prod(shape)))
    values[::_RARE] = _WIDE * generator.choice((-1, 1), len(values[::_RARE]))
    return values.reshape(shape)


PROBES: Mapping[str, Draw] = {
    "from 0 to 1": lambda generator, shape: generator.random(shape),
    "signed": lambda generator, shape: generator.normal(size=shape),
    "wide": _evenly,
    "outliers": _with_outliers,
}
"""How real numbers are drawn, by what the inputs are called in reports."""


@dataclass(frozen=True)
class Probe:
    """Inputs of a package by name, and what its source model makes of them."""

    name: str
    inputs: Mapping[str, Array]
    expected: list[Array]


class Probes:
    """The probes of a function that its source model takes, and why it does not take the others.

    Args:
        function: the package's function.
        interface: its inputs as an app sees them.
        source: the source model.
        seed: of all random numbers.
    """

    def __init__(
        self, function: Function, interface: Interface | None, source: SourceModel, seed: int
    ) -> None:
        features = {f.name: f.kind for f in interface.inputs} if interface else {}
        taken = source.takes([named.name for named in function.inputs])
        self._inputs = [
            _Input(n.name, features.get(n.name), _tensor(n), taken[n.name]) for n in function.inputs
        ]
        self._source, self._seed = source, seed
        self.left_out: dict[str, str] = {}

    def __iter__(self) -> Iterator[Probe]:
        """Give the probes.

        Raises:
            UsageError: the source takes none of them, or makes NaN of all.
        """
        wholes, used = self._wholes(), 0
        for number, name in enumerate(PROBES):
            inputs = self._drawn(name, wholes, number)
            try:
                expected = self._source(inputs)
            except UsageError as error:
                self.left_out[name] = str(error)
                continue
            if any(array.dtype.kind == "f" and np.isnan(array).any() for array in expected):
                self.left_out[name] = "the source model gives NaN"
                continue
            used += 1
            yield Probe(name, inputs, expected)
            if not any(one.is_real or one.is_whole for one in self._inputs):
                return
        if not used:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in self.left_out.items())
            raise UsageError(f"no default inputs suit the source model; give --input ({reasons})")

    def _drawn(self, probe: str, wholes: Draw, number: int) -> dict[str, Array]:
        generator = np.random.default_rng((self._seed, number))
        return {one.name: one.drawn(PROBES[probe], wholes, generator) for one in self._inputs}

    def _wholes(self) -> Draw:
        """Find the whole numbers that the source takes: any, or as many from 0 on as it has rows."""
        if not any(one.is_whole for one in self._inputs) or self._takes(_signed_wholes):
            return _signed_wholes
        taken = bisect_left(range(2, _LARGEST_WHOLE), 1, key=lambda size: 1 - self._takes(_indices(size)))
        return _indices(taken + 1)

    def _takes(self, wholes: Draw) -> bool:
        try:
            self._source(self._drawn("from 0 to 1", wholes, 0))
        except UsageError:
            return False
        return True


def _signed_wholes(generator: Generator, shape: tuple[int, ...]) -> Array:
    """Numbers of both signs and of every size, none of them 0, which nothing can be divided by."""
    count = int(np.prod(shape))
    sizes = np.exp2(generator.uniform(0, np.log2(_LARGEST_WHOLE), count)).astype(np.int64)
    sizes[:1] = _LARGEST_WHOLE
    signed: Array = sizes * generator.choice((-1, 1), count)
    return signed.reshape(shape)


def _indices(size: int) -> Draw:
    """Numbers from 0 to ``size`` - 1, the last among them."""

    def draw(generator: Generator, shape: tuple[int, ...]) -> Array:
        values = generator.integers(0, size, int(np.prod(shape)))
        values[:1] = size - 1
        return values.reshape(shape)

    return draw


def _tensor(named: NamedType) -> TensorType:
    if not isinstance(named.type, TensorType):
        raise UsageError(f"input '{named.name}' is not a tensor; give --input {named.name}=FILE.npy")
    return named.type


@dataclass(frozen=True)
class _Input:
    """An input of a function: as an app sees it, as the program declares it, as the source takes it."""

    name: str
    form: ImageFeature | ArrayFeature | None
    declared: TensorType
    taken: SourceInput

    @property
    def is_picture(self) -> bool:
        return isinstance(self.form, ImageFeature)

    @property
    def is_whole(self) -> bool:
        """Whether it takes any whole number: indices, counts, codes."""
        kinds = {self.declared.kind.dtype.kind, np.dtype(self.taken.dtype).kind}
        return not self.is_picture and self.taken.dtype != _PIXEL and bool(kinds & {"i", "u"})

    @property
    def is_real(self) -> bool:
        return not self.is_picture and np.dtype(self.taken.dtype).kind == "f" and not self.is_whole

    def drawn(self, reals: Draw, wholes: Draw, generator: Generator) -> Array:
        if isinstance(self.form, ImageFeature):
            axes = (3,) if self.form.colour.channels == 3 else ()
            return generator.integers(0, 256, self.form.sizes[0] + axes, dtype=np.uint8)
        if self.taken.dtype == _PIXEL:
            drawn = generator.integers(0, 256, self._shape)
        elif self.taken.dtype == "bool":
            drawn = generator.integers(0, 2, self._shape)
        else:
            drawn = (wholes if self.is_whole else reals)(generator, self._shape)
        result: Array = drawn.astype(self.declared.kind.dtype)
        return result

    @property
    def _shape(self) -> tuple[int, ...]:
        declared = self.declared.shape or ()
        known = tuple(n for n in declared if n is not None)
        listed = self.form.shapes[0] if isinstance(self.form, ArrayFeature) else ()
        shape = listed or known
        if len(shape) != len(declared):
            raise UsageError(f"input '{self.name}' has no default shape; give --input {self.name}=FILE.npy")
        return shape
