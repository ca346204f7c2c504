"""Predictions of 60 samples and four classes, as tools write them: what the tests of file forms share."""

import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from calbench.benchmark.predictions.reading import read_numbers
from calbench.benchmark.predictions.source import Source

RNG = np.random.default_rng(5)
Z = np.round(RNG.normal(size=(60, 4)) * 3, 4)
Y = (Z / 2 + RNG.gumbel(size=Z.shape)).argmax(1)
P = np.exp(Z) / np.exp(Z).sum(1, keepdims=True)
NAMES = np.array(["fox", "cat", "emu", "dog"])  # in the order of the columns, which is not that of the alphabet
BINARY = 1 / (1 + np.exp(-Z[:, 0]))
LOGITS = pd.DataFrame(Z, columns=[f"logit_{k}" for k in range(4)]).assign(label=Y)
PROBS = pd.DataFrame(P, columns=[f"prob_{k}" for k in range(4)]).assign(label=Y)
NAMED = pd.DataFrame(P, columns=NAMES).assign(truth=NAMES[Y])
T, L = torch.tensor(Z), torch.tensor(Y)
BATCHES = list(zip(T.split(25), L.split(25), strict=True))


def write(path, text, encoding="utf-8"):
    Path(path).write_bytes(text.encode(encoding))


def dump(path, value):
    Path(path).write_bytes(pickle.dumps(value))


def read(path, **options):
    notes = []
    numbers = read_numbers(Path(path), Source(**options), notes.append)
    return numbers, notes
