"""The temperature network of TempNet and its loss, shared by the joint head and the post-hoc calibrator."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


class TemperatureNetwork(nn.Module):
    """A temperature per sample from its logits, between `tau_min` and `tau_max`.

    x = z / |z|_2; u = Linear(dropout(sigmoid(Linear(x)))); w = softmax(u / exp(theta));
    tau = (tau_max - tau_min) sigmoid(a . ((w - 1/d) u) + b) + tau_min, with a = 1, b = 0 and theta = 0 at the start.

    Qiu et al. 2024, arXiv 2404.04575, with the start values of the authors' code.

    Args:
        num_classes: K, the width of the logits.
        hidden: d, the width of both hidden layers.
        tau_min: lower bound of the temperature, above zero.
        tau_max: upper bound of the temperature.
        dropout: share of the first hidden layer dropped in training, 0..1.
    """

    def __init__(self, num_classes: int, hidden: int, tau_min: float, tau_max: float, dropout: float) -> None:
        super().__init__()
        self.tau_min, self.tau_max = tau_min, tau_max
        self.project = nn.Linear(num_classes, hidden)
        self.dropout = nn.Dropout(dropout)
        self.transform = nn.Linear(hidden, hidden)
        self.log_scale = nn.Parameter(torch.zeros(()))
        self.pool = nn.Linear(hidden, 1)
        nn.init.ones_(self.pool.weight)
        nn.init.zeros_(self.pool.bias)

    def forward(self, logits: Tensor) -> Tensor:
        """The temperatures (N,) of `logits` (N, K)."""
        directions = functional.normalize(logits, dim=1)
        hidden = self.transform(self.dropout(torch.sigmoid(self.project(directions))))
        weights = torch.softmax(hidden / self.log_scale.exp(), dim=1)
        pooled = self.pool((weights - 1 / hidden.shape[1]) * hidden).squeeze(1)
        return (self.tau_max - self.tau_min) * torch.sigmoid(pooled) + self.tau_min


def robust_loss(logits: Tensor, targets: Tensor, tau: Tensor, rho: float) -> Tensor:
    """KL-constrained distributionally robust loss, mean over samples of tau CE(z / tau) + (rho - log K) tau.

    Qiu et al. 2024, arXiv 2404.04575. At a minimum over tau the entropy of softmax(z / tau) is log K - rho whatever the
    label: on frozen logits the labels drop out of the gradient of tau.

    Args:
        logits: raw logits z (N, K), before any division by tau.
        targets: labels (N,) int64, or class distributions (N, K).
        tau: temperatures (N,), above zero.
        rho: radius of the KL ball around the uniform distribution, in nats; meaningful in 0..log K.

    Returns:
        A scalar.
    """
    cross_entropy = functional.cross_entropy(logits / tau[:, None], targets, reduction="none")
    return (tau * cross_entropy + (rho - math.log(logits.shape[1])) * tau).mean()
