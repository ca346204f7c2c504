"""Histogram binning, one-vs-rest."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from netcal.binning import HistogramBinning as NetcalHistogramBinning
from pydantic import Field

from calbench.methods.base import register
from calbench.methods.calibrators._one_vs_rest import Curve, OneVsRest, step_curve


@register("histogram-binning", label="HB", paper="zadrozny2001obtaining")
@dataclass
class HistogramBinning(OneVsRest):
    """q_k = the share of class k among the calibration samples whose p_k falls in the same of ``bins`` equal bins.

    An empty bin predicts its centre. One-vs-rest, renormalised; fitted by netcal.

    Zadrozny and Elkan 2001.
    """

    bins: Annotated[int, Field(ge=1)] = 15
    tune_grid = (("bins", (10, 15, 25, 50)),)

    def fit_curve(self, probabilities: np.ndarray, hits: np.ndarray) -> Curve:
        """The steps of one class."""
        model = NetcalHistogramBinning(bins=self.bins)
        model.fit(probabilities, hits.astype(int))
        return step_curve(np.linspace(0, 1, self.bins + 1), model.transform)
