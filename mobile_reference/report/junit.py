"""Results as JUnit XML, which build servers show: a case that was not judged is skipped, never passed.

The format is that of https://github.com/testmoapp/junitxml, as far as we need it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree as ET

from mien.mobile_reference.output.text import shown


@dataclass(frozen=True)
class Case:
    """One result of a ``group``, the variant: why it failed, or why it was not judged."""

    group: str
    name: str
    failure: str = ""
    skipped: str = ""


def junit(suite: str, cases: Sequence[Case]) -> str:
    """Return a suite of cases as XML text."""
    counts = {
        "tests": str(len(cases)),
        "failures": str(sum(bool(case.failure) for case in cases)),
        "skipped": str(sum(bool(case.skipped) for case in cases)),
    }
    root = ET.Element("testsuites", counts)
    parent = ET.SubElement(root, "testsuite", {"name": shown(suite), **counts})
    for case in cases:
        one = ET.SubElement(parent, "testcase", {"classname": shown(case.group), "name": shown(case.name)})
        for kind, message in (("failure", case.failure), ("skipped", case.skipped)):
            if message:
                ET.SubElement(one, kind, {"message": shown(message)})
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"
