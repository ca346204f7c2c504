"""Plain-language summaries of results: at the end of a run, and as advice after comparing calibrators."""

import math
from collections.abc import Callable, Iterable

import pandas as pd

from calbench.benchmark.core.schema import FEWEST_SAMPLES, FEWEST_WRONG, ORACLE
from calbench.benchmark.core.text import counted
from calbench.benchmark.results.results import Results
from calbench.methods import registry

METRIC = "nll"
"""The proper score that findings and advice are about."""
ACCURACY = "accuracy"
SAME_ROWS = (
    "The choice and its interval use the same test rows; for an interval that does not depend on the choice, evaluate "
    "this calibrator on other rows."
)
_PAIR = ["dataset", "backbone"]


def findings(results: Results) -> list[str]:
    """Sentences on a run: what was compared, what differs beyond noise, what does not, and what costs accuracy.

    Differences are those of the NLL on the test split, paired over samples and seeds, adjusted for the number of
    entries (Hommel).

    Args:
        results: of a suite.

    Returns:
        No sentence if there is nothing to compare.
    """
    table = _compared(results)
    if table.empty:
        return []
    baseline = str(table["baseline"].iloc[0])
    pairs, seeds = table.groupby(_PAIR).ngroups, int(table["seeds"].max())
    others = table[table["entry"] != baseline]
    if others.empty:
        return _accuracy_lost(results, baseline)
    counts = others.groupby("entry", sort=False).agg(
        better=("better", "sum"), worse=("worse", "sum"), cells=("better", "size")
    )
    clear = counts[(counts["better"] > 0) & (counts["worse"] == 0)].sort_values("better", ascending=False)
    harmful = counts[counts["worse"] > 0].sort_values("worse", ascending=False)
    noise = counts[(counts["better"] == 0) & (counts["worse"] == 0)]
    runs = counted(seeds, "seed") if seeds > 1 else "one seed"
    compared = (
        f"Compared: {counted(len(counts), 'entry', 'entries')} with {baseline} on "
        f"{counted(pairs, 'pair')} of dataset and backbone, {runs}, by the NLL of the test split."
    )
    better = _named((f"{name} (on {row.better} of {row.cells})" for name, row in clear.iterrows()), 4)
    worse = _named((f"{name} (on {row.worse} of {row.cells})" for name, row in harmful.iterrows()), 4)
    one_seed = "the noise of the test samples (with one seed, that of training is not covered)"
    found = (
        f"Beyond {'noise' if seeds > 1 else one_seed}: better without being worse anywhere: {better or 'none'}; "
        f"worse somewhere: {worse or 'none'}."
    )
    within = f"Within noise of {baseline} everywhere: {_named(noise.index, 6) or 'none'}."
    return [compared, found, within, *_accuracy_lost(results, baseline)]


def _accuracy_lost(results: Results, baseline: str) -> list[str]:
    """A warning of the entries whose accuracy is below the baseline's beyond noise, with their largest loss."""
    table = _compared(results, ACCURACY)
    lost = table[table["differs"].eq(True) & (table["change"] < 0)]
    if lost.empty:
        return []
    worst = lost.groupby("entry", sort=False)["change"].agg(["min", "size"]).sort_values("min")
    cells = table.groupby(_PAIR).ngroups
    named = _named(
        (
            f"{name} ({_signed(row['min'], 1)} points, on {row['size']:.0f} of {cells})"
            for name, row in worst.iterrows()
        ),
        6,
    )
    return [f"Accuracy below that of {baseline} beyond noise: {named}."]


def advice(results: Results, values_of: Callable[[str], float] = lambda entry: math.inf) -> list[str]:
    """Which calibrator to deploy for the predictions that were compared: which, why, how sure, and what it costs.

    The simplest calibrator that is not worse than the best beyond noise is advised. Candidates lower the NLL beyond
    noise, and may be the best by paired comparisons of the NLL (a 95 % confidence set, `statistics.best`). Of those,
    the ones that keep the predicted classes are preferred, then fewer fitted values, then a lower NLL.

    Args:
        results: of post-hoc calibrators on one set of predictions.
        values_of: the number of fitted values of an entry, infinite where it is unknown; asked only where there is a
            choice.

    Returns:
        Sentences; no calibrator is advised where none is better than doing nothing beyond noise.
    """
    table = _compared(results)
    if table.empty:
        return []
    table = table.set_index("entry", drop=False)
    baseline = str(table["baseline"].iloc[0])
    others = table[table["entry"] != baseline]
    if len(others) and others["differs"].isna().all():
        return [
            "No advice: nothing was tested for noise, which needs bootstrap replicates (--bootstrap 1000) and at least "
            f"{FEWEST_SAMPLES} test samples, of which {FEWEST_WRONG} are predicted wrongly."
        ]
    candidates = table[(table["entry"] != baseline) & table["better"]]
    if candidates.empty:
        return [f"Advice: keep the predictions as they are: no calibrator lowers the NLL of {baseline} beyond noise."]
    tied = candidates[candidates["tied_with_best"].eq(True)]
    tied = candidates.nsmallest(1, "value") if tied.empty else tied
    keeping = tied[[_keeps_accuracy(str(name)) for name in tied["entry"]]]
    preferred = (tied if keeping.empty else keeping).sort_values("value")["entry"].astype(str).tolist()
    values = {entry: values_of(entry) if len(preferred) > 1 else math.inf for entry in preferred}
    name = min(preferred, key=values.__getitem__)  # of equal ones the first, which has the lowest NLL
    chosen = tied[tied["entry"] == name].iloc[0]
    lines = [
        f"Advice: {name}. NLL {chosen['value']:.4f} instead of {table.loc[baseline, 'value']:.4f} "
        f"(change {_signed(chosen['change'])}{_interval(chosen)})."
    ]
    rest = [str(one) for one in tied["entry"] if one != name]
    if rest:
        group = " of those that keep every predicted class" if len(preferred) < len(tied) else ""
        fewest = f", with the fewest fitted values ({values[name]:,.0f}){group}"
        reason = fewest if math.isfinite(values[name]) else ""
        lines.append(
            f"It is one of {len(tied)} calibrators that these test samples do not distinguish from the best{reason}; "
            f"the others: {_named(rest, 5)}."
        )
    lines.append(SAME_ROWS)
    lines.append(_cost(name, results, baseline))
    return lines


def _compared(results: Results, metric: str = METRIC) -> pd.DataFrame:
    """The comparisons of a metric on the test split under the first checkpoint rule, with ``better`` and ``worse``."""
    table = results.comparisons
    if table.empty:
        return table
    table = table[(table["metric"] == metric) & (table["split"] == "test") & (table["entry"] != ORACLE)]
    table = table[table["checkpoint"] == table["checkpoint"].iloc[0]] if len(table) else table
    differs = table["differs"].eq(True)
    return table.assign(better=differs & (table["change"] < 0), worse=differs & (table["change"] > 0))


def _keeps_accuracy(entry: str) -> bool:
    """Whether every calibrator of an entry declares that it keeps the predicted classes."""
    names = [part.strip().partition("(")[0] for part in entry.split(" + ")]
    return all(name in registry and registry[name].keeps_accuracy for name in names)


def _cost(name: str, results: Results, baseline: str) -> str:
    if _keeps_accuracy(name):
        return "It keeps every predicted class, so accuracy stays as it is."
    accuracy = results.comparisons
    rows = accuracy[(accuracy["metric"] == ACCURACY) & (accuracy["split"] == "test") & (accuracy["entry"] == name)]
    if rows.empty or pd.isna(rows["change"].iloc[0]):
        return "It can change predicted classes."
    row = rows.iloc[0]
    certain = "beyond noise" if row["differs"] is True else "within noise"
    return (
        f"It can change predicted classes: accuracy {_signed(row['change'], 2)} points against {baseline}, {certain}."
    )


def _interval(row: pd.Series) -> str:
    if pd.isna(row["change_low"]):
        return ""
    return f", 95 % interval {_signed(row['change_low'])} to {_signed(row['change_high'])}"


def _signed(value: float, digits: int = 4) -> str:
    return f"{value:+.{digits}f}".replace("-", "\N{MINUS SIGN}")


def _named(names: Iterable[object], most: int) -> str:
    """Names joined by commas, the first `most` of them."""
    words = [str(name) for name in names]
    rest = f" and {len(words) - most} more" if len(words) > most else ""
    return ", ".join(words[:most]) + rest
