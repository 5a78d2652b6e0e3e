"""What an export made, as a page."""

from collections.abc import Iterator, Sequence
from typing import Any

from mien.mobile_reference.bundle.reader import Bundle
from mien.mobile_reference.contract import PipelineSpec
from mien.mobile_reference.errors import BundleError
from mien.mobile_reference.metrics import METRICS, allowed
from mien.mobile_reference.output.json_text import parse_json

from .page import Page, Section, Table, Text, write_page
from .pipeline_graph import pipeline_graph

_PRECISION = "ranges/precision.json"
_HEADINGS = ("variant", "platform", "MB", "error", "tolerance", "int8 %", "remark")


def bundle_page(bundle: Bundle, warnings: Sequence[str]) -> str:
    """Make the page of a bundle: its pipeline, its variants, its gates, and what was warned of."""
    spec, manifest = bundle.spec, bundle.manifest
    gate = spec.rating
    error = f"{METRICS[gate.metric].label} of {gate.tensor}" if gate.metric in METRICS else gate.metric
    made_from = (
        f"made by mien {manifest['provenance']['mien']} of {manifest['provenance']['checkpoint'][:12]}"
    )
    sections = [
        Section("Pipeline", [pipeline_graph(bundle)]),
        Section(
            "Variants",
            [
                Text("Errors are the worst of the golden inputs; 'mien verify' judges them again."),
                Table(f"sizes, and {error}", _HEADINGS, list(_variants(bundle))),
            ],
        ),
        *_blocks(bundle),
        Section("Gates", [Table("limits by precision or variant", *_gates(spec))]),
    ]
    lead = [Text(made_from), *(Text(warning, "note") for warning in warnings)]
    return write_page(Page("mien export", bundle.name, lead, sections))


def _variants(bundle: Bundle) -> Iterator[tuple[str, ...]]:
    chosen = set(bundle.manifest.get("choice", {}).values())
    for entry in bundle.manifest["variants"]:
        products = entry["products_int8"]
        share = "" if products is None else f"{100 * products:.0f}"
        remark = "take this one" if entry["name"] in chosen else ""
        yield entry["name"], entry["platform"], *_measured(bundle.spec, entry), share, remark
    for entry in bundle.manifest.get("left_out", ()):
        platform = entry["name"].partition("-")[0]
        yield entry["name"], platform, *_measured(bundle.spec, entry), "", "left out"


def _measured(spec: PipelineSpec, entry: Any) -> tuple[str, str, str]:
    points, limit = entry["measured"]["points"], allowed(spec.rating, entry["name"])
    size = f"{entry['measured']['bytes'] / 1e6:.2f}"
    return size, "NaN" if points is None else f"{points:.4g}", "" if limit is None else f"{limit:.4g}"


def _blocks(bundle: Bundle) -> Iterator[Section]:
    """List the precision of every block, of a bundle that says so."""
    if _PRECISION not in bundle.manifest["files"]:
        return
    chosen = parse_json((bundle.path / _PRECISION).read_bytes())
    if not (isinstance(chosen, dict) and chosen and all(isinstance(one, dict) for one in chosen.values())):
        raise BundleError(f"{bundle.path / _PRECISION} is not a table of precisions; export the bundle again")
    names = dict.fromkeys(block for one in chosen.values() for block in one)
    rows = [(name, *(str(one.get(name, "")) for one in chosen.values())) for name in names]
    yield Section(
        "Precision by block",
        [Table("as the bundle states it; * is every other block", ("block", *chosen), rows)],
    )


def _gates(spec: PipelineSpec) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    precisions = list(dict.fromkeys(key for gate in spec.gates for key in gate.limits))
    rows = [
        (
            gate.tensor,
            gate.metric,
            gate.over,
            *(f"{gate.limits[k]:g}" if k in gate.limits else "" for k in precisions),
        )
        for gate in spec.gates
    ]
    return ("tensor", "metric", "over", *precisions), rows
