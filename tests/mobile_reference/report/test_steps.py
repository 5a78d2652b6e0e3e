"""Long work is told part by part."""

from concurrent.futures import ThreadPoolExecutor

from mien.mobile_reference.report.steps import Part, Step, counted


def test_a_step_tells_its_start_and_every_part_once_it_is_done() -> None:
    told: list[object] = []
    for part in Step("folding", 2, lambda *what: told.append(what)).over("ab"):
        told.append(part)
    assert told == [("folding", 0, 2), "a", ("folding", 1, 2), "b", ("folding", 2, 2)]


def test_parts_that_threads_do_are_counted_one_by_one() -> None:
    told: list[int] = []
    step = Step("folding", 400, lambda _title, done, _total: told.append(done))
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: list(step.over(range(100))), range(4)))
    assert told == list(range(401))


def test_parts_that_are_told_in_words_as_they_begin_are_counted() -> None:
    told: list[Part] = []
    tell = counted(told.append, 2)
    tell("one")
    tell("two")
    assert told == [Part("one", 0, 2), Part("two", 1, 2)]
