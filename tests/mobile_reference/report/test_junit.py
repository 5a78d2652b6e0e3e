"""JUnit XML: counts, and names that stay text."""

from xml.etree import ElementTree as ET

from mien.mobile_reference.report.junit import Case, junit


def test_what_failed_and_what_was_not_judged_is_told() -> None:
    cases = [
        Case("tflite-fp32", "detector"),
        Case("tflite-int8", "appraisal", failure="score is 3, at most 1 passes"),
        Case("tflite-int8", "cascade", skipped="not judged"),
    ]
    root = ET.fromstring(junit("mien verify x", cases))  # noqa: S314 - our own
    (suite,) = root
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("3", "1", "1")
    sound, failed, skipped = suite
    assert (sound.get("classname"), sound.get("name"), list(sound)) == ("tflite-fp32", "detector", [])
    assert [(child.tag, child.get("message")) for child in failed] == [
        ("failure", "score is 3, at most 1 passes")
    ]
    assert [child.tag for child in skipped] == ["skipped"]


def test_names_are_text_whatever_they_hold() -> None:
    hostile = '"><failure/>\x00\x1b[2K\n\ud800&'
    (suite,) = ET.fromstring(junit(hostile, [Case(hostile, hostile)]))  # noqa: S314
    (case,) = suite
    assert list(case) == []
    assert case.get("name") == '"><failure/>\\x00\\x1b[2K\\n\\ud800&'
