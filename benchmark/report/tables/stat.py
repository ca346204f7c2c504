"""What is known of one metric of one entry, and reading it from a table of comparisons."""

from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class Stat:
    """One metric of one entry on one dataset and backbone, over its seeds; None where a thing is not known."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    change: float | None = None
    change_low: float | None = None
    change_high: float | None = None
    reduction: float | None = None
    reduction_low: float | None = None
    reduction_high: float | None = None
    debiased: float | None = None
    noise_floor: float | None = None
    noise_floor_95: float | None = None
    detectable: float | None = None
    p_adjusted: float | None = None
    differs: bool | None = None
    tied_with_best: bool | None = None
    calibrated: bool | None = None
    interval_reason: str = ""
    change_reason: str = ""
    reduction_reason: str = ""
    seeds: int = 0

    @property
    def error(self) -> float | None:
        """What comparisons use: the debiased error (not below 0) of a calibration error, the value of others."""
        return self.value if self.debiased is None else max(self.debiased, 0.0)


Key = tuple[str, str, str, str]
"""Dataset, backbone, entry, metric."""

KEY_COLUMNS = ["dataset", "backbone", "entry", "metric"]
NUMBERS = [field.name for field in fields(Stat) if field.type == float | None]
FLAGS = [field.name for field in fields(Stat) if field.type == bool | None]
TEXTS = [field.name for field in fields(Stat) if field.type is str]


def keys_of(frame: pd.DataFrame) -> Iterator[Key]:
    """The key of each row."""
    return zip(*(frame[name].tolist() for name in KEY_COLUMNS), strict=True)


def known_numbers(column: pd.Series) -> list[float | None]:
    """Numbers as pandas may have kept them, text included; None where it is missing or not finite."""
    values = pd.to_numeric(column, errors="coerce").to_numpy(dtype=float, na_value=np.nan)
    return [v if ok else None for v, ok in zip(values.tolist(), np.isfinite(values).tolist(), strict=True)]
