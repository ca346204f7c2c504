"""Bayesian binning into quantiles, one-vs-rest."""

from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
from netcal.binning import BBQ as NetcalBBQ  # noqa: N811 (an acronym, not a constant)

from calbench.methods.base import register
from calbench.methods.calibrators._one_vs_rest import Curve, OneVsRest, step_curve


@register("bbq", label="BBQ", paper="naeini2015obtaining")
@dataclass
class BBQ(OneVsRest):
    """q_k = an average of histogram binnings of p_k with many numbers of bins, weighted by their ``score``.

    netcal's form: equal-width bins, the binnings chosen by an elbow of the information criterion. One-vs-rest,
    renormalised. It tries some 2.4 sqrt(N) binnings per class; samples are handed over sorted and with 8-bit labels,
    which saves a quarter of its time and changes nothing but the order of sums.
    No default grid: ``score`` has two values.

    Naeini, Cooper and Hauskrecht 2015.
    """

    score: Literal["bic", "aic"] = "bic"

    def fit_curve(self, probabilities: np.ndarray, hits: np.ndarray) -> Curve:
        """The steps of one class."""
        order = np.argsort(probabilities, kind="stable")
        model = NetcalBBQ(score_function=self.score)
        model.fit(probabilities[order], hits[order].astype(np.int8))
        edges = np.concatenate([cast("Any", binning)._bin_bounds[0] for binning in model._binning_models])
        return step_curve(edges, model.transform)
