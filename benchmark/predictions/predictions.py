"""The predictions of a cell: logits, labels, features and temperatures of its calibration and test splits."""

from dataclasses import dataclass, field
from typing import TypedDict

import torch
from torch import Tensor

from calbench.benchmark.core.errors import InputError


class Scores(TypedDict, total=False):
    """One of the two: what metrics take."""

    logits: Tensor
    probabilities: Tensor


@dataclass
class SplitPredictions:
    """Predictions of one split of N samples and K classes.

    Attributes:
        logits: (N, K) float32, or float64 where float32 would lose differences between logits; of probabilities their
            logarithms.
        labels: (N,) int64.
        features: the pooled features (N, D) float32, or None.
        temperature: a head's temperature per sample (N,) float32, or None.
        posterior: the true class distribution (N, K) float64 where it is known, or None.
        probabilities: (N, K) float32 or float64 where the predictions came as probabilities, or None. Metrics of
            predictions that no calibrator has changed take them as they are, zeros included.
    """

    logits: Tensor
    labels: Tensor
    features: Tensor | None = None
    temperature: Tensor | None = None
    posterior: Tensor | None = None
    probabilities: Tensor | None = None

    def scores(self) -> "Scores":
        """What metrics take, by argument: ``probabilities`` if the predictions came as such, otherwise ``logits``."""
        return {"logits": self.logits} if self.probabilities is None else {"probabilities": self.probabilities}

    def tensors(self) -> dict[str, Tensor]:
        """The fields that are set, by name."""
        return {name: value for name, value in vars(self).items() if value is not None}

    @property
    def num_classes(self) -> int:
        """K."""
        return self.logits.shape[1]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass
class Predictions:
    """Predictions by checkpoint rule and split: ``predictions["last", "test"]``.

    Splits are named ``calibration``, ``test``, ``shift-<name>`` and ``ood-<name>``.
    """

    splits: dict[tuple[str, str], SplitPredictions] = field(default_factory=dict)

    def __getitem__(self, key: tuple[str, str]) -> SplitPredictions:
        return self.splits[key]

    def split_names(self, checkpoint: str) -> list[str]:
        """The splits recorded under a checkpoint rule."""
        return [split for rule, split in self.splits if rule == checkpoint]

    def to_tensors(self) -> dict[str, Tensor]:
        """Flat names to tensors, as they are stored: ``last/test/logits``."""
        return {
            f"{rule}/{split}/{name}": value.contiguous().clone()  # rules share labels, and the format forbids it
            for (rule, split), part in self.splits.items()
            for name, value in part.tensors().items()
            if name != "logits" or part.probabilities is None
        }

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> "Predictions":
        """Read what `to_tensors` gave.

        Raises:
            InputError: a name that is not ``rule/split/field``, or a split without logits or labels.
        """
        parts: dict[tuple[str, str], dict[str, Tensor]] = {}
        for name, value in tensors.items():
            pieces = name.split("/")
            if len(pieces) != 3 or pieces[2] not in SplitPredictions.__dataclass_fields__:
                raise InputError(f"predictions: unexpected tensor name {name!r}")
            parts.setdefault((pieces[0], pieces[1]), {})[pieces[2]] = value
        for key, fields in parts.items():
            if "probabilities" in fields:
                fields.setdefault("logits", log_probabilities(fields["probabilities"]))
            if not {"logits", "labels"} <= fields.keys():
                raise InputError(f"predictions: split {'/'.join(key)} lacks logits or labels")
        return cls({key: SplitPredictions(**fields) for key, fields in parts.items()})

    def check_finite(self) -> None:
        """Raise a ValueError that names the split whose logits contain NaN or infinite values."""
        for key, part in self.splits.items():
            if not torch.isfinite(part.logits).all():
                raise ValueError(f"logits of {'/'.join(key)} contain NaN or infinite values")


_MOST_DECIMALS = 6


def log_probabilities(probabilities: Tensor) -> Tensor:
    """The logarithm of probabilities (N, K) as logits for calibrators, (N, K) float32.

    Zeros are raised to half a unit of the last decimal where the numbers are rounded to at most 6 decimals, and to the
    smallest normal number of float32 otherwise.
    """
    return probabilities.double().clamp_min(_smallest(probabilities)).log().float()


def _smallest(probabilities: Tensor) -> float:
    tiny = torch.finfo(torch.float32).tiny
    sample = probabilities[:2000].double()
    if bool(((sample == 0) | (sample == 1)).all()):
        return tiny
    for decimals in range(1, _MOST_DECIMALS + 1):
        scaled = sample * 10**decimals
        if float((scaled - scaled.round()).abs().max()) < 10**decimals * 2e-7:
            return 0.5 * 10.0**-decimals
    return tiny
