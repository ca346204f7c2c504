"""Out-of-distribution scores that need more than the logits of a sample: features, a temperature, a reference split.

As in `calbench.benchmark.metrics.ood`, a score is higher the more a sample looks out of distribution.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# Some functions of torch have no complete types.
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from calbench.benchmark.metrics.base import Described, register, registry
from calbench.benchmark.metrics.ood import OODMetric, ood_scores, score

NEIGHBOURS = 50
"""k of the nearest-neighbour score, as Sun et al. 2022 use it for CIFAR-10."""
_SHRINKAGE = 1e-6


@dataclass
class Observed:
    """What scores are taken from, for N samples.

    Attributes:
        logits: (N, K).
        features: pooled features (N, D), or None.
        temperature: a head's temperature per sample (N,), or None.
    """

    logits: Tensor
    features: Tensor | None = None
    temperature: Tensor | None = None


class Reference:
    """What scores compare a sample with: the predictions and features of in-distribution samples with labels.

    The literature takes the training images; their features are not kept, so calbench takes the calibration split,
    which training has not seen.

    Args:
        observed: the in-distribution samples.
        labels: their classes (N,).
    """

    def __init__(self, observed: Observed, labels: Tensor) -> None:
        self.mean_prediction = observed.logits.double().softmax(dim=1).mean(dim=0)
        self.bank: Tensor | None = None
        if observed.features is None:
            return
        features = observed.features.double()
        classes, members = labels.unique(return_inverse=True)
        sums = torch.zeros(len(classes), features.shape[1], dtype=features.dtype).index_add_(0, members, features)
        self.means = sums / members.bincount()[:, None]
        residuals = features - self.means[members]
        covariance = residuals.T @ residuals / len(features)
        covariance += _SHRINKAGE * covariance.diagonal().mean().clamp_min(1e-12) * torch.eye(len(covariance))
        self.whitening = torch.linalg.cholesky(torch.linalg.pinv(covariance, hermitian=True) + 1e-12 * torch.eye(
            len(covariance), dtype=torch.float64))  # fmt: skip
        self.bank = torch.nn.functional.normalize(features.float(), dim=1)


Score = Callable[[Observed, Reference], Tensor | None]


@score("max-logit")
def _max_logit(observed: Observed, _: Reference) -> Tensor:
    """-max z (Hendrycks 2022)."""
    return -observed.logits.amax(dim=1)


@score("kl-to-mean")
def _kl_to_mean(observed: Observed, reference: Reference) -> Tensor:
    """-KL(p, mean p), the mean over the calibration split."""
    log_p = observed.logits.double().log_softmax(dim=1)
    return -(log_p.exp() * (log_p - reference.mean_prediction.clamp_min(1e-300).log())).sum(dim=1)


@score("mahalanobis")
def _mahalanobis(observed: Observed, reference: Reference) -> Tensor | None:
    """The least squared Mahalanobis distance of the features to a class mean, one covariance for all (Lee 2018)."""
    if observed.features is None or reference.bank is None:
        return None
    features, means = observed.features.double() @ reference.whitening, reference.means @ reference.whitening
    return torch.cdist(features, means).square().amin(dim=1)


@score("nearest-neighbours")
def _nearest_neighbours(observed: Observed, reference: Reference) -> Tensor | None:
    """The distance to the k-th nearest of the features, normalised to length one (Sun 2022; k = 50)."""
    if observed.features is None or reference.bank is None:
        return None
    features = torch.nn.functional.normalize(observed.features.float(), dim=1)
    rank = min(NEIGHBOURS, len(reference.bank))
    return torch.cat([torch.cdist(part, reference.bank).kthvalue(rank, dim=1).values for part in features.split(1024)])


@score("learned-temperature")
def _learned_temperature(observed: Observed, _: Reference) -> Tensor | None:
    """The head's temperature T (Hsu 2020)."""
    return observed.temperature


@score("energy-forefront")
def _forefront_energy(observed: Observed, _: Reference) -> Tensor | None:
    """-T logsumexp z of logits z that a head has divided by T: the energy before AbeT's ablation (LeVine 2024)."""
    if observed.temperature is None:
        return None
    return -observed.temperature.double() * observed.logits.double().logsumexp(dim=1)


REFERENCE_SCORES: dict[str, Score] = {
    "max-logit": _max_logit,
    "kl-to-mean": _kl_to_mean,
    "mahalanobis": _mahalanobis,
    "nearest-neighbours": _nearest_neighbours,
    "learned-temperature": _learned_temperature,
    "energy-forefront": _forefront_energy,
}
"""Score name to its function, whose docstring is the formula; None where the predictions do not have what it needs."""

OF_CONFIDENCE = ("max-softmax", "entropy", "energy", "max-logit", "kl-to-mean")
"""The scores that a post-hoc calibrator changes."""


def detection_scores(observed: Observed, reference: Reference) -> dict[str, np.ndarray]:
    """Every score that can be taken of these predictions.

    Args:
        observed: N samples.
        reference: of in-distribution samples that are not among them.

    Returns:
        Score name to (N,) float64; higher is more out of distribution. Those of the logits are what ranks them without
        rounding (see `ood_scores`).

    Example:
        >>> samples = Observed(torch.randn(8, 3))
        >>> sorted(detection_scores(samples, Reference(samples, torch.zeros(8, dtype=torch.int64))))[:2]
        ['energy', 'entropy']
    """
    scores = ood_scores(logits=observed.logits, ranks=True)
    for name, function in REFERENCE_SCORES.items():
        values = function(observed, reference)
        if values is not None:
            scores[name] = values.double().cpu().numpy()
    return scores


def separations(inside: dict[str, np.ndarray], outside: dict[str, np.ndarray]) -> dict[str, float]:
    """Every measure of every score that both sides have, per cent: ``auroc-energy``, ``fpr95-mahalanobis`` ..."""
    common = [name for name in inside if name in outside]
    made = {name: registry.create(name) for name in registry if issubclass(registry[name], OODMetric)}
    return {
        name: metric.separation(inside[metric.score], outside[metric.score])
        for name, metric in made.items()
        if metric.score in common
    }


def selective_risk(inside: np.ndarray, correct: np.ndarray, outside: np.ndarray) -> float:
    """Area under the risk-coverage curve of a mixture of in- and out-of-distribution samples in equal shares, per cent.

    Selective classification with out-of-distribution data (SCOD; Xia and Bouganis 2022): samples are accepted in order
    of their score, a wrong prediction and every accepted out-of-distribution sample count as errors, and the risk is
    averaged over the coverage. Samples of equal score enter together.

    Args:
        inside: scores of in-distribution samples (N,).
        correct: whether they are classified right (N,).
        outside: scores of out-of-distribution samples (M,).
    """
    if len(inside) == 0 or len(outside) == 0:
        raise ValueError("selective classification: no scores on one of the two sides")
    scores = np.concatenate([inside, outside])
    weights = np.concatenate([np.full(len(inside), 0.5 / len(inside)), np.full(len(outside), 0.5 / len(outside))])
    errors = weights * np.concatenate([~np.asarray(correct, dtype=bool), np.ones(len(outside), dtype=bool)])
    _, place = np.unique(scores, return_inverse=True)
    mass, wrong = (np.bincount(place, values) for values in (weights, errors))
    covered, missed = np.cumsum(mass), np.cumsum(wrong)
    before, missed_before, rate = covered - mass, missed - wrong, wrong / mass
    # Within a run of equal scores the risk is (E + r t) / (C + t), t from 0 to the run's mass; its integral:
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.where(before > 0, np.log(covered / np.maximum(before, 1e-300)), 0.0)
    return 100 * float((rate * mass + (missed_before - rate * before) * logs).sum())


@register("scod", label="SCOD risk", paper="xia2022scod")
class SelectiveRisk(OODMetric):
    """Area under the risk-coverage curve of test and out-of-distribution samples in equal shares, by max softmax.

    See `selective_risk`; it needs to know which predictions are right, so that it is not taken by `evaluate_ood`.
    """

    score = "scod"

    def separation(self, inside: np.ndarray, outside: np.ndarray) -> float:
        """Not defined for scores without labels."""
        raise ValueError("scod needs to know which predictions are right: use selective_risk")


@register("changed-predictions", label="Changed predictions")
class ChangedPredictions(Described):
    """The share of predictions that differ from those of the unchanged image."""

    needs = frozenset({"out-of-distribution"})
