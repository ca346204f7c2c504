"""Statistics of metrics: bootstrap intervals, noise floors, paired comparisons, aggregates over cells."""

from calbench.benchmark.statistics.aggregate import AGGREGATE_COLUMNS, aggregate
from calbench.benchmark.statistics.calibration import CalibrationInterval, calibration_interval
from calbench.benchmark.statistics.compare import compare
from calbench.benchmark.statistics.estimates import Estimate, estimates, evaluate
from calbench.benchmark.statistics.noise import NoiseFloor, noise_floor
from calbench.benchmark.statistics.pairs import compare_pairs
from calbench.benchmark.statistics.ranks import RankTests, critical_difference, rank_tests
from calbench.benchmark.statistics.resampling import bootstrap, interval, resampled

__all__ = [
    "AGGREGATE_COLUMNS",
    "CalibrationInterval",
    "Estimate",
    "NoiseFloor",
    "RankTests",
    "aggregate",
    "bootstrap",
    "calibration_interval",
    "compare",
    "compare_pairs",
    "critical_difference",
    "estimates",
    "evaluate",
    "interval",
    "noise_floor",
    "rank_tests",
    "resampled",
]
