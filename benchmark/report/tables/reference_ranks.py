"""The ranks of calibrators by published numbers and by ours, over the same cells and entries."""

from typing import cast

import pandas as pd

from calbench.benchmark.metrics.base import better_direction, cost
from calbench.benchmark.report.tables.table import Cell, Column, Row, Table
from calbench.benchmark.report.tables.view import View
from calbench.benchmark.results.reference import ANY_BACKBONE

COLUMNS = (
    Column("cells", ("cells",), decimals=0, help="Pairs of dataset and backbone in which both have a value"),
    Column("ours_rank", ("our rank",), decimals=0, help="Place by the win rate of our values"),
    Column("published_rank", ("published rank",), decimals=0, help="Place by the win rate of the published values"),
    Column("ours_wins", ("our win rate",), "%", decimals=1, priority=1,
           help="Share of the other entries of the same cell that ours is better than, mean over cells"),
    Column("published_wins", ("published win rate",), "%", decimals=1, priority=1,
           help="The same of the published values"),
)  # fmt: skip


def rank_table(view: View, reference: pd.DataFrame) -> Table | None:
    """A row for each metric and entry that was both published and run, in the order of the published ranks.

    A cell's entries are compared among those with a finite value of either source, ties count half; the win rates of
    the cells are averaged, and entries are ranked by this average. Both sources are so ranked on the same cells and
    among the same entries.

    Args:
        view: our values.
        reference: published numbers, aligned with our entries; those whose backbone is not known are left out.

    Returns:
        The table, or None where no cell has two entries in common.
    """
    rows: list[Row] = []
    for metric in dict.fromkeys(reference["metric"]):
        pairs = _pairs(view, reference[reference["metric"] == metric])
        if pairs.empty:
            continue
        names = ["dataset", "backbone"]
        better = better_direction(metric) or "lower"
        wins = pd.DataFrame({side: _win_rates(pairs, side, better, names) for side in ("ours", "published")})
        wins = wins.assign(entry=pairs["entry"]).groupby("entry", sort=False)
        means, counts = wins[["ours", "published"]].mean(), wins.size()
        ranks = means.rank(ascending=False, method="min")
        for entry in means.sort_values("published", ascending=False, kind="stable").index:
            numbers = (
                counts[entry],
                *ranks.loc[entry, ["ours", "published"]],
                *means.loc[entry, ["ours", "published"]],
            )
            labels = (view.metric(metric).label, str(entry))
            rows.append(
                Row((metric, str(entry)), labels, tuple(Cell(float(cast("float", number))) for number in numbers))
            )
    if not rows:
        return None
    title = f"Ranks, ours and published: {', '.join(dict.fromkeys(map(str, reference['source'])))}"
    caption = "Ranked by the mean win rate over the cells and among the entries that both have."
    return Table("reference_ranks", title, ("metric", "entry"), COLUMNS, tuple(rows), caption, smoke=view.run.smoke)


def _pairs(view: View, reference: pd.DataFrame) -> pd.DataFrame:
    """Dataset, backbone, entry and both values, in the cells with two entries or more."""
    known = reference[reference["backbone"] != ANY_BACKBONE]
    rows = []
    for record in known.to_dict("records"):
        ours = view.stat(*(str(record[key]) for key in ("dataset", "backbone", "entry", "metric"))).value
        if ours is not None and pd.notna(ours) and pd.notna(record["value"]):
            where = {key: record[key] for key in ("dataset", "backbone", "entry")}
            rows.append(where | {"ours": ours, "published": float(record["value"])})
    table = pd.DataFrame(rows, columns=["dataset", "backbone", "entry", "ours", "published"])
    table = table.drop_duplicates(["dataset", "backbone", "entry"])
    sizes = table.groupby(["dataset", "backbone"])["entry"].transform("size")
    return table[sizes > 1].reset_index(drop=True)


def _win_rates(pairs: pd.DataFrame, side: str, better: str, cell: list[str]) -> pd.Series:
    """The share, in per cent, of the other entries of its cell that each row is better than; ties count half."""
    costs = pairs[cell].assign(cost=[cost(value, better) for value in pairs[side]]).groupby(cell)["cost"]
    return 100 * (costs.transform("size") - costs.rank(method="average")) / (costs.transform("size") - 1)
