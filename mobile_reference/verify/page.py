"""What a verification found, as a page."""

from collections.abc import Iterator, Sequence

import numpy as np

from mien.mobile_reference.bundle.reader import Bundle
from mien.mobile_reference.report.charts import Waterfall
from mien.mobile_reference.report.page import Block, Page, Section, Table, Text, png, write_page
from mien.mobile_reference.report.pipeline_graph import pipeline_graph

from .held_out import HeldOut, VariantHeldOut, worst_of
from .limits import CAVEAT, HEADINGS, JudgedFigure, cells, choice_lines, failures
from .stages import Verification
from .stages_tables import STAGE_HEADINGS, failure_line, remarks, stage_rows

_VIEWS = "What went in, and each view of it: above in float, below in the variant."


def verify_page(
    bundle: Bundle, found: Verification, held_out: HeldOut, judged: Sequence[JudgedFigure]
) -> str:
    """Make the page: the verdict, the worst of the held-out inputs if there are some, and every figure."""
    failed = [*map(failure_line, found.failures), *failures(judged)]
    lead = [Text(f"{len(failed)} gates failed" if failed else "every gate held", "strong")]
    golden: list[Block] = [
        Text(
            f"The worst of {len(bundle.goldens)} golden inputs, by the gate that each stage comes nearest to."
        ),
        Table("stages of every variant", STAGE_HEADINGS, list(stage_rows(found))),
        *map(Text, (*remarks(bundle, found), *choice_lines(bundle))),
    ]
    sections = [
        *([Section("What failed", [Text(line, "note") for line in failed])] if failed else []),
        *held_out_sections(held_out, judged, [stage.name for stage in bundle.spec.stages]),
        Section("Golden inputs", golden),
        Section("Pipeline", [pipeline_graph(bundle)]),
    ]
    return write_page(Page("mien verify", bundle.name, lead, sections))


def held_out_sections(
    held_out: HeldOut, judged: Sequence[JudgedFigure], stages: Sequence[str]
) -> list[Section]:
    """Show the worst input of every variant, where its error comes from, and every figure."""
    if not judged:
        return []
    worst = [block for one in held_out.variants for block in _worst(one)]
    waterfalls = list(_waterfalls(held_out, stages))
    return [
        Section("Worst inputs", [Text(_VIEWS), *worst]),
        *([Section("Error by stage", waterfalls)] if waterfalls else []),
        Section(
            "Held-out inputs",
            [Text(CAVEAT), Table(f"{held_out.faces} inputs", HEADINGS, list(map(cells, judged)))],
        ),
    ]


def _worst(found: VariantHeldOut) -> Iterator[Block]:
    """Name the worst input of a variant and show it, where the pipeline takes a picture."""
    worst = worst_of(found.likeness)
    caption = f"{found.variant}: worst input, {worst.face}, error {worst.error:.3g}"
    if not found.worst.size:
        yield Text(caption)
        return
    yield png(found.worst, _VIEWS, caption)


def _waterfalls(held_out: HeldOut, stages: Sequence[str]) -> Iterator[Waterfall]:
    """Draw the mean error after converting the first 1, 2, 3 ... stages, where it was measured."""
    for one in held_out.variants:
        means = np.mean([errors.points for errors in one.stage_errors] or np.nan, axis=0)
        if np.isfinite(means).all():
            sums = dict(zip(stages, means.tolist(), strict=True))
            yield Waterfall(f"{one.variant}: mean error, and what each stage adds to it", sums)
