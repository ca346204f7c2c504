"""The views of some results: one for each split and checkpoint rule."""

from collections.abc import Sequence

from calbench.benchmark.report.tables.view import View, main_checkpoint
from calbench.benchmark.results.results import Results


class Views:
    """The views of some results, each made once."""

    def __init__(self, results: Results, entries: Sequence[str] = ()) -> None:
        self.results = results
        self._entries = tuple(entries)
        self._made: dict[tuple[str, str | None], View] = {}

    def __call__(self, split: str = "test", checkpoint: str | None = None) -> View:
        """The view of a split and a checkpoint rule; None is the protocol's own."""
        rule = main_checkpoint(self.results) if checkpoint is None else checkpoint
        if (split, rule) not in self._made:
            self._made[split, rule] = View(self.results, split=split, checkpoint=rule, chosen=self._entries)
        return self._made[split, rule]

    @property
    def main(self) -> View:
        """The test split at the protocol's checkpoint rule."""
        return self()

    @property
    def others(self) -> list[View]:
        """The test split under every other checkpoint rule that the table has."""
        table = self.results.table
        rules = table["checkpoint"].dropna().unique() if "checkpoint" in table.columns else ()
        return [self(self.main.split, str(rule)) for rule in rules if str(rule) != self.main.checkpoint]
