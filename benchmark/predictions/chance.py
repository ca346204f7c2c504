"""A warning of predictions that are no better than chance: their labels may be in another order than their rows."""

from collections.abc import Mapping

from scipy.stats import binomtest

from calbench.benchmark.core.text import counted
from calbench.benchmark.predictions.predictions import SplitPredictions

LEVEL = 0.05
"""Of the one-sided binomial test of the accuracy against one in the number of classes."""


def chance_note(parts: Mapping[str, SplitPredictions]) -> str:
    """One line on the first part whose accuracy is not above 1 / K, by a binomial test at 5 %; empty for none.

    Nothing is said of so few samples that the test could not even reject chance if all predictions were correct.

    Args:
        parts: predictions by the name of their split.
    """
    for name, part in parts.items():
        samples, classes = len(part), part.num_classes
        if classes < 2 or float(classes) ** -samples > LEVEL:
            continue
        correct = int((part.logits.argmax(dim=1) == part.labels).sum())
        if binomtest(correct, samples, 1 / classes, alternative="greater").pvalue > LEVEL:
            where = "" if name == "all" else f" of the {name} split"
            return (
                f"accuracy{where} is {100 * correct / samples:.1f} % of {counted(samples, 'sample')}, no better than "
                f"chance with {classes:,} classes: check that labels and rows are in the same order"
            )
    return ""
