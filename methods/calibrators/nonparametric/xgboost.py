"""XGBoost as a calibrator."""

import json
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

from calbench.methods.base import register
from calbench.methods.calibrators.nonparametric._trees import DEPTH, PATIENCE, Grower, TreeEnsemble, Trees, below


@register("xgboost", label="XGBoost", paper="chen2016xgboost")
@dataclass
class XGBoostTrees(TreeEnsemble):
    """q = 1/5 sum_f softmax(s_f(log p)), s_f XGBoost's boosted trees of depth 3, stopped by the fold f that they omit.

    As CalArena compares it, with the settings of probmetrics: up to ten rounds at a rate of 0.3, as many as have
    the lowest held-out loss. A tree per class and round makes it slow for many classes, hence ``max_classes``. Trees
    see all log-probabilities, so accuracy can change. By the package xgboost (extra ``trees``).

    Chen and Guestrin 2016, arXiv 1603.02754.
    """

    package = "xgboost"

    def fit_fold(self, train: tuple[Any, Any], held_out: tuple[Any, Any], num_classes: int) -> Trees:
        """Fit one fold."""
        xgboost = import_module(self.package)  # a plain import is taken for this file where the package is missing

        options = {"objective": "multi:softprob", "num_class": num_classes, "max_depth": DEPTH, "nthread": 1}
        model = xgboost.train(
            options, xgboost.DMatrix(*train), evals=[(xgboost.DMatrix(*held_out), "eval")],
            early_stopping_rounds=PATIENCE, verbose_eval=False,
        )  # fmt: skip
        model = model[: model.best_iteration + 1]
        grower = Grower()
        for tree in model.get_dump(dump_format="json"):
            grower.add(json.loads(tree), _split)
        trees = grower.trees(np.arange(len(grower.features)) % num_classes, np.zeros(num_classes))
        probe = train[0][:1]
        margin = model.predict(xgboost.DMatrix(probe), output_margin=True)[0]
        return trees._replace(base=margin - _scores(trees, probe[0], num_classes))


def _scores(trees: Trees, row: np.ndarray, num_classes: int) -> np.ndarray:
    """The sum of the trees for one row (K,): what is missing from the library's margin is its base score."""
    scores = np.zeros(num_classes)
    for features, thresholds, leaves, k in zip(*trees[:4], strict=True):
        node = 0
        while node < 7:
            node = 2 * node + 1 + int(row[features[node]] > thresholds[node])
        scores[k] += leaves[node - 7]
    return scores


def _split(node: dict[str, Any]) -> Any:
    if "leaf" in node:
        return float(node["leaf"])
    children = {child["nodeid"]: child for child in node["children"]}
    feature = int(str(node["split"]).removeprefix("f"))
    return feature, below(node["split_condition"]), children[node["yes"]], children[node["no"]]
