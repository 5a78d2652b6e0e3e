"""JSON from outside: one way to read it, or a reason."""

import pytest

from mien.mobile_reference.output.json_text import parse_json


def test_a_byte_order_mark_is_passed_over():
    assert parse_json(b'\xef\xbb\xbf{"a": 1}') == {"a": 1}


@pytest.mark.parametrize("code", ["utf-16", "utf-16-le", "utf-32", "latin-1"])
def test_other_encodings_are_refused(code: str):
    with pytest.raises(ValueError, match=r"codec|Expecting"):
        parse_json('{"a": "\xe9"}'.encode(code))


@pytest.mark.parametrize("text", ['{"a": 1, "a": 1}', '[{"b": {"a": 1, "c": 2, "a": {}}}]'])
def test_a_name_that_is_there_twice_is_refused(text: str):
    with pytest.raises(ValueError, match="'a' is there twice"):
        parse_json(text)


def test_the_same_name_in_several_objects_is_read():
    assert parse_json('[{"a": {"a": 1}}, {"a": 2}]') == [{"a": {"a": 1}}, {"a": 2}]
