"""A report of some results: its tables, each computed once and shared by all output formats."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import pandas as pd

from calbench.benchmark.core.errors import check_names
from calbench.benchmark.report.tables.layout import layout_table, suite_layouts
from calbench.benchmark.report.tables.leaderboard import Block, blocks, protocol_lines
from calbench.benchmark.report.tables.ood import ood_tables
from calbench.benchmark.report.tables.pairs import pair_tables
from calbench.benchmark.report.tables.reference import load_aligned
from calbench.benchmark.report.tables.shift import shift_tables
from calbench.benchmark.report.tables.table import Table
from calbench.benchmark.report.tables.view import View
from calbench.benchmark.report.tables.views import Views
from calbench.benchmark.results.records import RunRecord
from calbench.benchmark.results.results import Results

DEFAULT_ORDER = "nll"
"""Tables are ordered by this proper score unless asked otherwise."""


class Report:
    """The views and tables of results.

    Args:
        results: what to report on; not changed, and not to be changed afterwards.
        metric: the calibration error whose reductions are shown.
        order: the metric by which tables are ordered: the proper score ``nll`` by default, ``ece`` as papers do.
        entries: the entries to show, by name or label; all by default. The baseline is always shown.

    Raises:
        InputError: a metric that these results do not have.

    Example:
        >>> Report(Results.load("results/quick")).summary.title  # doctest: +SKIP
    """

    def __init__(
        self, results: Results, metric: str = "ece", order: str = DEFAULT_ORDER, entries: Sequence[str] = ()
    ) -> None:
        self.results = results
        self.views = Views(results)
        if entries:
            self.views = Views(results, self.entries(entries))
        known = [str(name) for name in results.table["metric"].dropna().unique()] if "metric" in results.table else []
        if known:
            check_names("metric", [metric], known)
            if order != DEFAULT_ORDER:
                check_names("metric", [order], known)
        self.metric = metric
        self.order = order if order in known else metric

    @property
    def run(self) -> RunRecord:
        """The record of the run."""
        return self.results.run

    @property
    def view(self) -> View:
        """The test split at the protocol's checkpoint rule."""
        return self.views.main

    @cached_property
    def digest(self) -> str:
        """A short hash of the results, in figures and documents, so that those of other results are recognised."""
        pairs = [self.results.pairs] if len(self.results.pairs) else []
        tables = [self.results.table, self.results.comparisons, *pairs]
        text = "".join(table.to_csv(index=False, float_format="%.9g") for table in tables)
        return hashlib.sha256(f"{self.run.suite} {self.run.created} {text}".encode()).hexdigest()[:16]

    @cached_property
    def protocol(self) -> list[str]:
        """The lines above every table: the protocol, the baseline, and how numbers are to be read."""
        return protocol_lines(self.view)

    @cached_property
    def blocks(self) -> list[Block]:
        """The leaderboard: a block per dataset and backbone, then those over all of them."""
        made = blocks(self.view, self.metric, self.order)
        return [replace(block, table=self.remarked(block.table)) for block in made]

    def remarked(self, table: Table) -> Table:
        """The table with a remark where the files of the results were edited."""
        return replace(table, remark=self.results.edit_note) if self.results.edit_note else table

    @property
    def overall_first(self) -> list[Block]:
        """The blocks as files list them: the one over all datasets and backbones comes first."""
        return sorted(self.blocks, key=lambda block: (block.dataset is not None, block.level))

    @property
    def summary(self) -> Table:
        """The table over all datasets and backbones, or that of the only pair."""
        return self.overall_first[0].table

    @cached_property
    def layouts(self) -> list[Table]:
        """The tables that the suite itself describes, with its published numbers, and those of shift and detection.

        Raises:
            InputError: a layout that these results cannot fill, or an unknown reference.
        """
        described = suite_layouts(self.run)
        reference = self.reference(self.run.config.reference) if described and self.run.config.reference else None
        tables = [layout_table(self.views, layout, reference) for layout in described]
        more = [*pair_tables(self.views, self.metric), *shift_tables(self.views), *ood_tables(self.views)]
        return [self.remarked(table) for table in [*tables, *more]]

    def reference(self, name: str) -> pd.DataFrame:
        """Published numbers, each under the entry of these results that it is compared with.

        Raises:
            InputError: an unknown reference, or a file that cannot be read.
        """
        return load_aligned(name, self.view.entries)

    @property
    def tables(self) -> dict[str, Table]:
        """Every table by its key: the suite's own, then the leaderboard's."""
        return {table.key: table for table in [*self.layouts, *(block.table for block in self.overall_first)]}

    def table(self, name: str) -> Table:
        """One table by its key.

        Raises:
            InputError: an unknown name, with the nearest.
        """
        tables = self.tables
        check_names("table", [name], tables)
        return tables[name]

    def entries(self, chosen: Sequence[str] = ()) -> list[str]:
        """The entries to show: `chosen` in that order, by name or label, or all.

        Raises:
            InputError: one that these results do not have.
        """
        view = self.view
        names = {view.labels[entry]: entry for entry in view.entries} | {entry: entry for entry in view.entries}
        check_names("entry", chosen, names)
        return [names[name] for name in chosen] or list(view.entries)
