"""One metric of all entries of one dataset, backbone, split and checkpoint: the rows of its comparison."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np

from calbench.benchmark.core.schema import FEWEST_WRONG, ORACLE
from calbench.benchmark.metrics.base import better_direction, cost, metric_class, relative_reduction
from calbench.benchmark.statistics.best import best_p_values
from calbench.benchmark.statistics.calibrated import calibration_test
from calbench.benchmark.statistics.contrast import (
    Z95,
    Contrast,
    Side,
    correlations,
    difference,
    hommel,
    mean_of,
    ratio_interval,
)
from calbench.benchmark.statistics.moderated import Priors
from calbench.benchmark.statistics.seed_value import SeedValue
from calbench.benchmark.statistics.skewed import skewed, skewed_ratio_interval

NAN = float("nan")
ALPHA = 0.05

NO_REPLICATES = "no bootstrap replicates: nothing is known of its sampling error"
NO_BASELINE = "no seed has both the entry and the baseline"
NOT_COMPARABLE = "noise biases this metric by a different amount for each model; compare the debiased ECE instead"
FEW_WRONG = f"fewer than {FEWEST_WRONG} predictions are wrong, and a mean score depends on which"
WITHIN_NOISE = "the baseline is within noise of 0"
BASELINE_ZERO = "the baseline is 0"
WIDE_BASELINE = "the interval of the baseline's mean over seeds includes 0, so that the ratio has no upper end"


class Block:
    """The comparisons of one metric.

    Args:
        metric: its name.
        values: by entry and seed.
        baseline: the entry that changes refer to.
        floors: for ECE, mean and 95th percentile under perfect calibration, by entry and seed.
        priors: what other cells say of the variance over seeds of the change of an entry.
    """

    def __init__(
        self,
        metric: str,
        values: Mapping[str, Mapping[int, SeedValue]],
        baseline: str,
        floors: Mapping[tuple[str, int], tuple[float, float]],
        priors: Priors = MappingProxyType({}),
    ) -> None:
        self.values, self.baseline, self.floors, self.priors = values, baseline, floors, priors
        self.better = better_direction(metric)
        cls = metric_class(metric)
        self.sampling = cls.sampling if cls else "smooth"
        self.no_interval = cls.no_interval if cls and cls.sampling == "none" else ""
        self.lowest, self.highest = (cls.lowest, cls.highest) if cls else (-np.inf, np.inf)
        self._known_sides: dict[tuple[str, tuple[int, ...]], Side | None] = {}

    def rows(self) -> list[dict[str, Any]]:
        """A row per entry, with `COMPARISON_COLUMNS` but for what all entries of the block share."""
        rows = [self._value_columns(change["entry"]) | change for change in self.changes()]
        self._mark_best(rows)
        return rows

    def changes(self) -> list[dict[str, Any]]:
        """A row per entry with the columns that compare it with the baseline."""
        rows: list[dict[str, Any]] = [{"entry": entry} | self.change(entry) for entry in self.values]
        self._mark_changes(rows)
        return rows

    def _mark_changes(self, rows: list[dict[str, Any]]) -> None:
        """Add the p values adjusted over the table, and the mark that follows from them."""
        ranked = np.array([row["entry"] not in (self.baseline, ORACLE) for row in rows])
        p = np.array([row["p"] for row in rows], dtype=float)
        adjusted = np.where(ranked, hommel(np.where(ranked, p, np.nan)), p)
        for row, value in zip(rows, adjusted.tolist(), strict=True):
            row["p_adjusted"] = value
            row["differs"] = None if np.isnan(value) else bool(value <= ALPHA)

    def _mark_best(self, rows: list[dict[str, Any]]) -> None:
        """Add the p value of each entry of being the best, and whether it may be."""
        best = self._best()
        entries = [] if best is None else [row["entry"] for row in rows if row["entry"] != ORACLE]
        p_values = best_p_values(entries, self._cost_contrast)
        for row in rows:
            p = row["p_best"] = p_values.get(row["entry"], NAN)
            row["tied_with_best"] = None if np.isnan(p) else bool(row["entry"] == best or p > ALPHA)

    def _best(self) -> str | None:
        if self.better is None:
            return None
        costs = {e: cost(_mean(v.values()), self.better) for e, v in self.values.items() if e != ORACLE}
        return min(costs, key=costs.__getitem__) if costs else None

    def _value_columns(self, entry: str) -> dict[str, Any]:
        by_seed = self.values[entry]
        values = list(by_seed.values())
        debiased = [v.debiased for v in values]
        row: dict[str, Any] = {
            "entry": entry,
            "seeds": len(values),
            "value": sum(v.value for v in values) / len(values),
            "debiased": sum(debiased) / len(debiased),
            "low": NAN,
            "high": NAN,
            "spread_over": "",
        }
        reason = next((v.reason for v in values if v.reason), self.no_interval)
        side = None if reason else self.side(entry, tuple(by_seed), of_value=True)
        if side is None:
            return row | self._calibration_columns(entry) | {"interval_reason": reason or NO_REPLICATES}
        if len(values) == 1:
            low, high = side.values[0] - side.lower[0], side.values[0] + side.upper[0]
        else:
            low, high = mean_of(side).interval()
        # a gap's margins are continued below 0, where the error itself cannot be
        ends = np.clip([low, high], self.lowest, self.highest).tolist()
        spread = "samples" if len(values) == 1 else "samples and seeds"
        row |= {"low": ends[0], "high": ends[1], "spread_over": spread, "interval_reason": ""}
        return row | self._calibration_columns(entry)

    def _calibration_columns(self, entry: str) -> dict[str, Any]:
        seeds = tuple(seed for seed in self.values[entry] if (entry, seed) in self.floors)
        if not seeds or len(seeds) < len(self.values[entry]):
            return {"calibrated": None}
        drawn = _replicates(self.values[entry][seed] for seed in seeds)
        known = len(drawn) == len(seeds) and all(np.isfinite(values).all() for values in drawn)
        matrix = correlations(np.stack(drawn)) if known else np.ones((len(seeds), len(seeds)))
        errors = np.array([self.values[entry][seed].value for seed in seeds])
        means, highs = np.array([self.floors[entry, seed] for seed in seeds]).T
        test = calibration_test(errors, means, highs, matrix)
        return {
            "calibrated": test.calibrated,
            "noise_floor": test.floor,
            "noise_floor_95": test.threshold,
            "detectable": test.detectable,
        }

    def change(self, entry: str) -> dict[str, Any]:
        """The columns of `COMPARISON_COLUMNS` that compare an entry with the baseline."""
        shared = self._common(entry, self.baseline)
        row: dict[str, Any] = dict.fromkeys(
            ("change", "change_low", "change_high", "reduction", "reduction_low", "reduction_high", "p"), NAN
        )
        if not shared:
            return row | {"change_reason": NO_BASELINE, "reduction_reason": NO_BASELINE}
        mine, base = self._mean(entry, shared), self._mean(self.baseline, shared)
        row["change"] = mine - base
        sides = self._sides(entry, self.baseline, shared)
        reason = "" if sides else self._untested(entry, shared)
        row["change_reason"] = reason
        widening = 1.0
        if sides:
            plain = difference(*self._skewed(*sides), pseudo_error=self._pseudo_error(entry, shared))
            contrast = plain if (prior := self.priors.get((entry, plain.seeds))) is None else prior.moderate(plain)
            widening = contrast.seed_margin / plain.seed_margin if plain.seed_error > 0 else 1.0
            row["change_low"], row["change_high"] = contrast.interval()
            row["p"] = contrast.p_value()
        return row | self._reduction_columns(entry, mine, base, sides, reason, widening)

    def _reduction_columns(
        self, entry: str, mine: float, base: float, sides: tuple[Side, Side] | None, reason: str, widening: float
    ) -> dict[str, Any]:
        nonnegative = self.sampling == "gaps"
        if base == 0:
            return {"reduction_reason": BASELINE_ZERO}
        if sides and self.sampling == "gaps" and self._within_noise(sides[1]):
            return {"reduction_reason": WITHIN_NOISE}
        if nonnegative and base < 0:
            return {"reduction_reason": WITHIN_NOISE}
        reduction = float(relative_reduction(max(mine, 0.0) if nonnegative else mine, base, self.better))
        row: dict[str, Any] = {"reduction": reduction, "reduction_reason": reason}
        if not sides:
            return row
        if entry == self.baseline:
            return row | {"reduction_low": 0.0, "reduction_high": 0.0}
        low, high = self._ratio(*sides, widening)
        if np.isnan(low):
            return row | {"reduction_reason": WIDE_BASELINE}
        ends = (100 * (low - 1), 100 * (high - 1)) if self.better == "higher" else (100 * (1 - high), 100 * (1 - low))
        return row | {"reduction_low": ends[0], "reduction_high": ends[1]}

    def _ratio(self, first: Side, second: Side, widening: float) -> tuple[float, float]:
        """The interval of the ratio of the means, of their sizes where a metric is best at 0."""
        ratio = skewed_ratio_interval if self.sampling == "mean" else ratio_interval
        if self.better == "zero":
            first, second = (side.flipped() if side.mean < 0 else side for side in (first, second))
        return ratio(first, second, widening)

    def _skewed(self, first: Side, second: Side) -> tuple[Side, Side]:
        """The sides with margins for a difference of skewed scores; those of other metrics as they are."""
        return skewed(first, second) if self.sampling == "mean" else (first, second)

    @staticmethod
    def _within_noise(side: Side) -> bool:
        """Whether the mean over seeds is within its margin over test samples of 0."""
        contrast = mean_of(side)
        return contrast.estimate <= contrast.lower

    def _cost_contrast(self, first: str, second: str) -> Contrast | None:
        """The difference of two entries as costs, of logarithms over several seeds for a metric without upper bound.

        The scatter of such a metric over seeds grows with its size, so that one run that went astray would hide that
        all runs of its entry are far worse.
        """
        shared = self._common(first, second)
        sides = self._sides(first, second, shared) if shared else None
        if sides is None:
            return None
        if self.better == "zero":
            sides = tuple(side.flipped() if side.mean < 0 else side for side in sides)
        elif self.better == "higher":
            sides = tuple(side.flipped() for side in sides)
        sides = self._skewed(*sides)
        if len(shared) > 1 and self.sampling == "mean" and np.isinf(self.highest):
            sides = tuple(map(_logarithm, sides)) if all((side.values > 0).all() for side in sides) else sides
        return difference(*sides, pseudo_error=self._pseudo_error(first, shared))

    def _common(self, first: str, second: str) -> tuple[int, ...]:
        return tuple(sorted(self.values.get(first, {}).keys() & self.values.get(second, {}).keys()))

    def _mean(self, entry: str, seeds: Sequence[int]) -> float:
        return _mean(self.values[entry][seed] for seed in seeds)

    def _pseudo_error(self, entry: str, seeds: Sequence[int]) -> float:
        samples = self.values[entry][seeds[0]].samples
        return 100 / samples if self.sampling == "share" and samples > 0 else 0.0

    def _untested(self, entry: str, seeds: Sequence[int]) -> str:
        """Why the change of an entry is not tested."""
        if self.sampling in ("bounds", "none"):
            return NOT_COMPARABLE
        for name in (entry, self.baseline):
            for seed in seeds:
                if self.values[name][seed].reason:
                    return f"{name}: {self.values[name][seed].reason}"
                if (drawn := self.values[name][seed].replicates) is not None and not np.isfinite(drawn).all():
                    return f"{name}: some bootstrap resamples have no finite value"
        if self._has_few_wrong(entry, seeds) or self._has_few_wrong(self.baseline, seeds):
            return FEW_WRONG
        return NO_REPLICATES

    def _has_few_wrong(self, entry: str, seeds: Sequence[int]) -> bool:
        return self.sampling == "mean" and any(self.values[entry][seed].wrong < FEWEST_WRONG for seed in seeds)

    def _sides(self, first: str, second: str, seeds: Sequence[int]) -> tuple[Side, Side] | None:
        if self.sampling in ("bounds", "none") or any(self._has_few_wrong(entry, seeds) for entry in (first, second)):
            return None
        for entry in (first, second):
            if (entry, tuple(seeds)) not in self._known_sides:
                self._known_sides[entry, tuple(seeds)] = self.side(entry, seeds)
        sides = self._known_sides[first, tuple(seeds)], self._known_sides[second, tuple(seeds)]
        return None if sides[0] is None or sides[1] is None else (sides[0], sides[1])

    def side(self, entry: str, seeds: Sequence[int], of_value: bool = False) -> Side | None:
        """An entry over seeds, or None where one of them lacks replicates; margins of the value or of differences."""
        values = [self.values[entry][seed] for seed in seeds]
        drawn = _replicates(values)
        if len(drawn) < len(values) or not all(np.isfinite(one).all() for one in drawn):
            return None
        margins = np.array([self._margins(*pair, of_value) for pair in zip(values, drawn, strict=True)])
        compared = np.array([value.compared for value in values])
        return Side(compared, margins[:, 0], margins[:, 1], np.stack(drawn))

    @staticmethod
    def _margins(value: SeedValue, replicates: np.ndarray, of_value: bool) -> tuple[float, float]:
        """95 % margins below and above a value over test samples.

        Differences of unbiased metrics take their margins from the spread of the replicates, the same on both sides, so
        that they cancel with those of an equal model (`skewed` adapts them to the difference); debiased errors have
        asymmetric ones.
        """
        low = value.low_signed if np.isfinite(value.low_signed) else value.low
        if np.isfinite(low) and (of_value or np.isfinite(value.debiased)):
            return max(value.compared - low, 0.0), max(value.high - value.compared, 0.0)
        margin = Z95 * float(replicates.std())
        return margin, margin


def _logarithm(side: Side) -> Side:
    """The logarithm of a positive quantity, with margins to first order."""
    return replace(side, values=np.log(side.values), lower=side.lower / side.values, upper=side.upper / side.values)


def _mean(values: Any) -> float:
    compared = [value.compared for value in values]
    return sum(compared) / len(compared)


def _replicates(values: Iterable[SeedValue]) -> list[np.ndarray]:
    """The replicates of the values that have some."""
    return [value.replicates for value in values if value.replicates is not None]
