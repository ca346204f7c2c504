"""Predictions to store, and stores on a disk and in memory."""

import os

import pytest
import torch

from calbench.benchmark.predictions.predictions import Predictions, SplitPredictions
from calbench.benchmark.store.store import Store


@pytest.fixture
def predictions():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(20, 3, generator=generator)
    labels = torch.randint(3, (20,), generator=generator)
    part = SplitPredictions(logits, labels, features=torch.randn(20, 4, generator=generator))
    return Predictions({("last", "calibration"): part, ("last", "test"): part})


@pytest.fixture(params=["local", "memory"])
def store(request, tmp_path):
    if request.param == "local":
        yield Store(tmp_path)
        return
    yield Store(f"memory://calbench-{os.getpid()}-{request.node.name.replace('[', '-').strip(']')}")
