"""Ensemble of near-isotonic regressions, one-vs-rest."""

from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
from netcal.binning import ENIR as NetcalENIR  # noqa: N811 (an acronym, not a constant)
from netcal.binning import NearIsotonicRegression

from calbench.methods.base import register
from calbench.methods.calibrators._one_vs_rest import Curve, OneVsRest, step_curve
from calbench.methods.calibrators.curves._information import LOWEST, log_likelihood, relative_likelihoods
from calbench.methods.solvers.near_isotonic import Groups, near_isotonic_path


@register("enir", label="ENIR", paper="naeini2016binary")
@dataclass
class ENIR(OneVsRest):
    """q_k = an average of near-isotonic regressions of p_k, weighted by their ``score``. One-vs-rest.

    netcal chooses the regressions and averages them. The path of regressions is ours: where groups meet at the same
    penalty, as they do with few labels, netcal's loses the samples of all but one pair and predicts 0 for them.

    The path depends on the order of samples with equal p_k. Those of the class come first, so that the order of the
    rows has no effect and a run of equal p_k is pooled. No default grid: ``score`` has two values.

    Naeini and Cooper 2016, arXiv 1511.05191.
    """

    score: Literal["bic", "aic"] = "bic"

    def fit_curve(self, probabilities: np.ndarray, hits: np.ndarray) -> Curve:
        """The steps of one class."""
        order = np.lexsort((~hits, probabilities))
        probabilities, hits = probabilities[order], hits[order]
        regressions = [_regression(probabilities, groups) for groups in near_isotonic_path(hits.astype(float))]
        # The first follows every label. It is left out unless it is isotonic, and so the only one.
        model = _Ensemble(score_function=self.score).choose(probabilities, hits, regressions[1:] or regressions)
        edges = np.concatenate([one._group_bounds.ravel() for one in model._binning_models])
        return step_curve(edges, model.transform)


def _regression(probabilities: np.ndarray, groups: Groups) -> Any:
    """A near-isotonic regression as netcal has it; the bounds of groups are half-way between samples."""
    inner = groups.starts[1:]
    bounds = np.concatenate([[0.0], (probabilities[inner - 1] + probabilities[inner]) / 2, [1.0]])
    model = cast("Any", NearIsotonicRegression())
    model.num_classes, model._num_groups = 2, len(groups.values)
    model._group_values, model._group_bounds = groups.values, np.stack([bounds[:-1], bounds[1:]], axis=1)
    return model


class _Ensemble(NetcalENIR):
    """netcal's ensemble of given regressions, with the scores from the counts of the groups and in float64."""

    def choose(self, probabilities: np.ndarray, hits: np.ndarray, regressions: list[Any]) -> Any:
        """Keep the regressions that are averaged, with their weights; of sorted probabilities (N,) and hits (N,)."""
        self.num_classes = 2
        self._model_scores, self._binning_models = self._elbow(
            probabilities, hits.astype(int), regressions, self.score_function, alpha=0.001
        )
        return self

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
