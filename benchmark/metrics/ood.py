"""Detection of out-of-distribution inputs from the predictions: scores of a sample, and measures of their separation.

A score is higher the more a sample looks out of distribution, and out of distribution is the positive class of every
measure.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportMissingTypeStubs=false
# scikit-learn has no stubs.
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve
from torch import Tensor

from calbench.benchmark.metrics.base import Described, registry
from calbench.benchmark.metrics.source import Block, Source


class OODMetric(Described, ABC):
    """A measure of how well a score tells out-of-distribution samples from others."""

    needs = frozenset({"out-of-distribution"})
    score: ClassVar[str]

    @abstractmethod
    def separation(self, inside: np.ndarray, outside: np.ndarray) -> float:
        """The measure of scores of in-distribution (N,) and out-of-distribution samples (M,), per cent."""


_scores: dict[str, Callable[..., Any]] = {}
_measures: dict[str, tuple[str, type[OODMetric]]] = {}


def of_every_score(measure: str, *, label: str) -> Callable[[type[OODMetric]], type[OODMetric]]:
    """Declare a class once for every `score`, those of other modules too, as the metric ``<measure>-<score>``."""

    def declare(base: type[OODMetric]) -> type[OODMetric]:
        _measures[measure] = label, base
        for name in _scores:
            _declare(measure, name)
        return base

    return declare


_F = TypeVar("_F", bound=Callable[..., Any])


def score(name: str) -> Callable[[_F], _F]:
    """Declare a function as the score `name`, with a metric for every measure; its docstring is the formula."""

    def declare(function: _F) -> _F:
        _scores[name] = function
        for measure in _measures:
            _declare(measure, name)
        return function

    return declare


def _declare(measure: str, name: str) -> None:
    label, base = _measures[measure]

    class OfScore(base):
        __doc__ = f"{base.__doc__} Score: {_scores[name].__doc__}"
        score = name

    # Where its code is, for `calbench.benchmark.core.sources`: that of the score is followed from `detection_scores`.
    OfScore.__module__, OfScore.__qualname__ = base.__module__, base.__qualname__
    registry.register(f"{measure}-{name}", label=f"{label} ({name})")(OfScore)


@score("max-softmax")
def _max_softmax(block: Block) -> Tensor:
    """-max p (Hendrycks and Gimpel 2017)."""
    return block.log_rest.exp() - 1


@score("entropy")
def _entropy(block: Block) -> Tensor:
    """The entropy of p."""
    return _log_entropy(block).exp()


def _log_entropy(block: Block) -> Tensor:
    log_p = block.scores.double().log_softmax(dim=1) if block.is_logits else block.scores.double().log()
    # The largest p may round to 1: its -log p is that of one minus the rest.
    surprise = log_p.neg().scatter(1, block.prediction[:, None], -torch.log1p(-block.log_rest.exp())[:, None])
    return (log_p + surprise.log()).nan_to_num(nan=-torch.inf).logsumexp(dim=1).round(decimals=12)


@score("energy")
def _energy(block: Block) -> Tensor:
    """-logsumexp z (Liu 2020)."""
    largest = block.scores.double().amax(dim=1)
    # Rounded, so that no order of the classes breaks ties: the rest is in 0..log K.
    rest = (block.scores.double() - largest[:, None]).logsumexp(dim=1).round(decimals=12)
    return -(largest + rest)


@dataclass(frozen=True)
class Score:
    """A score of a sample from its logits.

    Attributes:
        value: the score; its docstring is the formula.
        rank: what ranks samples as the score does, where the score itself rounds to equal numbers.
    """

    value: Callable[[Block], Tensor]
    rank: Callable[[Block], Tensor]


SCORES: dict[str, Score] = {
    "max-softmax": Score(_max_softmax, lambda block: block.log_rest),
    "entropy": Score(_entropy, _log_entropy),
    "energy": Score(_energy, _energy),
}
"""Score name to its function."""


def ood_scores(*, logits: Any, scores: Sequence[str] = tuple(SCORES), ranks: bool = False) -> dict[str, np.ndarray]:
    """Scores of each sample, in one pass, in float64.

    Args:
        logits: (N, K), NumPy or torch.
        scores: names among `SCORES`.
        ranks: give numbers that rank the samples as the scores do, but are not equal where a maximum rounds to 1 or
            an entropy to 0: log(1 - max p) and the logarithm of the entropy.

    Returns:
        Score name to (N,) float64; higher is more out of distribution.

    Raises:
        ValueError: bad logits; the message says where.
    """
    source = Source(logits=logits, labels=np.zeros(len(logits), dtype=np.int64))
    stripes = source.map_stripes(lambda stripe: [_block_scores(block, scores, ranks) for block in stripe.blocks()])
    blocks = [block for stripe in stripes for block in stripe]
    return {name: np.concatenate([block[name] for block in blocks]) for name in scores}


def _block_scores(block: Block, scores: Sequence[str], ranks: bool) -> dict[str, np.ndarray]:
    functions = {name: SCORES[name].rank if ranks else SCORES[name].value for name in scores}
    return {name: function(block).cpu().numpy() for name, function in functions.items()}


def auroc(inside: np.ndarray, outside: np.ndarray) -> float:
    """Area under the ROC curve of scores, per cent."""
    return 100 * float(roc_auc_score(*_detection(inside, outside)))


def aupr(inside: np.ndarray, outside: np.ndarray) -> float:
    """Area under the precision-recall curve as average precision, per cent."""
    return 100 * float(average_precision_score(*_detection(inside, outside)))


def fpr_at_tpr(inside: np.ndarray, outside: np.ndarray, tpr: float = 0.95) -> float:
    """The smallest share of in-distribution samples flagged where at least `tpr` of the others are, per cent."""
    false, true, _ = roc_curve(*_detection(inside, outside), drop_intermediate=False)
    return 100 * float(false[np.argmax(true >= tpr)])


def _detection(inside: np.ndarray, outside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if len(inside) == 0 or len(outside) == 0:
        raise ValueError("out-of-distribution detection: no scores on one of the two sides")
    return np.repeat([0, 1], [len(inside), len(outside)]), np.concatenate([inside, outside])


@of_every_score("auroc", label="AUROC")
class AUROC(OODMetric):
    """Area under the ROC curve of out-of-distribution samples against others."""

    better = "higher"

    def separation(self, inside: np.ndarray, outside: np.ndarray) -> float:
        """The area, per cent, of scores (N,) and (M,)."""
        return auroc(inside, outside)


@of_every_score("aupr", label="AUPR")
class AUPR(OODMetric):
    """Area under the precision-recall curve of out-of-distribution samples against others, as average precision."""

    better = "higher"

    def separation(self, inside: np.ndarray, outside: np.ndarray) -> float:
        """The average precision, per cent, of scores (N,) and (M,)."""
        return aupr(inside, outside)


@of_every_score("aupr-in", label="AUPR-in")
class AUPRIn(OODMetric):
    """Area under the precision-recall curve with in distribution as the positive class, as average precision."""

    better = "higher"

    def separation(self, inside: np.ndarray, outside: np.ndarray) -> float:
        """The average precision, per cent, of scores (N,) and (M,)."""
        return aupr(-outside, -inside)


@of_every_score("fpr95", label="FPR at 95 % TPR")
class FPR95(OODMetric):
    """The smallest share of in-distribution samples flagged where at least 95 % of the others are."""

    def separation(self, inside: np.ndarray, outside: np.ndarray) -> float:
        """The share, per cent, of scores (N,) and (M,)."""
        return fpr_at_tpr(inside, outside)


def evaluate_ood(*, logits: Any, ood_logits: Any, metrics: Sequence[str] | None = None) -> dict[str, float]:
    """Measure how well scores of the predictions tell out-of-distribution samples from others.

    Args:
        logits: of in-distribution samples (N, K), NumPy or torch.
        ood_logits: of out-of-distribution samples (M, K).
        metrics: names; every measure of every score where None.

    Returns:
        Metric name to value, per cent.

    Raises:
        ValueError: bad logits, different numbers of classes, or a metric that is no such measure.
    """
    if metrics is None:
        metrics = [name for name in registry if getattr(registry[name], "score", None) in SCORES]
    made = {name: registry.create(name) for name in metrics}
    for name, metric in made.items():
        if not isinstance(metric, OODMetric):
            raise ValueError(f"metric {name!r} does not compare two sets of predictions: use evaluate")
        if metric.score not in SCORES:
            raise ValueError(f"metric {name!r} needs more than logits: use detection_scores")
    shape, other = np.shape(logits), np.shape(ood_logits)
    if shape[1:] != other[1:]:
        raise ValueError(f"ood_logits: shape {other} does not match logits of shape {shape}: not the same classes")
    inside, outside = ood_scores(logits=logits, ranks=True), ood_scores(logits=ood_logits, ranks=True)
    return {name: metric.separation(inside[metric.score], outside[metric.score]) for name, metric in made.items()}
