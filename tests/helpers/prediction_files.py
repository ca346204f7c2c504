"""Small files of predictions, in which 60 rows of 4 classes are the same whatever the form."""

import numpy as np
import pandas as pd

from calbench.benchmark.predictions.reading import read_numbers
from calbench.benchmark.predictions.source import Source

RNG = np.random.default_rng(2)
Z = RNG.normal(size=(60, 4)).astype(np.float32)
P = np.exp(Z.astype(np.float64)) / np.exp(Z.astype(np.float64)).sum(1, keepdims=True)
Y = RNG.integers(0, 4, 60)
Y[:4] = range(4)
NAMES = np.array(["VF", "F", "M", "L"])


def read(path, **options):
    """The splits of a file, and the notes."""
    notes = []
    return read_numbers(path, Source(**options), notes.append), notes


def one(path, **options):
    [numbers] = read(path, **options)[0].values()
    return numbers


def save(path, **arrays):
    np.savez(path, **arrays)
    return path


def table(path, scores, names, **columns):
    frame = pd.DataFrame(np.asarray(scores), columns=names)
    frame.assign(**columns).to_csv(path, index=False)
    return path


def is_right(numbers, kind="logits"):
    np.testing.assert_allclose(numbers.scores, Z if kind == "logits" else P, atol=1e-6)
    np.testing.assert_array_equal(numbers.labels, Y)
    assert numbers.kind == kind
    return True
