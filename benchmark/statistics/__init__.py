"""Statistics of metrics: bootstrap intervals, noise floors, paired comparisons, aggregates over cells."""

from .noise import NoiseFloor, noise_floor
from .resampling import bootstrap, interval

__all__ = ["NoiseFloor", "bootstrap", "interval", "noise_floor"]
