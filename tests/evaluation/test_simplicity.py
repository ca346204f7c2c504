"""The number of values of a fitted calibrator, against the counts of the papers."""

import math

import pytest
import torch
from planted_logits import data

from calbench.benchmark.evaluation.simplicity import fitted_values, values_of_a_fit
from calbench.benchmark.execution.posthoc import parse_chain
from calbench.benchmark.predictions.predictions import SplitPredictions

K = 4


@pytest.mark.parametrize(
    ("chain", "values"),
    [
        ("temperature-scaling", 1), ("vector-scaling", 2 * K), ("matrix-scaling", K * K + K),
        ("bias-corrected-ts", K + 1), ("hts", 3), ("temperature-scaling + vector-scaling", 1 + 2 * K),
    ],
)  # fmt: skip
def test_the_values_of_a_fit_are_counted(chain, values):
    logits, labels, _ = data()
    assert values_of_a_fit(parse_chain(chain), SplitPredictions(logits, labels)) == values


def test_what_cannot_be_fitted_or_counted_is_infinite():
    part = SplitPredictions(torch.zeros(4, K), torch.arange(4))
    assert values_of_a_fit(parse_chain("calattn-frozen"), part) == math.inf
    [calibrator] = parse_chain("temperature-scaling")
    calibrator.model_ = object()
    assert fitted_values([calibrator]) == math.inf
