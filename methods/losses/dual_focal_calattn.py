"""The loss that the code of CalAttn calls dual focal loss."""

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from calbench.methods.base import Objective, Outputs, register
from calbench.methods.losses._functions import focal_term, hard_labels, log_probabilities, safe_power


@register("dual-focal-calattn", label="Dual Focal (CalAttn code)", paper="liang2026calattn")
@dataclass
class DualFocalCalAttn(Objective):
    """-(1 - p_y)^gamma log p_y - p_j^gamma log(1 - p_j), p_j the largest probability of another class than y.

    The "dual focal" of the released code of Liang et al. 2026; for tables that reproduce it. 1 - p_j is summed from the
    other probabilities, so that the loss is finite at p_j = 1, where that code's is not; nor is p clamped at 1e-8 as
    there. The published loss is dual-focal.
    """

    needs = frozenset({"hard-labels"})
    gamma: Annotated[float, Field(ge=0)] = 2.0
    tune_grid = (("gamma", (1.0, 2.0, 3.0, 5.0)),)

    def loss(self, outputs: Outputs, targets: Tensor) -> Tensor:
        """The mean loss of a batch: logits (N, K), labels (N,)."""
        log_p = log_probabilities(outputs)
        target = hard_labels(targets)[:, None]
        log_p_j, rival = log_p.scatter(1, target, -torch.inf).max(dim=1)
        log_rest = log_p.scatter(1, rival[:, None], -torch.inf).logsumexp(dim=1)
        own = focal_term(log_p.gather(1, target).squeeze(1), self.gamma)
        return (own - safe_power(log_p_j.exp(), self.gamma) * log_rest).mean()
