"""Every case has tests, those tests are there, and the page shows them."""

from tests.cases import BEGIN, CASES, END, PAGE, Held, missing, table, written


def test_every_case_names_tests_that_are_there() -> None:
    assert missing(CASES.values()) == []
    assert all(names for held in CASES.values() for names in held.tests.values())
    assert all(held.tests for held in CASES.values())


def test_a_test_that_is_gone_is_named() -> None:
    held = Held("", {"test_cases.py": ("test_gone", "test_a_test_that_is_gone_is_named"), "none.py": ("a",)})
    assert missing([held]) == ["none.py::a", "test_cases.py::test_gone"]


def test_the_page_shows_them() -> None:
    assert written(page := PAGE.read_text()) == page


def test_the_table_stands_between_its_marks() -> None:
    assert written(f"before\n{BEGIN}old\n{END}after\n") == f"before\n{BEGIN}{table()}{END}after\n"
