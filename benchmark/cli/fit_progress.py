"""A bar that shows which calibrator is being fitted and how many are left."""

from types import TracebackType
from typing import Self

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from calbench.benchmark.core.console import Console


class FitProgress:
    """Progress of fits, on the standard error: a bar on a terminal, otherwise a line per fit."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False)
        columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
        self.bar = Progress(*columns, console=self.console, transient=True)
        self.task = self.bar.add_task("", visible=False)

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self.bar.start()
        return self

    def __call__(self, done: int, total: int, entry: str) -> None:
        """Note that the fit of `entry` begins, after `done` of `total` fits."""
        if self.console.is_terminal:
            self.bar.update(self.task, completed=done, total=total, visible=True, description=entry.replace("[", r"\["))
        else:
            self.console.print(f"{done + 1} of {total}: {entry}", markup=False)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.console.is_terminal:
            self.bar.stop()
