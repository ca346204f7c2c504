"""calbench's metrics as scikit-learn scorers, for `cross_val_score`, `GridSearchCV` and others."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from calbench.benchmark.core.bins import DEFAULT_BINS
from calbench.benchmark.metrics import evaluate
from calbench.benchmark.metrics.base import cost, make


@dataclass(frozen=True)
class Scorer:
    """A metric as scikit-learn calls it, with a classifier, its inputs and labels; see `scorer`."""

    metric: str
    bins: int = DEFAULT_BINS

    def __call__(self, estimator: Any, inputs: Any, labels: Any) -> float:
        """The metric of ``estimator.predict_proba(inputs)``, with the sign for which greater is better.

        Raises:
            ValueError: a label that is not in ``estimator.classes_``.
        """
        probabilities = np.asarray(estimator.predict_proba(inputs), dtype=np.float64)
        classes = np.asarray(estimator.classes_)
        numbers = np.searchsorted(classes, np.asarray(labels))
        if not (classes[numbers.clip(max=len(classes) - 1)] == labels).all():
            raise ValueError("labels: some are not among the classes that the classifier was fitted on")
        value = evaluate(probabilities=probabilities, labels=numbers, metrics=[self.metric], bins=self.bins)
        return -float(cost(value[self.metric], make(self.metric, self.bins).better))


def scorer(metric: str = "ece", *, bins: int = DEFAULT_BINS) -> Scorer:
    """A scikit-learn scorer of a metric of calbench: greater is better, so errors are given with a minus sign.

    Args:
        metric: the name of a metric, such as ``"ece"``, ``"nll"`` or ``"brier"``.
        bins: number of bins of a binned metric.

    Returns:
        A function of a classifier with `predict_proba`, its inputs and labels, which can be pickled. Labels may be of
        any kind that the classifier's ``classes_`` has.

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
    make(metric, bins)
    return Scorer(metric, bins)
