"""Faults: each kind changes what it says and nothing else, and what no test should feel is left alone."""

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.mutants.faults import MODULE, find_mutants


def changes(source: str) -> set[tuple[str, str]]:
    return {(m.kind, m.apply(source.encode()).decode()) for m in find_mutants("a.py", source.encode())}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("a < b", {("boundary", "(a <= b)"), ("comparison", "(a >= b)")}),
        ("a in b", {("comparison", "(a not in b)")}),
        ("a + b * c", {("arithmetic", "(a - b * c)"), ("arithmetic", "a + (b / c)")}),
        ("a += b", {("arithmetic", "a -= b")}),
        ("a = 7", {("constant", "a = (7 + 1)")}),
        ("a = True", {("constant", "a = False")}),
        ("a and b", {("boolean", "(a or b)")}),
        ("a = not b", {("boolean", "a = bool(b)")}),
        ("b if a else c", {("boolean", "b if (not (a)) else c")}),
        ("f(a, b)", {("arguments", "(f(b, a))"), ("removed", "pass")}),
        ("a[b] = c", {("removed", "pass")}),
        ("raise a", {("removed", "pass")}),
        ("def f():\n    return a", {("returned", "def f():\n    return None")}),
    ],
)
def test_each_kind_of_fault(source: str, expected: set[tuple[str, str]]) -> None:
    assert changes(source) == expected


@pytest.mark.parametrize(
    "source",
    [
        '"""Text of 1 < 2."""',
        "a = b",
        "def f():\n    return None",
        "def f(a: 'int | 3') -> 'x < 1': ...",
        "@g(1)\ndef f(): ...",
        'f"{a + 1}"',
        "f(a, a)",
        "f(*a, b)",
    ],
)
def test_what_no_test_should_feel_is_left_alone(source: str) -> None:
    assert {kind for kind, _ in changes(source)} <= {"removed"}


def test_places_are_bytes_lines_and_outermost_functions() -> None:
    source = '# ä\nx = 1\nclass A:\n    def f(self):\n        def g():\n            return "ö" + a\n'
    found = {(m.line, m.function, m.kind) for m in find_mutants("a.py", source.encode())}
    assert found == {(2, MODULE, "constant"), (6, "A.f", "returned"), (6, "A.f", "arithmetic")}
    assert ("arithmetic", source.replace('"ö" + a', "('ö' - a)")) in changes(source)


def test_a_function_whose_result_is_kept_is_felt_by_every_test_of_the_file() -> None:
    (mutant,) = find_mutants("a.py", b"@functools.lru_cache(None)\ndef f():\n    return a")
    assert mutant.function == MODULE


def test_identities_differ_in_a_file_and_do_not_depend_on_what_stands_above() -> None:
    source = b"def f(a):\n    return (a < 1) + (a < 1)\n"
    found = [m.identity for m in find_mutants("a.py", source)]
    assert len(set(found)) == len(found)
    assert [m.identity for m in find_mutants("a.py", b"# more\n" + source)] == found
    assert not set(found) & {m.identity for m in find_mutants("b.py", source)}


NUMBERS = st.recursive(
    st.sampled_from(["a", "b", "1", "2.5", "-c"]),
    lambda inner: st.tuples(inner, st.sampled_from(["+", "<", " and ", "//", "**"]), inner).map(
        lambda t: f"({t[0]}{t[1]}{t[2]})"
    ),
    max_leaves=8,
)


@given(NUMBERS)
def test_every_fault_is_python_that_differs(expression: str) -> None:
    source = f"x = {expression}\n".encode()
    for mutant in find_mutants("a.py", source):
        assert ast.dump(ast.parse(mutant.apply(source))) != ast.dump(ast.parse(source))
