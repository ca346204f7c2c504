"""Applies calbench's statistics to simulated test sets, one by one."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from calbench.benchmark import statistics
from calbench.benchmark.core.bins import DEFAULT_BINS
from calbench.benchmark.core.seeds import seed_for
from calbench.benchmark.metrics.base import make_all
from calbench.benchmark.metrics.sample import Sample
from calbench.benchmark.metrics.source import Source
from calbench.benchmark.statistics.block import Block
from calbench.benchmark.statistics.seed_value import SeedValue
from calbench.benchmark.studies.coverage.suites import SuiteWorld, suite_rows
from calbench.benchmark.studies.coverage.tables import EQUAL, UNEQUAL, TableWorld, table_rows
from calbench.benchmark.studies.coverage.worlds import NetworkWorld, TemperedWorld

METRICS = ("ece", "debiased-ece", "classwise-ece", "nll", "brier", "signed-gap", "accuracy")
COMPARED = ("ece", "nll", "accuracy")
SEEDS = (1, 2, 3, 5, 10)
TRUTH_SAMPLES = 1_000_000
CHUNK = 25
"""Test sets that are simulated at once: a run that is stopped loses no more of them."""


@dataclass(frozen=True)
class Size:
    """How much is simulated.

    Attributes:
        sets: test sets per situation.
        replicates: bootstrap replicates, of which only correlations and spreads are used.
        draws: of the noise floor.
        truth: samples of the population.
    """

    sets: int = 300
    replicates: int = 100
    draws: int = 400
    truth: int = TRUTH_SAMPLES


QUICK = Size(sets=20, replicates=50, draws=100, truth=200_000)


@dataclass(frozen=True)
class Situation:
    """One simulated situation: test sets of `samples` samples from `world`, or tables of values (0 samples).

    Attributes:
        name: in the tables.
        samples: of a test set.
        world: what they are drawn from.
        sharpness: of the models, for coverage.
        times: how many times as many sets as other situations have.
        one_seed: only the comparison of two single networks, by NLL.
        fewer: how many times fewer sets, where one set is several tables.
    """

    name: str
    samples: int
    world: TemperedWorld | NetworkWorld | TableWorld | SuiteWorld
    sharpness: tuple[float, ...] = ()
    times: int = 1
    one_seed: bool = False
    fewer: int = 1

    def sets(self, size: Size) -> int:
        """The number of test sets."""
        return -(-size.sets * self.times // self.fewer)


SITUATIONS = (
    Situation("coverage-540", 540, TemperedWorld(12.0), (1.0, 1.05, 1.15, 1.5, 3.0)),
    Situation("coverage-540-saturated", 540, TemperedWorld(60.0), (1.0, 1.5, 3.0), times=4),
    Situation("coverage-100-saturated", 100, TemperedWorld(240.0), (1.0, 3.0)),
    Situation("coverage-1000", 1000, TemperedWorld(3.0), (1.0, 1.05, 1.15, 1.5)),
    Situation("coverage-10000", 10_000, TemperedWorld(3.0), (1.0, 1.05, 1.15, 1.5)),
    Situation("levels-540", 540, NetworkWorld(3.0, 0.17, 1.4, 0.25)),
    Situation("levels-1000", 1000, NetworkWorld(2.0, 0.12, 1.3, 0.13)),
    Situation("levels-10000", 10_000, NetworkWorld(2.0, 0.04, 1.3, 0.04)),
    Situation("levels-10000-one-seed", 10_000, NetworkWorld(2.0, 0.04, 1.3, 0.04), times=6, one_seed=True),
    Situation("table-equal", 0, TableWorld("nll", EQUAL)),
    Situation("table-unequal", 0, TableWorld("nll", UNEQUAL)),
    Situation("table-unequal-accuracy", 0, TableWorld("accuracy", UNEQUAL)),
    Situation("table-equal-worse", 0, TableWorld("nll", EQUAL, worse=5.0)),
    Situation("table-unequal-worse", 0, TableWorld("nll", UNEQUAL, worse=5.0)),
    Situation("suite-1", 0, SuiteWorld(1)),
    Situation("suite-1-differences", 0, SuiteWorld(1, effect=5.0)),
    Situation("suite-3", 0, SuiteWorld(3)),
    Situation("suite-4-one-large", 0, SuiteWorld(4, one_large=20.0), fewer=2),
    Situation("suite-6", 0, SuiteWorld(6), fewer=3),
    Situation("suite-6-ratio", 0, SuiteWorld(6, level=10.0), fewer=3),
    Situation("suite-6-unequal", 0, SuiteWorld(6, unequal=1.2), fewer=3),
    Situation("suite-6-extreme", 0, SuiteWorld(6, extreme=12.0), fewer=3),
    Situation("suite-6-lognormal", 0, SuiteWorld(6, lognormal=True), fewer=3),
    Situation("suite-6-differences", 0, SuiteWorld(6, effect=5.0), fewer=3),
)
"""Coverage: accuracies of 91, 98, 99.6 and 66 %, true errors from 0 to three noise floors. Levels: a spread over seeds
of about twice the sampling error of one network. Tables: twelve entries whose spread over seeds is equal or very
unequal. Suites: twelve entries over 1 to 6 cells whose spreads over seeds differ. Of `coverage-540-saturated` there are
four times as many sets: 23 of the first 300 lacked `≈0` at T = 1, of 5,000 others 5.0 %."""


COLUMNS = [
    "situation",
    "samples",
    "kind",
    "label",
    "metric",
    "seeds",
    "truth",
    "value",
    "debiased",
    "low",
    "high",
    "seen",
]
"""Of the simulated rows."""

Truth = dict[float, dict[str, float]]
"""Population values of the metrics by sharpness."""


def truth_of(world: TemperedWorld, sharpness: float, size: Size) -> dict[str, float]:
    """The population values of the model that shows softmax(sharpness z)."""
    return world.truth(world.show(sharpness), size.truth)


def simulate(situation: Situation, size: Size, chunk: int, truth: Truth) -> pd.DataFrame:
    """Up to `CHUNK` test sets: a row per set and quantity, with kind, label, metric, seeds, truth and what was seen."""
    sets = min(CHUNK, situation.sets(size) - chunk * CHUNK)
    generator = np.random.default_rng(seed_for(0, "coverage", situation.name, chunk))
    shared = {"situation": situation.name, "samples": situation.samples}
    rows: list[dict[str, Any]] = []
    for _ in range(sets):
        if isinstance(situation.world, TemperedWorld):
            rows += _coverage(situation, situation.world, size, truth, generator)
        elif isinstance(situation.world, TableWorld):
            rows += table_rows(situation.world, generator)
        elif isinstance(situation.world, SuiteWorld):
            rows += suite_rows(situation.world, generator)
        else:
            rows += _one_network(situation, situation.world, size, generator)
            if not situation.one_seed:
                rows += _levels(situation.samples, situation.world, size, generator)
    return pd.DataFrame([shared | row for row in rows]).reindex(columns=COLUMNS)


def evaluated(
    logits: np.ndarray, labels: np.ndarray, metrics: Sequence[str], size: Size, with_floor: bool = True
) -> tuple[dict[str, SeedValue], tuple[float, float]]:
    """The estimates of one model with their replicates, as an evaluation of a suite makes them, and its noise floor."""
    sample, made = Sample(Source(logits=logits, labels=labels)), make_all(metrics, DEFAULT_BINS)
    replicates = statistics.resampled(sample, made, size.replicates, seed=0)
    estimates = statistics.estimates(sample, made, replicates=replicates)
    floor = float("nan"), float("nan")
    if with_floor:
        simulated = statistics.noise_floor(confidences=sample.confidence, draws=size.draws)
        floor = simulated.mean, simulated.q95
    wrong = int((logits.argmax(axis=1) != labels).sum())
    values = {
        name: SeedValue(
            one.value, one.low, one.high, one.debiased, one.low_signed, len(labels), one.reason, replicates[name], wrong
        )
        for name, one in estimates.items()
    }
    return values, floor


Models = dict[str, list[tuple[dict[str, SeedValue], tuple[float, float]]]]
"""The evaluated models of each entry, over seeds."""


def _compared(metric: str, models: Models, baseline: str) -> dict[str, dict[str, Any]]:
    """The rows of the comparison of some models."""
    values = {entry: {s: found[metric] for s, (found, _) in enumerate(seeds)} for entry, seeds in models.items()}
    floors = {
        (entry, s): floor
        for entry, seeds in models.items()
        for s, (_, floor) in enumerate(seeds)
        if np.isfinite(floor[1])
    }
    rows = Block(metric, values, baseline, floors if metric == "ece" else {}).rows()
    return {row["entry"]: row for row in rows}


def _coverage(
    situation: Situation, world: TemperedWorld, size: Size, truth: Truth, generator: np.random.Generator
) -> Iterator[dict[str, Any]]:
    z, labels = world.draw(situation.samples, generator)
    names = {value: f"T = {value:g}" for value in situation.sharpness}
    found = {names[value]: [evaluated(world.show(value)(z), labels, METRICS, size)] for value in names}
    for value, name in names.items():
        for metric in METRICS:
            true, one = truth[value]["ece" if metric == "debiased-ece" else metric], found[name][0][0][metric]
            yield {"kind": "coverage", "label": name, "metric": metric, "truth": true, "value": one.value,
                   "debiased": one.debiased, "low": one.low, "high": one.high}  # fmt: skip
    errors = {name: truth[value]["ece"] for value, name in names.items()}
    yield from _reductions(found, errors)
    yield from _changes(found, {name: truth[value]["nll"] for value, name in names.items()})
    flat = world.flat(truth[min(names)]["accuracy"] / 100)
    pair = {"flat": [evaluated(flat(z), labels, METRICS, size)], "sharp": found[names[min(names)]]}
    sharp = _compared("ece", pair, "flat")["sharp"]
    lost = bool(sharp["differs"]) and sharp["change"] > 0
    yield {"kind": "level", "label": "sharp loses to flat", "metric": "ece", "seeds": 1, "seen": lost}


def _reductions(found: Models, errors: dict[str, float]) -> Iterator[dict[str, Any]]:
    """Reductions against the model of the largest error, and whether each model passes as calibrated."""
    baseline = max(errors, key=errors.__getitem__)
    for name, row in _compared("ece", found, baseline).items():
        if name != baseline:
            yield {"kind": "reduction", "label": name, "metric": "ece", "value": row["reduction"],
                   "truth": 100 * (1 - errors[name] / errors[baseline]), "low": row["reduction_low"],
                   "high": row["reduction_high"]}  # fmt: skip
        calibrated = errors[name] == min(errors.values())
        yield {"kind": "level" if calibrated else "power", "label": f"≈0 missing at {name}", "metric": "ece",
               "seeds": 1, "truth": errors[name], "seen": not row["calibrated"],
               "value": row["detectable"]}  # fmt: skip


def _changes(found: Models, truths: dict[str, float]) -> Iterator[dict[str, Any]]:
    """Changes of the NLL against the model of the largest one."""
    baseline = max(truths, key=truths.__getitem__)
    for name, row in _compared("nll", found, baseline).items():
        if name != baseline:
            yield {"kind": "change", "label": name, "metric": "nll", "truth": truths[name] - truths[baseline],
                   "value": row["change"], "low": row["change_low"], "high": row["change_high"]}  # fmt: skip


def _one_network(
    situation: Situation, world: NetworkWorld, size: Size, generator: np.random.Generator
) -> Iterator[dict[str, Any]]:
    """Marks of two methods of one network each: without a spread over seeds, their population metrics are equal."""
    metrics = ("nll",) if situation.one_seed else COMPARED
    networks, labels = world.draw(situation.samples, 2, generator, spread=False)
    yield from _marks(_methods(networks, labels, size, metrics), 1, metrics)


def _levels(samples: int, world: NetworkWorld, size: Size, generator: np.random.Generator) -> Iterator[dict[str, Any]]:
    """Marks of two runs of one method over several seeds, and of a calibrated method."""
    networks, labels = world.draw(samples, 2 * max(SEEDS), generator)
    methods = _methods(networks, labels, size, COMPARED)
    exact = [evaluated(z, labels, ["ece"], size) for z, _ in networks[: max(SEEDS)]]
    for seeds in SEEDS:
        if seeds > 1:
            yield from _marks({name: models[:seeds] for name, models in methods.items()}, seeds, COMPARED)
        row = _compared("ece", {"exact": exact[:seeds]}, "exact")["exact"]
        yield {"kind": "level", "label": "≈0 missing, calibrated", "metric": "ece", "seeds": seeds, "truth": 0.0,
               "seen": not row["calibrated"], "value": row["detectable"]}  # fmt: skip


def _methods(
    networks: list[tuple[np.ndarray, float]], labels: np.ndarray, size: Size, metrics: Sequence[str]
) -> Models:
    """Two methods with half of the networks each."""
    found = [evaluated(sharpness * z, labels, metrics, size, with_floor=False) for z, sharpness in networks]
    return {"first": found[: len(found) // 2], "second": found[len(found) // 2 :]}


def _marks(methods: Models, seeds: int, metrics: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Which marks two runs of the same method get."""
    for metric in metrics:
        rows = _compared(metric, methods, "first")
        second = rows["second"]
        shared = {"kind": "level", "metric": metric, "seeds": seeds}
        yield shared | {"label": "differs (no ~)", "seen": bool(second["differs"])}
        for row in rows.values():
            yield shared | {"label": "a best one of 2 not bold", "seen": not row["tied_with_best"]}
        if metric == "accuracy":
            yield shared | {"label": "▼ (accuracy lost)", "seen": bool(second["differs"]) and second["change"] < 0}
