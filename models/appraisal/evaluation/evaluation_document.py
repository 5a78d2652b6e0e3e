"""What a command that measures has to say: to a file, to a page, to a terminal."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from mien.mobile_reference.output.file import OutputFile
from mien.mobile_reference.output.json_text import json_text
from mien.mobile_reference.output.text import say
from mien.models.appraisal.evaluation.evaluation_page import Picture, ratings_page, report_page
from mien.models.appraisal.evaluation.evaluation_parts import Part, Sheet, part_record
from mien.models.appraisal.evaluation.evaluation_report import (
    CAVEAT,
    SCHEMA,
    VERSION,
    Evaluated,
    Report,
    report_record,
    sheets,
    tables,
)
from mien.models.appraisal.evaluation.ratings.rating_agreement import CAVEAT as RATINGS_CAVEAT


@dataclass(frozen=True)
class Document:
    """A report in every form: JSON values, an HTML page, sheets with closing lines, and warnings."""

    record: dict[str, Any]
    page: str
    sheets: Sequence[Sheet]
    closing: tuple[str, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Destination:
    """Where a document goes: files if they are named, and standard output as JSON or as tables."""

    output: OutputFile | None
    page: OutputFile | None
    as_json: bool

    @classmethod
    def at(cls, output: Path | None, page: Path | None, *, as_json: bool) -> "Destination":
        """Find out, before hours of work, where files go.

        Raises:
            UsageError: one of them cannot be written.
        """
        return cls(OutputFile.maybe(output), OutputFile.maybe(page), as_json)

    def write(self, document: Document) -> None:
        """Write and print a document; warnings go to standard error."""
        text = json_text(document.record, indent=2)
        if self.output:
            self.output.write(text + "\n")
        if self.page:
            self.page.write(document.page)
        for warning in document.warnings:
            say(warning)
        if self.as_json:
            click.echo(text)
            return
        Console().print(tables(document.sheets))
        for line in document.closing:
            click.echo(line)


def report_document(report: Report, pictures: Sequence[Picture]) -> Document:
    """Make the document of an evaluation on drawn anomalies, with its further parts."""
    left_out = tuple(f"left out {reason}" for reason in report.skipped)
    return Document(
        report_record(report),
        report_page(report, pictures),
        sheets(report),
        (*(part.summary for part in report.parts), CAVEAT),
        (*left_out, *(warning for part in report.parts for warning in part.warnings)),
    )


def ratings_document(subject: Evaluated, part: Part) -> Document:
    """Make the document of an evaluation against people's ratings."""
    record = {
        "schema": SCHEMA,
        "version": VERSION,
        "note": RATINGS_CAVEAT,
        "subject": {"name": subject.name, "sha256": subject.sha256, "split": subject.split},
        "parts": [part_record(part)],
    }
    left_out = tuple(f"left out {reason}" for reason in part.facts["skipped"])
    page = ratings_page(subject, part, RATINGS_CAVEAT)
    return Document(record, page, part.sheets, (part.summary, RATINGS_CAVEAT), (*left_out, *part.warnings))
