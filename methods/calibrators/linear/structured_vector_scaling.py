"""Structured vector scaling of the package probmetrics."""

from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from calbench.methods.base import register
from calbench.methods.calibrators.linear._structured import StructuredScaling


@register("structured-vector-scaling", label="SVS", paper="berta2026structured")
@dataclass
class StructuredVectorScaling(StructuredScaling):
    """softmax(v * x + b) on temperature-scaled log-probabilities x, with ridge penalties K / N on v - 1 and b.

    By the package probmetrics (extra ``probmetrics``), with its defaults. Berta, Holzmüller, Jordan and Bach 2026.
    """

    def fit_stage(self, package: ModuleType, probabilities: Any, labels: Any) -> tuple[Any, Tensor, Tensor]:
        """Fit the package's SVS."""
        model = package.SVSCalibrator(print_init_info=False).fit(probabilities, labels)
        return model.ts_, torch.as_tensor(model.v_), torch.as_tensor(model.b_)
