"""TempNet on a frozen network against its own optimum: the same entropy for every sample."""

import math
import warnings
from dataclasses import dataclass
from typing import cast

import numpy as np
from torch import Tensor

from calbench.benchmark.predictions.predictions import Predictions
from calbench.methods.calibrators.temperature.tempnet_posthoc import TempNetPosthoc
from calbench.methods.solvers.iso_entropy import iso_entropy_temperatures
from calbench.methods.solvers.nll import mean_nll


@dataclass(frozen=True)
class TempNetControl:
    """A fitted post-hoc TempNet and the exact optimum of its loss, on the test split.

    Attributes:
        calibrator: the fitted TempNet.
        gap: mean |log tau_net - log tau*|, where H(softmax(z / tau*)) = log K - rho.
        entropy_target: log K - rho, in nats.
        nll_tempnet: NLL of the test split under tau_net.
        nll_control: the same under tau*.
    """

    calibrator: TempNetPosthoc
    gap: float
    entropy_target: float
    nll_tempnet: float
    nll_control: float

    def row(self) -> dict[str, float]:
        """The numbers, for a table."""
        return {name: value for name, value in vars(self).items() if name != "calibrator"}

    def of(self, logits: Tensor) -> np.ndarray:
        """tau_net of other logits (N, K)."""
        return self.calibrator.temperatures(logits).detach().numpy()


def tempnet_temperatures(predictions: Predictions, rule: str) -> TempNetControl:
    """Fit ``tempnet-posthoc`` on the calibration split, and compare its temperatures with the optimum of its loss.

    Args:
        predictions: with a calibration and a test split.
        rule: the checkpoint rule.
    """
    calibration, test = predictions[rule, "calibration"], predictions[rule, "test"]
    calibrator = TempNetPosthoc()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        calibrator.fit(calibration.logits, calibration.labels)
    target = math.log(test.logits.shape[1]) - cast("float", calibrator.rho_)
    network = calibrator.temperatures(test.logits).double()
    optimum = iso_entropy_temperatures(test.logits, target)
    gap = (network.log() - optimum.log()).abs().mean()
    return TempNetControl(
        calibrator,
        float(gap),
        target,
        mean_nll(test.logits / network[:, None], test.labels),
        mean_nll(test.logits / optimum[:, None], test.labels),
    )
