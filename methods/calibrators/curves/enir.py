"""Ensemble of near-isotonic regressions, one-vs-rest."""

from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
from netcal.binning import ENIR as NetcalENIR  # noqa: N811 (an acronym, not a constant)
from netcal.binning import NearIsotonicRegression

from calbench.methods.base import register
from calbench.methods.calibrators._one_vs_rest import Curve, OneVsRest, step_curve
from calbench.methods.calibrators.curves._information import LOWEST, log_likelihood, relative_likelihoods


@register("enir", label="ENIR", paper="naeini2016binary")
@dataclass
class ENIR(OneVsRest):
    """q_k = an average of near-isotonic regressions of p_k, weighted by their ``score``. One-vs-rest; by netcal.

    netcal sorts the samples by p_k, and its paths depend on the order of equal ones. They are handed over with those of
    the class first, so that the order of the rows has no effect and a run of equal p_k is pooled.
    No default grid: ``score`` has two values.

    Naeini and Cooper 2016, arXiv 1511.05191.
    """

    score: Literal["bic", "aic"] = "bic"

    def fit_curve(self, probabilities: np.ndarray, hits: np.ndarray) -> Curve:
        """The steps of one class."""
        order = np.lexsort((~hits, probabilities))
        probabilities, hits = probabilities[order], hits[order]
        model = _Ensemble(score_function=self.score)
        try:
            model.fit(probabilities, hits.astype(int))
        except ValueError:  # separable: netcal's path ends at its first model, which it then discards
            first = NearIsotonicRegression()
            first.fit(probabilities, hits.astype(int))
            return step_curve(cast("Any", first)._group_bounds.ravel(), first.transform)
        edges = np.concatenate([cast("Any", regression)._group_bounds.ravel() for regression in model._binning_models])
        return step_curve(edges, model.transform)


class _Ensemble(NetcalENIR):
    """netcal's ensemble, with the scores from the counts of the groups and in float64."""

    def _calc_model_scores(
        self, confidences: np.ndarray, ground_truth: np.ndarray, model_list: list[Any], score_function: str = "bic"
    ) -> np.ndarray:
        total = np.append(0, np.cumsum(ground_truth))
        likelihoods = [_log_likelihood(model, confidences, total) for model in model_list]
        degrees = np.array([model.get_degrees_of_freedom() for model in model_list])
        return relative_likelihoods(np.array(likelihoods), degrees, len(ground_truth), score_function)


def _log_likelihood(model: Any, confidences: np.ndarray, total: np.ndarray) -> float:
    """The log-likelihood of sorted `confidences` (N,) whose hits are summed up in `total` (N + 1,).

    As netcal evaluates a model, a sample belongs to the last group (a, b] that it is in, and one in none gets 0.
    """
    bounds: np.ndarray = model._group_bounds
    places = np.searchsorted(confidences, bounds.T, side="right")
    starts = np.where(bounds[:, 0] == 0, 0, places[0])
    ends = np.minimum(places[1], np.append(starts[1:], len(confidences)))
    hits = total[ends] - total[starts]
    covered = log_likelihood(hits, ends - starts, model._group_values.clip(0, 1)).sum()
    return float(covered + LOWEST * (total[-1] - hits.sum()))
