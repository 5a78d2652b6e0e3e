"""docs/verified.json: it has the matrix's cells and no others, and docs/results.md shows what it says."""

from tests.matrix.record import (
    BEGIN,
    END,
    PAGE,
    SHOWN,
    code_of,
    covered_hash,
    holds,
    read_cells,
    table,
    titles,
)


def test_every_cell_that_was_run_is_one_of_the_matrix_and_passed() -> None:
    cells = read_cells()
    assert cells
    assert set(cells) <= set(titles())
    assert [name for name, cell in cells.items() if not holds(cell)] == []


def test_every_variant_of_a_cell_is_there_or_its_absence_is_explained() -> None:
    for name, cell in read_cells().items():
        made = {one["name"] for one in cell["variants"]}
        wanted = [one for one in SHOWN if "onnx" not in name or one.startswith("tflite")]
        for variant in wanted:
            assert variant in made or any(variant in line for line in cell["left_out"]), (name, variant)


def test_the_table_is_that_of_the_record() -> None:
    shown = PAGE.read_text().partition(BEGIN)[2].partition(END)[0]
    assert shown.strip().splitlines() == list(table(read_cells()))


def test_every_cell_was_run_with_these_sources() -> None:
    sources, cells = covered_hash(), read_cells()
    old = [name for name in titles() if name not in cells or cells[name]["sources"] != sources]
    assert not old, "not run since these sources changed; run make test-all"


def test_words_alone_make_no_cell_old_and_code_does() -> None:
    code = "def one(x):\n    return x  # as it is\n"
    told = '"""A room."""\ndef one(x):\n    """Tell."""\n\n    return (x)\n'
    assert code_of(told) == code_of(code)
    assert code_of(code.replace("return x", "return -x")) != code_of(code)
    assert code_of(code.replace("return x", "return 'x'")) != code_of(code)
