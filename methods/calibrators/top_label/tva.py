"""Top-versus-all: any binary calibrator on the confidence of the prediction."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from calbench.benchmark.core.errors import InputError
from calbench.methods.base import register, registry
from calbench.methods.calibrators._base import Calibrator
from calbench.methods.calibrators._top import TopLabel
from calbench.methods.solvers.nll import tracing

PREFIX = "inner_"


@register("tva", label="TvA", paper="lecoz2024confidence")
@dataclass
class TopVersusAll(TopLabel):
    """q' = calibrator(q) of the confidence q = max_k p_k, fitted as two classes: the prediction is correct, or not.

    One binary problem with all N samples in place of K problems with N / K positives each, which is what makes binning
    and isotonic regression work at K = 1,000. ``calibrator`` names the inner one: any registered calibrator, fitted on
    the logits (log(1 - q), log q) with its default options. The paper changes the confidence only and leaves open what
    becomes of the other classes; here they keep their proportions, and the prediction never changes.
    No default grid: each inner calibrator is a method of its own.

    Le Coz, Herbin and Adjed 2024, arXiv 2411.02988. Scalings that it fits to all K logits by the binary loss
    are tva-ts and tva-vs.
    """

    calibrator: str = "isotonic"

    def __post_init__(self) -> None:
        """Check the options, and that the inner calibrator works on two logits."""
        super().__post_init__()
        inner = registry[self.calibrator]
        if not issubclass(inner, Calibrator):
            raise InputError(f"tva: {self.calibrator} is not a calibrator but acts in training ({inner.kind})")
        if inner.needs or issubclass(inner, TopVersusAll):
            raise InputError(f"tva: {self.calibrator} does not work on two logits; take a binary one such as isotonic")

    def fit_confidence(self, log_confidence: Tensor, hits: Tensor) -> None:
        """Fit the inner calibrator; its fitted values are kept here, with ``inner_`` before their names."""
        inner = registry.create(self.calibrator).fit(log_confidence, hits.long())
        for name, value in inner.fitted().items():
            setattr(self, PREFIX + name, value)

    def confidence(self, log_confidence: Tensor) -> Tensor:
        """The probability of being correct that the inner calibrator gives (N,)."""
        inner = self._inner()
        transform = inner.calibrate_tensor if tracing() else inner.transform
        return transform(log_confidence).softmax(dim=1)[:, 1]

    def build_module(self, name: str) -> nn.Module:
        """Build the module of the inner calibrator when a saved one is loaded."""
        inner = registry.create(self.calibrator)
        inner.num_classes_ = 2
        return inner.build_module(name.removeprefix(PREFIX))

    def _inner(self) -> Calibrator:
        inner = registry.create(self.calibrator)
        inner.num_classes_ = 2
        for name, value in self.fitted().items():
            if isinstance(value, Tensor | nn.Module | float | int):
                setattr(inner, name.removeprefix(PREFIX), value)
        return inner


def correctness_loss(scores: Tensor, labels: Tensor) -> Tensor:
    """-log q where the prediction is correct, -log(1 - q) elsewhere, (n,); q = max_k softmax(s)_k, scores s (n, K)."""
    log_p = scores.log_softmax(dim=1)
    top = log_p.argmax(dim=1, keepdim=True)
    rest = log_p.scatter(1, top, -torch.inf).logsumexp(dim=1)
    return -torch.where(top.squeeze(1) == labels, log_p.gather(1, top).squeeze(1), rest)
