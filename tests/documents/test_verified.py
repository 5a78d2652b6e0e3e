"""docs/verified.json: it has the matrix's cells and no others, and docs/results.md shows what it says."""

import warnings

from tests.matrix.record import BEGIN, END, PAGE, SHOWN, covered_hash, read_cells, table, titles


def test_every_cell_that_was_run_is_one_of_the_matrix_and_passed() -> None:
    cells = read_cells()
    assert cells
    assert set(cells) <= set(titles())
    assert [name for name, cell in cells.items() if not cell["passed"]] == []


def test_every_variant_of_a_cell_is_there_or_its_absence_is_explained() -> None:
    for name, cell in read_cells().items():
        made = {one["name"] for one in cell["variants"]}
        wanted = [one for one in SHOWN if "onnx" not in name or one.startswith("tflite")]
        for variant in wanted:
            assert variant in made or any(variant in line for line in cell["left_out"]), (name, variant)


def test_the_table_is_that_of_the_record() -> None:
    shown = PAGE.read_text().partition(BEGIN)[2].partition(END)[0]
    assert shown.strip().splitlines() == list(table(read_cells()))


def test_whether_the_record_is_as_old_as_the_code_is_told() -> None:
    sources = covered_hash()
    old = [name for name, cell in read_cells().items() if cell["sources"] != sources]
    lacking = len(titles()) - len(read_cells())
    if old or lacking:
        warnings.warn(
            f"of {len(titles())} cells of the matrix {lacking} were not run, {len(old)} with other sources "
            "than these; make test-all",
            stacklevel=1,
        )
