"""The table of layers: it names what is there, a longer name wins, and a test without a layer is an error."""

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from tests import layers

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("place", layers.LAYER_OF)
def test_the_table_names_what_is_there_and_a_layer_that_is(place: str) -> None:
    path, _, test = place.partition("::")
    assert (ROOT / path).exists()
    assert not test or f"def {test}(" in (ROOT / path).read_text()
    assert layers.LAYER_OF[place] in layers.LAYERS


@pytest.mark.parametrize(
    ("node", "layer"),
    [
        ("tests/export/test_x.py::test_y[a/b]", "converters"),
        ("tests/export/weights/test_x.py::test_y", "unit"),
        ("tests/export_more/test_x.py::test_y", None),
        ("tests/test_nowhere.py::test_y", None),
    ],
)
def test_the_longest_place_tells_the_layer(node: str, layer: str | None) -> None:
    assert layers.layer_of(node) == layer


def item(node: str, *fixtures: str) -> Any:
    """Stand for a test as pytest collects it."""
    marks: list[str] = []
    return SimpleNamespace(
        path=Path(__file__).parents[1] / node.partition("::")[0],
        nodeid=node,
        fixturenames=fixtures,
        stash=pytest.Stash(),
        marks=marks,
        add_marker=marks.append,
        get_closest_marker=lambda name: name if name in marks else None,
    )


def test_every_test_gets_the_one_marker_of_its_layer_and_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    items = [
        item("tests/export/test_a.py::test_b", "exported"),
        item("tests/replay/test_a.py::test_b"),
        item("tests/benchmarks/targets/test_a.py::test_b"),
    ]
    layers.pytest_collection_modifyitems(items)
    assert [one.marks[0] for one in items] == ["converters", "unit", "device"]
    # One file runs in one process, and all that share adb's server do.
    assert [one.marks[1].args for one in items] == [("export/test_a.py",), ("replay/test_a.py",), ("device",)]


def test_workers_begin_with_what_takes_longest(monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(layers.LONGEST_FIRST) == set(layers.LAYERS)
    files = ["replay/test_a.py", "export/test_a.py", "benchmarks/targets/test_a.py", "export/test_b.py"]
    items = [item(f"tests/{file}::test_c") for file in files]
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    layers.pytest_collection_modifyitems(items)
    assert [one.nodeid.split("::")[0].removeprefix("tests/") for one in items] == files
    monkeypatch.setenv("PYTEST_XDIST_WORKER", "gw0")
    layers.pytest_collection_modifyitems(items)
    assert [one.nodeid.split("::")[0].removeprefix("tests/") for one in items] == [
        files[2],
        files[1],
        files[3],
        files[0],
    ]


def test_the_group_that_xdist_adds_to_a_name_is_not_part_of_it() -> None:
    assert layers.layer_of("tests/replay/test_a.py::test_b[x@y]@replay/test_a.py") == "unit"
    assert layers.layer_of("tests/replay/test_a.py::test_b@replay/test_a.py") == "unit"


@pytest.mark.parametrize(
    ("asked", "file", "ignored"),
    [
        ("unit", "replay/test_replay_records.py", None),
        ("unit", "export/test_bundle.py", True),
        ("converters", "export/test_bundle.py", None),
        ("converters", "export/weights/test_gptq.py", None),  # one of its tests is
        ("device", "export/weights/test_gptq.py", True),
        ("unit or device", "export/test_bundle.py", None),
        ("", "export/test_bundle.py", None),
        ("unit", "export", None),
    ],
)
def test_files_without_a_test_of_the_layer_that_is_asked_for_are_not_imported(
    asked: str, file: str, *, ignored: bool | None
) -> None:
    config: Any = SimpleNamespace(option=SimpleNamespace(markexpr=asked))
    assert layers.pytest_ignore_collect(layers.TESTS / file, config) is ignored


@pytest.mark.parametrize(
    ("one", "said"),
    [
        (item("tests/new/test_a.py::test_b"), "has no layer; give its folder one"),
        (item("tests/replay/test_a.py::test_b", "exported"), "exports a bundle, which no unit test may"),
    ],
)
def test_a_test_without_a_layer_or_against_its_own_ends_the_collection(one: Any, said: str) -> None:
    with pytest.raises(pytest.UsageError, match=said):
        layers.pytest_collection_modifyitems([one])


@pytest.mark.parametrize(("place", "fails"), [("tests/replay", True), ("tests/export", False)])
def test_a_unit_test_that_loads_a_converter_fails(
    place: str, *, fails: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:  # undone before this very test is judged
        patch.setattr(layers, "CONVERTERS", {"a_converter"})
        one = item(f"{place}/test_a.py::test_b")
        layers.pytest_collection_modifyitems([one])
        with pytest.raises(StopIteration):
            run_hook(layers.pytest_runtest_setup(one))
        patch.setitem(sys.modules, "a_converter", ModuleType("a_converter"))
        with pytest.raises(pytest.fail.Exception if fails else StopIteration):
            run_hook(layers.pytest_runtest_call(one))


def run_hook(wrapper: Any) -> None:
    """Run a wrapper of a hook around nothing."""
    next(wrapper)
    wrapper.send(None)
