"""Tables of results with bootstrap replicates, as evaluations give them."""

import numpy as np
import pandas as pd

from calbench.benchmark.core.schema import RESULT_COLUMNS
from calbench.benchmark.statistics import bootstrap, evaluate

RNG = np.random.default_rng(0)
SHARED = RNG.normal(size=500)  # the noise of the common test samples


def row(entry, seed, value, metric="ece", dataset="digits", backbone="cnn"):
    return [dataset, backbone, entry, entry, "none", seed, "last", "test", metric, value, np.nan, np.nan]


def table(*rows):
    return pd.DataFrame(rows, columns=RESULT_COLUMNS[:12]).reindex(columns=RESULT_COLUMNS)


def spread(value, shared=0.5, own=0.02, seed=0):
    return value + shared * SHARED + own * np.random.default_rng(seed).normal(size=500)


def one(comparisons, entry, metric="ece"):
    found = comparisons[(comparisons["entry"] == entry) & (comparisons["metric"] == metric)]
    assert len(found) == 1
    return found.iloc[0]


def address(entry, seed=0):
    return ("digits", "cnn", entry, seed, "last", "test")


def example():
    values = {"base": 6.0, "good": 3.0, "close": 3.01, "bad": 6.5, "oracle": 1.0}
    results = table(*(row(e, 0, v) for e, v in values.items()))
    replicates = {address(e): {"ece": spread(v, seed=i)} for i, (e, v) in enumerate(values.items())}
    return results, replicates


def estimate_row(entry, seed, metric, found, samples):
    columns = dict(zip(RESULT_COLUMNS, row(entry, seed, found.value, metric), strict=False))
    return columns | {
        "low": found.low, "high": found.high, "debiased": found.debiased, "low_signed": found.low_signed,
        "samples": samples, "reason": found.reason,
    }  # fmt: skip


def measured(models, metrics, replicates=200):
    """Results and replicates of models (logits, labels) by entry and seed, as an evaluation gives them."""
    rows, drawn = [], {}
    for (entry, seed), (z, y) in models.items():
        values = bootstrap(logits=z, labels=y, metrics=metrics, replicates=replicates)
        drawn[address(entry, seed)] = values
        for name, found in evaluate(logits=z, labels=y, metrics=metrics, interval=0.95).items():
            rows.append(estimate_row(entry, seed, name, found, len(y)))
    return pd.DataFrame(rows, columns=RESULT_COLUMNS), drawn


def sample(rng, n=500, k=5, scale=2.0):
    z = scale * rng.normal(size=(n, k))
    return z, (z + rng.gumbel(size=z.shape)).argmax(1)
