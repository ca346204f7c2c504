"""Structured matrix scaling of the package probmetrics."""

from dataclasses import dataclass
from types import ModuleType
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from calbench.methods.base import register
from calbench.methods.calibrators.linear._structured import StructuredScaling


@register("structured-matrix-scaling", label="SMS", paper="berta2026structured")
@dataclass
class StructuredMatrixScaling(StructuredScaling):
    """softmax(M x + b) on temperature-scaled log-probabilities x, with ridge penalties on M - I and b.

    Strengths are K / N for the diagonal and b, K (K - 1) / N off the diagonal. By the package probmetrics (extra
    ``probmetrics``), with its defaults. Berta, Holzmüller, Jordan and Bach 2026.
    """

    max_classes: Annotated[int, Field(ge=2)] = 300

    growth = "fits a matrix of K x K numbers"

    def fit_stage(self, package: ModuleType, probabilities: Any, labels: Any) -> tuple[Any, Tensor, Tensor]:
        """Fit the package's SMS."""
        model = package.SMSCalibrator(print_init_info=False).fit(probabilities, labels)
        matrix = torch.as_tensor(model.W_)
        return model.ts_, matrix[:, :-1].contiguous(), matrix[:, -1].clone()
