"""A table of the label's log-probability by temperature, to fit many temperatures on the same logits quickly."""

import torch
from torch import Tensor

from calbench.methods.solvers.nll import blocks

REACH = 3.0
"""The table covers temperatures from e^-3 to e^3."""

POINTS = 49


class TemperatureTable:
    """log softmax(z / T)_y of every sample as a smooth function of log T: cubic between 49 exact values and slopes.

    Args:
        logits: (N, K), in a unit in which T is near 1.
        labels: (N,).
    """

    def __init__(self, logits: Tensor, labels: Tensor) -> None:
        grid = torch.linspace(-REACH, REACH, POINTS, dtype=torch.float64).exp().tolist()
        values, slopes = (torch.empty(len(logits), POINTS, dtype=torch.float64, device=logits.device) for _ in range(2))
        for rows in blocks(logits):
            block, own = logits[rows], logits[rows].gather(1, labels[rows, None]).squeeze(1)
            for j, temperature in enumerate(grid):
                log_p = (block / temperature).log_softmax(dim=1)
                values[rows, j] = log_p.gather(1, labels[rows, None]).squeeze(1).double()
                slopes[rows, j] = (((log_p.exp() * block).sum(dim=1) - own) / temperature).double()
        self.values, self.slopes = values, slopes
        self.step = 2 * REACH / (POINTS - 1)

    def at(self, log_temperatures: Tensor, rows: slice) -> Tensor:
        """The log-probabilities (n, P) of the labels of `rows` at e^`log_temperatures` (P,); differentiable in them."""
        place = (log_temperatures.clamp(-REACH, REACH) + REACH) / self.step
        cell = place.detach().long().clamp(max=POINTS - 2)
        t = place - cell
        start, end = self.values[rows][:, cell], self.values[rows][:, cell + 1]
        rise, fall = self.step * self.slopes[rows][:, cell], self.step * self.slopes[rows][:, cell + 1]
        cubic, square = 2 * start + rise - 2 * end + fall, -3 * start + 3 * end - 2 * rise - fall
        return ((cubic * t + square) * t + rise) * t + start
