"""Shows the progress of a run: a bar with the remaining time on a terminal, one line per cell elsewhere."""

import contextlib
import time
from collections.abc import Iterator
from typing import Any

from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Column

from calbench.benchmark.config.suite import Suite
from calbench.benchmark.core.console import Console
from calbench.benchmark.core.text import visible
from calbench.benchmark.execution.plan import Work
from calbench.benchmark.execution.produce import RANK


class Reporter:
    """Progress for people; every method may be called without a terminal."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True, highlight=False, quiet=RANK != 0)
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._done = 0
        self._total = 0
        self._shares: dict[str, float] = {}
        self._started = 0.0
        self._waiting: set[str] = set()

    def plan(self, suite: Suite, line: str) -> None:
        """Say what is to be done, before it starts."""
        self.console.print(f"{suite.name}: {line}", soft_wrap=True)

    @contextlib.contextmanager
    def working(self, todo: list[Work]) -> Iterator[None]:
        """Show a bar (on a terminal) while the work goes on."""
        self._total, self._done, self._started, self._shares = len(todo), 0, time.perf_counter(), {}
        if not self.console.is_terminal:
            yield
            return
        # Every column keeps to one line; where the terminal is narrow, the widest one, the cell's name, is cut.
        columns = (
            BarColumn(bar_width=20, table_column=Column(min_width=20, no_wrap=True)),
            TextColumn("{task.completed:.1f} of {task.total} cells", table_column=Column(min_width=20, no_wrap=True)),
            TimeRemainingColumn(table_column=Column(min_width=8, no_wrap=True)),
            TextColumn("{task.description}", table_column=Column(no_wrap=True, overflow="ellipsis")),
        )
        with Progress(*columns, console=self.console, transient=True) as self._bar:
            self._task = self._bar.add_task("", total=self._total)
            yield
        self._bar = None

    def event(self, work: Work, kind: str, value: Any) -> None:
        """Note an epoch (epoch, epochs), that another process is at the cell, or its end (outcome)."""
        name = work.cell.describe()
        if kind == "busy":
            if work.cell.key not in self._waiting:
                self._waiting.add(work.cell.key)
                self.console.print(f"waiting for {value}, which computes {name}", soft_wrap=True)
            return
        if kind == "epoch":
            epoch, epochs = value
            self._shares[work.cell.key] = epoch / epochs
            self._show(f"{name}: epoch {epoch} of {epochs}")
            return
        self._shares.pop(work.cell.key, None)
        self._done += 1
        if value != "done":
            why = f"(cache/{work.cell.key}/failure.json)"
            self.console.print(f"{value}: {name} {why}", style="red", soft_wrap=True)
        if self._bar is None:
            seconds = time.perf_counter() - self._started
            self.console.print(f"{self._done}/{self._total} {value} {seconds:.0f} s {name}", soft_wrap=True)
        self._show(name)

    def _show(self, text: str) -> None:
        if self._bar is not None and self._task is not None:
            completed = self._done + sum(self._shares.values())
            self._bar.update(self._task, completed=completed, description=escape(visible(text)))
