"""LightGBM as a calibrator."""

from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

from calbench.methods.base import register
from calbench.methods.calibrators.nonparametric._trees import DEPTH, PATIENCE, Grower, TreeEnsemble, Trees, at_most


@register("lightgbm", label="LightGBM", paper="ke2017lightgbm")
@dataclass
class LightGBMTrees(TreeEnsemble):
    """q = 1/5 sum_f softmax(s_f(log p)), s_f LightGBM's boosted trees of depth 3, stopped by the fold f that they omit.

    As CalArena compares it, with the settings of probmetrics: 100 rounds at a rate of 0.1, at most 8 leaves, 50 rounds
    of patience. A tree per class and round makes it slow for many classes, hence ``max_classes``. Trees see all
    log-probabilities, so accuracy can change. By the package lightgbm (extra ``trees``).

    Ke et al. 2017.
    """

    package = "lightgbm"

    def fit_fold(self, train: tuple[Any, Any], held_out: tuple[Any, Any], num_classes: int) -> Trees:
        """Fit one fold."""
        lightgbm = import_module(self.package)  # a plain import is taken for this file where the package is missing

        options = {
            "objective": "multiclass", "num_class": num_classes, "metric": "multi_logloss", "max_depth": DEPTH,
            "num_leaves": 2**DEPTH, "verbose": -1, "num_threads": 1, "seed": self.seed, "deterministic": True,
        }  # fmt: skip
        data = lightgbm.Dataset(train[0], label=train[1])
        model = lightgbm.train(
            options, data, valid_sets=[lightgbm.Dataset(held_out[0], label=held_out[1], reference=data)],
            callbacks=[lightgbm.early_stopping(PATIENCE, verbose=False)],
        )  # fmt: skip
        grower = Grower()
        rounds = model.best_iteration or model.current_iteration()
        for tree in model.dump_model(num_iteration=rounds)["tree_info"]:
            grower.add(tree["tree_structure"], _split)
        return grower.trees(np.arange(len(grower.features)) % num_classes, np.zeros(num_classes))


def _split(node: dict[str, Any]) -> Any:
    if "leaf_value" in node:
        return float(node["leaf_value"])
    return node["split_feature"], at_most(node["threshold"]), node["left_child"], node["right_child"]
