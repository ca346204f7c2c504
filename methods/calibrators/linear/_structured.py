"""The adapter for the structured scalings of the package probmetrics, which is an optional extra."""

from abc import abstractmethod
from dataclasses import dataclass
from types import ModuleType
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from calbench.benchmark.core.errors import InputError
from calbench.methods.calibrators._base import Calibrator

LOG_TINY = float(torch.tensor(torch.finfo(torch.float32).tiny).log())


@dataclass
class StructuredScaling(Calibrator):
    """softmax(M x + b) of x = log((1 - u) softmax(z / T) + u / K), as probmetrics fits it.

    Its first stage is a temperature, mixed with the uniform distribution at u = 1 / (N + 1); then a ridge-regularised
    matrix, fitted from the identity. The fit is kept as arrays, so a fitted calibrator does not need the package.
    """

    package: ClassVar[str] = "probmetrics.calibrators.logistic"

    @abstractmethod
    def fit_stage(self, package: ModuleType, probabilities: Any, labels: Any) -> tuple[Any, Tensor, Tensor]:
        """The package's temperature stage, then M (K,) or (K, K), and b (K,)."""

    def fit(self, logits: Any, labels: Any) -> Self:
        """Fit ``inverse_temperature_``, ``uniform_``, ``matrix_`` and ``bias_`` on logits (N, K) and labels (N,)."""
        try:
            from probmetrics.calibrators import logistic
        except ImportError as error:
            raise InputError(
                f"{self.spec.name} needs the extra 'probmetrics': pip install 'calbench[probmetrics]' ({error})"
            ) from None
        probabilities = logits.float().softmax(dim=1).cpu().numpy()
        stage, matrix, bias = self.fit_stage(logistic, probabilities, labels.cpu().numpy())
        self.inverse_temperature_ = float(stage.cal_.invtemp_)
        self.uniform_ = stage.output_constant / (stage.n_samples_ + 1)
        self.matrix_, self.bias_ = matrix.to(logits), bias.to(logits)
        return self

    def transform(self, logits: Any) -> Any:
        """Mapped log-probabilities (N, K)."""
        probabilities = (logits.log_softmax(dim=1) * self.inverse_temperature_).softmax(dim=1)
        mixed = (1 - self.uniform_) * probabilities + self.uniform_ / logits.shape[1]
        seen = mixed.log().clamp_min(LOG_TINY)
        matrix = self.matrix_.to(logits)
        mapped = seen * matrix if matrix.ndim == 1 else seen @ matrix.T
        return mapped + self.bias_.to(logits)
