"""Shared code of the tree ensembles: five folds with early stopping, kept as arrays that torch evaluates.

What a library fits is copied into arrays of complete binary trees, so a fitted calibrator needs no library, holds no
executable code and works on any device.
"""

import warnings
from abc import abstractmethod
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, NamedTuple, Self

import numpy as np
import torch
from pydantic import Field
from sklearn.model_selection import StratifiedKFold
from torch import Tensor

from calbench.benchmark.core.errors import InputError
from calbench.methods.calibrators._base import Calibrator
from calbench.methods.solvers.nll import in_blocks, split_rows

DEPTH = 3
FOLDS = 5
PATIENCE = 50
"""Rounds without a lower loss on the held-out fold after which boosting stops."""

FLOOR = float(torch.finfo(torch.float32).tiny)
ELEMENTS = 20_000_000


class Trees(NamedTuple):
    """The trees of one fold; each adds a leaf's value to one class.

    Attributes:
        features: the logit that a node compares (T, 7), breadth first.
        thresholds: a row goes right where its logit is above it (T, 7), float32.
        leaves: what is added (T, 8), float32, from left to right.
        classes: the class that it is added to (T,).
        base: the score of every class before the first tree (K,).
    """

    features: np.ndarray
    thresholds: np.ndarray
    leaves: np.ndarray
    classes: np.ndarray
    base: np.ndarray


@dataclass
class TreeEnsemble(Calibrator):
    """The base: the mean over five folds of softmax(the scores of boosted trees of depth 3 on log-probabilities).

    Every fold is held out once, and stops the boosting of the trees on the others. ``seed`` decides the folds.
    """

    max_classes: Annotated[int, Field(ge=2)] = 30
    seed: Annotated[int, Field(ge=0)] = 42

    package: ClassVar[str] = ""
    growth = "fits a tree per class and round"

    @abstractmethod
    def fit_fold(self, train: tuple[Any, Any], held_out: tuple[Any, Any], num_classes: int) -> Trees:
        """Fit the trees of one fold on log-probabilities (n, K) float32 and labels (n,)."""

    def fit(self, logits: Any, labels: Any) -> Self:
        """Fit ``features_``, ``thresholds_``, ``leaves_``, ``classes_of_``, ``fold_`` and ``base_`` (5, K)."""
        inputs, targets = _inputs(logits).cpu().numpy(), labels.cpu().numpy()
        folds = StratifiedKFold(FOLDS, shuffle=True, random_state=self.seed)
        parts: list[Trees] = []
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # classes with fewer rows than folds
                for train, held_out in self._splits(folds, inputs, targets):
                    pairs = [(inputs[rows], targets[rows]) for rows in (train, held_out)]
                    parts.append(self.fit_fold(pairs[0], pairs[1], logits.shape[1]))
        except ImportError as error:
            raise InputError(
                f"{self.spec.name} needs the extra 'trees': pip install 'calbench[trees]' ({error})"
            ) from None
        joined = (np.concatenate([getattr(part, name) for part in parts]) for name in Trees._fields[:4])
        arrays = [torch.from_numpy(array).to(logits.device) for array in joined]
        self.features_, self.thresholds_, self.leaves_, self.classes_of_ = arrays
        sizes = torch.tensor([len(part.features) for part in parts])
        self.fold_ = torch.repeat_interleave(torch.arange(FOLDS), sizes).to(logits.device)
        self.base_ = torch.from_numpy(np.stack([part.base for part in parts]).astype(np.float32)).to(logits.device)
        return self

    def _splits(self, folds: StratifiedKFold, inputs: np.ndarray, targets: np.ndarray) -> Any:
        """Rows of every fold; those of a class too rare for a fold are trained on as well."""
        if len(targets) < FOLDS or np.bincount(targets).max() < FOLDS:
            rows = np.arange(len(targets))
            return [(rows, rows)] * FOLDS
        whole = np.arange(len(targets))
        found = []
        for train, held_out in folds.split(inputs, targets):
            missing = ~np.isin(targets, targets[train])
            found.append((np.union1d(train, whole[missing]), held_out))
        return found

    def transform(self, logits: Any) -> Any:
        """Log-probabilities (N, K), floored so that they are finite."""
        return in_blocks(self._map, logits)

    def _map(self, logits: Tensor) -> Tensor:
        inputs = _inputs(logits)
        rows = ELEMENTS // max(1, len(self.features_))
        p = torch.cat([self._probabilities(part) for (part,) in split_rows(rows, inputs)])
        return p.clamp_min(FLOOR).log().to(logits.dtype)

    def _probabilities(self, inputs: Tensor) -> Tensor:
        values = leaf_values(
            inputs, *(part.to(inputs.device) for part in (self.features_, self.thresholds_, self.leaves_))
        )
        count, num_classes = self.base_.shape
        place = (self.fold_ * num_classes + self.classes_of_).to(inputs.device)
        scores = self.base_.to(inputs).flatten().expand(inputs.shape[0], -1).clone().index_add_(1, place, values)
        return scores.view(-1, count, num_classes).softmax(dim=2).mean(dim=1)


def leaf_values(inputs: Tensor, features: Tensor, thresholds: Tensor, leaves: Tensor) -> Tensor:
    """The leaf that every row (N, K) reaches in every tree: values (N, T)."""
    node = torch.zeros(inputs.shape[0], len(features), dtype=torch.int64, device=inputs.device)
    trees = torch.arange(len(features), device=inputs.device)
    for _ in range(DEPTH):
        right = inputs.gather(1, features[trees, node]) > thresholds[trees, node]
        node = 2 * node + 1 + right
    return leaves[trees, node - (2**DEPTH - 1)]


def _inputs(logits: Tensor) -> Tensor:
    return logits.double().log_softmax(dim=1).clamp_min(-100.0).float()


class Grower:
    """Writes trees of any shape up to the depth 3 as complete ones: a leaf above the bottom is repeated below it."""

    def __init__(self) -> None:
        self.features: list[list[int]] = []
        self.thresholds: list[list[float]] = []
        self.leaves: list[list[float]] = []

    def add(self, root: Any, split: Any) -> None:
        """Add a tree.

        Args:
            root: a node of the library.
            split: gives for a node ``(feature, threshold, left, right)``, or its value where it is a leaf.
        """
        features, thresholds, leaves = [0] * 7, [0.0] * 7, [0.0] * 8  # below a leaf both ways lead to its value
        todo = [(root, 0)]
        while todo:
            node, place = todo.pop()
            found = split(node)
            if not isinstance(found, tuple):
                if place >= 7:
                    leaves[place - 7] = found
                else:
                    todo += [(node, 2 * place + 1), (node, 2 * place + 2)]
                continue
            features[place], thresholds[place], left, right = found
            todo += [(left, 2 * place + 1), (right, 2 * place + 2)]
        self.features.append(features)
        self.thresholds.append(thresholds)
        self.leaves.append(leaves)

    def trees(self, classes: np.ndarray, base: np.ndarray) -> Trees:
        """All trees added so far; with none, of a zero."""
        count = len(self.features)
        return Trees(
            np.array(self.features, dtype=np.int64).reshape(count, 7),
            np.array(self.thresholds, dtype=np.float32).reshape(count, 7),
            np.array(self.leaves, dtype=np.float32).reshape(count, 8),
            classes.astype(np.int64),
            base,
        )


def below(value: float) -> float:
    """The float32 next below a threshold, so that x >= t becomes a comparison with ``>``."""
    return float(np.nextafter(np.float32(value), np.float32(-np.inf)))


def at_most(value: float) -> float:
    """The largest float32 up to a float64 threshold: float32 values are above both or neither."""
    near = np.float32(value)
    return float(near) if float(near) <= value else below(float(near))
