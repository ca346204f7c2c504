"""Statistics of metrics: bootstrap intervals, noise floors, paired comparisons, aggregates over cells."""

from .aggregate import AGGREGATE_COLUMNS, aggregate
from .compare import compare
from .noise import NoiseFloor, noise_floor
from .ranks import RankTests, critical_difference, rank_tests
from .resampling import bootstrap, interval

__all__ = [
    "AGGREGATE_COLUMNS",
    "NoiseFloor",
    "RankTests",
    "aggregate",
    "bootstrap",
    "compare",
    "critical_difference",
    "interval",
    "noise_floor",
    "rank_tests",
]
