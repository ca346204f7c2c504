"""calbench's metrics as scikit-learn scorers, for `cross_val_score`, `GridSearchCV` and others."""

from collections.abc import Callable
from typing import Any

import numpy as np

from calbench.benchmark.core.bins import DEFAULT_BINS
from calbench.benchmark.metrics import evaluate
from calbench.benchmark.metrics.base import cost, make

Scorer = Callable[[Any, Any, Any], float]


def scorer(metric: str = "ece", *, bins: int = DEFAULT_BINS) -> Scorer:
    """A scikit-learn scorer of a metric of calbench: greater is better, so errors are given with a minus sign.

    Args:
        metric: the name of a metric, such as ``"ece"``, ``"nll"`` or ``"brier"``.
        bins: number of bins of a binned metric.

    Returns:
        A function of a classifier with `predict_proba`, its inputs and labels. Labels may be of any kind that the
        classifier's ``classes_`` has.

    Raises:
        InputError: an unknown metric.

    Example:
        >>> from sklearn.datasets import make_classification
        >>> from sklearn.linear_model import LogisticRegression
        >>> from sklearn.model_selection import cross_val_score
        >>> x, y = make_classification(200, random_state=0)
        >>> bool((cross_val_score(LogisticRegression(), x, y, scoring=scorer("ece")) <= 0).all())
        True
    """
    better = make(metric, bins).better

    def score(estimator: Any, inputs: Any, labels: Any) -> float:
        probabilities = np.asarray(estimator.predict_proba(inputs), dtype=np.float64)
        numbers = np.searchsorted(estimator.classes_, np.asarray(labels))
        if not (np.asarray(estimator.classes_)[numbers.clip(max=len(estimator.classes_) - 1)] == labels).all():
            raise ValueError("labels: some are not among the classes that the classifier was fitted on")
        value = evaluate(probabilities=probabilities, labels=numbers, metrics=[metric], bins=bins)[metric]
        return -float(cost(value, better))

    return score
