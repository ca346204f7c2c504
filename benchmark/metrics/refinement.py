"""The calibration and refinement parts of proper scores, split by the best temperature."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# Some functions of torch have no complete types.
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from calbench.benchmark.metrics.base import Metric, register
from calbench.benchmark.metrics.parts import Collector, Part, ProperScores
from calbench.benchmark.metrics.sample import View
from calbench.benchmark.metrics.source import Block, Source

Score = Literal["nll", "brier"]
_STEP = 400 ** (1 / 23)
_WIDTH = 24
"""Rungs of the ladder of temperatures that are tried at once."""

_FARTHEST = 20 * _WIDTH
"""The rung, on either side, beyond which no search goes: a factor of 20^40 from T = 1."""

_FLAT = 1e-9
"""A gain of the score below which the search ends: for separable samples the score falls towards zero for ever."""

_FINE_POINTS = 9
_DENSE_POINTS = 257


@dataclass(frozen=True)
class TemperedScores(Part):
    """``nll`` and ``brier`` after division of the logits by the temperatures 1/`inverses`.

    One row per sample, (N, G), or with `means` only the means over all samples, (1, G).
    """

    inverses: tuple[float, ...]
    means: bool = False

    @override
    def collector(self, source: Source) -> Collector:
        return _TemperedCollector(self)

    @override
    def join(self, results: Sequence[tuple[dict[str, np.ndarray], int]]) -> dict[str, Any]:
        rows = {name: [result[name] for result, _ in results] for name in results[0][0]}
        if not self.means:
            return {name: np.concatenate(values) for name, values in rows.items()}
        count = sum(count for _, count in results)
        return {name: sum(values) / count for name, values in rows.items()}


class _TemperedCollector(Collector):
    def __init__(self, part: TemperedScores) -> None:
        self.part = part
        self.rows: dict[Score, list[Tensor]] = {"nll": [], "brier": []}
        self.count = 0

    def add(self, block: Block) -> None:
        logits = block.scores if block.is_logits else block.scores.clamp_min(torch.finfo(block.scores.dtype).tiny).log()
        shifted = logits - logits.amax(dim=1, keepdim=True)
        columns = [_scores(shifted * inverse, block.labels) for inverse in self.part.inverses]
        self.count += len(shifted)
        for name, values in zip(self.rows, map(torch.stack, zip(*columns, strict=True)), strict=True):
            self.rows[name].append(values.sum(dim=1, keepdim=True) if self.part.means else values)

    def result(self) -> tuple[dict[str, np.ndarray], int]:
        joined = {name: torch.cat(rows, dim=1).T.cpu().numpy() for name, rows in self.rows.items()}
        if self.part.means:
            joined = {name: rows.sum(axis=0, keepdims=True) for name, rows in joined.items()}
        return joined, self.count


def _scores(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    log_p = logits.gather(1, labels[:, None])[:, 0].double()
    p = torch.softmax(logits, dim=1)
    nll = p.amax(dim=1).double().log().neg() - log_p  # the largest logit is 0, so log p_y = z_y + log max p
    p_label = p.gather(1, labels[:, None])[:, 0].double()
    return nll, torch.linalg.vector_norm(p, dim=1).double() ** 2 - 2 * p_label + 1


class _Refinement(Metric):
    """The score at the best temperature, found on a coarse and then on a fine grid.

    The coarse grid is a ladder of inverse temperatures: 24 of them between 1/20 and 20, and as many more on the side
    where the best is the last as it takes, so that the magnitude of the logits does not matter.
    """

    score: ClassVar[Score]

    def parts(self) -> Sequence[Part]:
        return [ProperScores(), TemperedScores(_ladder(0), means=True)]

    def refined(self, view: View) -> np.ndarray:
        """The smallest mean score over all temperatures, under each weighting (R,)."""
        best = self._best_rung(view)
        lowest, ends = self._lowest_around(best, view)
        # A small resample may have its optimum far from the whole sample's: follow its curve down, window by window.
        for direction in (-1, 1):
            place, falling = best, ends == direction
            while falling.any() and abs(place + 2 * direction) <= _FARTHEST:
                place += 2 * direction
                values, ends_there = self._lowest_around(place, view)
                gained = lowest - values
                lowest = np.where(falling, np.minimum(lowest, values), lowest)
                falling &= (ends_there == direction) & (gained > _FLAT)
        return lowest

    def _best_rung(self, view: View) -> int:
        """The rung of the ladder with the smallest mean score of the whole sample."""
        first, lowest = 0, np.inf
        while True:
            means = view.sample[TemperedScores(_ladder(first), means=True)][self.score][0]
            best = first + int(means.argmin())
            if means.min() > lowest - _FLAT or first < best < first + _WIDTH - 1 or abs(first) >= _FARTHEST:
                return best
            lowest = float(means.min())
            first = first - _WIDTH + 2 if best == first else first + _WIDTH - 2

    def _lowest_around(self, place: int, view: View) -> tuple[np.ndarray, np.ndarray]:
        """`_minimum` of the scores between the neighbours of a rung of the ladder."""
        fine = np.geomspace(_rung(place - 1), _rung(place + 1), _FINE_POINTS)
        rows = view.sample[TemperedScores(tuple(map(float, fine)))][self.score]
        return _minimum(np.stack([view.mean(column) for column in rows.T], axis=1))


def _rung(place: int) -> float:
    """The inverse temperature of a rung of the ladder; rung 0 is 1/20, rung 23 is 20."""
    return _STEP**place / 20


def _ladder(first: int) -> tuple[float, ...]:
    """The inverse temperatures of `_WIDTH` rungs from `first` on."""
    return tuple(_rung(place) for place in range(first, first + _WIDTH))


def _minimum(curves: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The minimum of each smooth, evenly sampled curve (R, G), and where it lies: -1 first, 1 last point, 0 between.

    The polynomial through all points is sampled densely, and a parabola is laid through its three lowest neighbours.
    """
    powers = np.arange(curves.shape[1])
    coarse, dense = np.linspace(-1, 1, curves.shape[1]), np.linspace(-1, 1, _DENSE_POINTS)
    curves = curves @ np.linalg.solve((coarse[:, None] ** powers).T, (dense[:, None] ** powers).T)
    lowest = curves.argmin(axis=1)
    ends = (lowest == _DENSE_POINTS - 1).astype(int) - (lowest == 0)
    place = np.clip(lowest, 1, _DENSE_POINTS - 2)
    left, middle, right = (np.take_along_axis(curves, place[:, None] + d, axis=1)[:, 0] for d in (-1, 0, 1))
    slope, bend = (right - left) / 2, left - 2 * middle + right
    safe = np.where(bend > 0, bend, 1)
    step = np.where(bend > 0, np.clip(-slope / safe, -1, 1), 0)
    return np.minimum(middle + slope * step + bend * step**2 / 2, curves.min(axis=1)), ends


class _NLLSplit(_Refinement):
    unit = "nats"
    decimals = 4
    score = "nll"


class _BrierSplit(_Refinement):
    unit = ""
    decimals = 4
    score = "brier"


@register("nll-refinement", label="NLL (refinement)", paper="berta2025rethinking")
@dataclass
class NLLRefinement(_NLLSplit):
    """The NLL that is left at the best temperature, in nats: what one temperature cannot improve.

    The variational split of Berta 2025 (arXiv 2501.19195): refinement is the least risk over recalibrations, here over
    T > 0, fitted on the evaluated samples themselves (one number, so that fitting it costs of the order 1/N).
    """

    @override
    def values(self, view: View) -> np.ndarray:
        return self.refined(view)


@register("nll-calibration", label="NLL (calibration)", paper="berta2025rethinking")
@dataclass
class NLLCalibration(_NLLSplit):
    """NLL less `NLLRefinement`: what the best temperature would gain, in nats. A lower bound of calibration error."""

    sampling = "excess"

    @override
    def values(self, view: View) -> np.ndarray:
        return np.maximum(view.mean(view.sample.nll) - self.refined(view), 0)


@register("brier-refinement", label="Brier (refinement)", paper="berta2025rethinking")
@dataclass
class BrierRefinement(_BrierSplit):
    """The Brier score that is left at the temperature best for it; see `NLLRefinement`."""

    @override
    def values(self, view: View) -> np.ndarray:
        return self.refined(view)


@register("brier-calibration", label="Brier (calibration)", paper="berta2025rethinking")
@dataclass
class BrierCalibration(_BrierSplit):
    """Brier score less `BrierRefinement`: what the best temperature would gain. A lower bound of calibration error."""

    sampling = "excess"

    @override
    def values(self, view: View) -> np.ndarray:
        return np.maximum(view.mean(view.sample.brier) - self.refined(view), 0)
