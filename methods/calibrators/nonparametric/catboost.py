"""CatBoost as a calibrator."""

import json
import tempfile
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from calbench.methods.base import register
from calbench.methods.calibrators.nonparametric._trees import DEPTH, PATIENCE, TreeEnsemble, Trees, at_most


@register("catboost", label="CatBoost", paper="prokhorenkova2018catboost")
@dataclass
class CatBoostTrees(TreeEnsemble):
    """q = 1/5 sum_f softmax(s_f(log p)), s_f CatBoost's symmetric trees of depth 3, stopped by the fold f they omit.

    As CalArena compares it, with the settings of probmetrics: up to 1,000 rounds at the package's own rate, 50 rounds
    of patience. All nodes of a level compare the same logit, and every leaf has a value per class. Very slow for many
    classes (CalArena leaves it out on ImageNet), hence ``max_classes``. Trees see all log-probabilities, so accuracy
    can change. By the package catboost (extra ``trees``).

    Prokhorenkova et al. 2018, arXiv 1706.09516.
    """

    package = "catboost"

    def fit_fold(self, train: tuple[Any, Any], held_out: tuple[Any, Any], num_classes: int) -> Trees:
        """Fit one fold."""
        catboost = import_module(self.package)  # a plain import is taken for this file where the package is missing

        if np.all(train[0] == train[0][0]):  # the package refuses inputs that are all the same
            counts = np.bincount(train[1], minlength=num_classes) + 1.0
            thresholds, leaves = np.zeros((0, 7), np.float32), np.zeros((0, 8), np.float32)
            base = np.log(counts / counts.sum())
            return Trees(np.zeros((0, 7), np.int64), thresholds, leaves, np.zeros(0, np.int64), base)
        model = catboost.CatBoostClassifier(
            depth=DEPTH, loss_function="MultiClass", iterations=1000, early_stopping_rounds=PATIENCE, verbose=False,
            thread_count=1, random_seed=self.seed, classes_count=num_classes, allow_writing_files=False,
        )  # fmt: skip
        model.fit(catboost.Pool(*train), eval_set=catboost.Pool(*held_out), verbose=False)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "model.json")
            model.save_model(str(path), format="json")
            record = json.loads(path.read_text("utf-8"))
        scale, base = record["scale_and_bias"]
        base = np.asarray(base if base else [0.0], dtype=np.float64) * np.ones(num_classes)
        parts = [_tree(tree, num_classes, scale) for tree in record["oblivious_trees"]]
        features, thresholds, leaves = (
            np.concatenate([part[i] for part in parts]) if parts else np.zeros((0, 7 if i < 2 else 8)) for i in range(3)
        )
        classes = np.arange(len(features)) % num_classes
        return Trees(features.astype(np.int64), thresholds.astype(np.float32), leaves.astype(np.float32), classes, base)


def _tree(tree: dict[str, Any], num_classes: int, scale: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A symmetric tree as one complete tree per class: its first split decides the lowest bit of the leaf's number."""
    splits = [(int(split["float_feature_index"]), at_most(split["border"])) for split in tree["splits"] or []]
    depth = len(splits)
    values = scale * np.asarray(tree["leaf_values"], dtype=np.float64).reshape(2**depth, num_classes)
    splits += [(0, np.inf)] * (DEPTH - depth)
    level = [splits[0]] + [splits[1]] * 2 + [splits[2]] * 4
    features = np.array([feature for feature, _ in level])
    thresholds = np.array([threshold for _, threshold in level])
    order = [sum(((leaf >> (DEPTH - 1 - i)) & 1) << i for i in range(DEPTH)) % 2**depth for leaf in range(2**DEPTH)]
    shape = (num_classes, 1)
    return np.tile(features, shape), np.tile(thresholds, shape), values[order].T
