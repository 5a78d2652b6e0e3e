"""A pytest plugin that writes which test executes which function, and the user CPU time of each test.

What a fixture executes counts for every test that uses it, not only for the first. What another process
executes is not seen.
"""

import json
import os
import sys
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import CodeType
from typing import Any

import pytest

from tests.layers import cpu_seconds

TOOL = 4  # a free identity of sys.monitoring
EVENT = sys.monitoring.events.PY_START


_real = cache(os.path.realpath)


class Tracer:
    """Functions are ``file::function``, as in ``Mutant``; tests are node ids without parameters."""

    def __init__(self, root: Path) -> None:
        self.root = str(root.resolve()) + os.sep
        self.now: set[str] = set()
        self.fixtures: dict[int, set[str]] = {}
        self.executed: dict[str, set[str]] = defaultdict(set)
        self.seconds: dict[str, float] = defaultdict(float)
        self.failed: set[str] = set()
        sys.monitoring.use_tool_id(TOOL, "mutants")
        sys.monitoring.register_callback(TOOL, EVENT, self._started)
        sys.monitoring.set_events(TOOL, EVENT)

    def _started(self, code: CodeType, _offset: int) -> object:
        file = _real(code.co_filename)
        if file.startswith(self.root):
            self.now.add(f"{file.removeprefix(self.root)}::{code.co_qualname.split('.<locals>')[0]}")
        return sys.monitoring.DISABLE  # once is enough, until the next restart

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: Any) -> Iterator[None]:
        """Record one test."""
        before = cpu_seconds()
        self.now = set()
        sys.monitoring.restart_events()
        try:
            return (yield)
        finally:
            name = item.nodeid.split("[")[0]
            self.seconds[name] += cpu_seconds() - before
            self.executed[name] |= self.now
            for definitions in item._fixtureinfo.name2fixturedefs.values():
                for definition in definitions:
                    self.executed[name] |= self.fixtures.get(id(definition), set())

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Iterator[Any]:
        """Record one fixture apart, and give the test what it executed."""
        outer, self.now = self.now, set()
        sys.monitoring.restart_events()
        try:
            return (yield)
        finally:
            self.fixtures[id(fixturedef)] = self.now
            self.now |= outer

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note what fails without any fault."""
        if report.failed:
            self.failed.add(report.nodeid.split("[")[0])

    def pytest_sessionfinish(self) -> None:
        """Write the map."""
        tests = {
            name: {"seconds": round(self.seconds[name], 3), "executes": sorted(executed)}
            for name, executed in self.executed.items()
        }
        Path(os.environ["MUTANTS_MAP"]).write_text(
            json.dumps({"tests": tests, "failed": sorted(self.failed)}, indent=1) + "\n"
        )


def pytest_configure(config: pytest.Config) -> None:
    """Start to trace."""
    config.pluginmanager.register(Tracer(config.rootpath))
