"""Published times of networks on phones, and the fits to them; see ``data/README.md``."""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

ATTENTION = "attention"


@dataclass(frozen=True)
class Size:
    """What one run of a network needs: thousand million MACs, millions of values and parameters."""

    dense_gmac: float
    depthwise_gmac: float
    activations_m: float
    parameters_m: float

    @property
    def values(self) -> tuple[float, ...]:
        """The four numbers in the order of the fit."""
        return (self.dense_gmac, self.depthwise_gmac, self.activations_m, self.parameters_m)

    @property
    def gmac(self) -> float:
        """All multiply-accumulates."""
        return self.dense_gmac + self.depthwise_gmac


@dataclass(frozen=True)
class Published:
    """One network's published time in ms."""

    network: str
    kind: str
    size: Size
    ms: float


@dataclass(frozen=True)
class Group:
    """Times of one device, unit, runtime and precision, the networks in alphabetical order.

    ``soc`` is the chip's number as Android says it (``ro.soc.model``).
    """

    name: str
    phones: str
    device: str
    soc: str
    unit: str
    runtime: str
    precision: str
    source: str
    url: str
    times: tuple[Published, ...]


@dataclass(frozen=True)
class Fit:
    """A group's fit: ms = ``start`` + ``rates`` . size, and how it does on a network it has not seen.

    ``median_error`` and ``p90_error`` are shares of the true time; ``slowest`` is the largest true time
    over predicted time; ``false_claims`` is the share of wrong statements "under T ms" made at three
    times the estimate, of all such statements for T of 3, 10, 30, 100, 300 and 1000.
    """

    start: float
    rates: tuple[float, ...]
    networks: int
    median_error: float
    p90_error: float
    slowest: float
    false_claims: float

    def predict(self, size: Size) -> float:
        """Return the estimate in ms."""
        return self.start + float(np.dot(self.rates, size.values))


def _rows(name: str) -> Iterator[dict[str, str]]:
    text = files(__package__).joinpath("data", name).read_text(encoding="utf-8")
    yield from csv.DictReader(text.splitlines())


@cache
def read_groups() -> tuple[Group, ...]:
    """Read the tables that ship with mien."""
    networks = {(row["set"], row["network"]): row for row in _rows("networks.csv")}
    times: dict[str, list[Published]] = {}
    for row in _rows("measurements.csv"):
        network = networks[row["set"], row["network"]]
        numbers = [float(network[name]) for name in Size.__dataclass_fields__]
        published = Published(row["network"], network["kind"], Size(*numbers), float(row["ms"]))
        times.setdefault(row["group"], []).append(published)
    return tuple(
        Group(
            name=row["group"],
            phones=row["class"],
            device=row["device"],
            soc=row["soc"],
            unit=row["unit"],
            runtime=row["runtime"],
            precision=row["precision"],
            source=row["source"],
            url=row["url"],
            times=tuple(times[row["group"]]),
        )
        for row in _rows("groups.csv")
    )


@cache
def read_fits() -> Mapping[str, Fit]:
    """Read the fits that ship with mien, by the group's name."""
    stored = json.loads(files(__package__).joinpath("data", "fit.json").read_text())
    return {name: Fit(**record | {"rates": tuple(record["rates"])}) for name, record in stored.items()}


def sizes_of(times: Sequence[Published]) -> NDArray[np.float64]:
    """Return the sizes as rows [N, 4]."""
    return np.array([published.size.values for published in times])
