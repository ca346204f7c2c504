"""calbench's metrics as `torchmetrics.Metric`, for training loops; needs the package torchmetrics."""

from typing import Any

import torch
from torch import Tensor

from calbench.benchmark.core.bins import DEFAULT_BINS
from calbench.benchmark.core.errors import InputError
from calbench.benchmark.metrics import evaluate
from calbench.benchmark.metrics.base import make

try:
    from torchmetrics import Metric
    from torchmetrics.utilities import dim_zero_cat
except ImportError as error:
    message = f"calbench.integrations.torchmetrics needs torchmetrics: pip install torchmetrics ({error})"
    raise InputError(message) from None


class CalibrationMetric(Metric):
    """Any metric of calbench over all batches seen, each value from all samples at once and in float64.

    Unlike `torchmetrics.CalibrationError` the bins are (a, b] as published, and the value does not depend on how the
    samples are split into batches or processes.

    Args:
        metric: the name of a metric, such as ``"ece"``.
        bins: number of bins of a binned metric.
        probabilities: whether the batches are probabilities, rather than logits.
        **kwargs: of `torchmetrics.Metric`.

    Raises:
        InputError: an unknown metric.

    Example:
        >>> import torch
        >>> ece = CalibrationMetric("ece")
        >>> ece.update(torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 0]))
        >>> round(float(ece.compute()), 2)
        42.51
    """

    full_state_update = False
    is_differentiable = False
    predictions: list[Tensor]
    labels: list[Tensor]

    def __init__(
        self, metric: str = "ece", *, bins: int = DEFAULT_BINS, probabilities: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        described = make(metric, bins)
        self.metric, self.bins, self.probabilities = metric, bins, probabilities
        object.__setattr__(self, "higher_is_better", {"higher": True, "lower": False}.get(described.better or ""))
        self.add_state("predictions", default=[], dist_reduce_fx="cat")
        self.add_state("labels", default=[], dist_reduce_fx="cat")

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Take a batch: logits or probabilities (N, K) and labels (N,)."""
        self.predictions.append(preds.detach())
        self.labels.append(target.detach())

    def compute(self) -> Tensor:
        """The metric of all samples since the last reset, a scalar in the metric's unit (per cent, nats)."""
        kind = "probabilities" if self.probabilities else "logits"
        predictions, labels = dim_zero_cat(self.predictions), dim_zero_cat(self.labels)
        value = evaluate(labels=labels, metrics=[self.metric], bins=self.bins, **{kind: predictions})[self.metric]
        precision = torch.float32 if self.device.type == "mps" else torch.float64  # MPS has no float64
        return torch.tensor(value, dtype=precision, device=self.device)
