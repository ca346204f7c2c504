"""The protocol's number of bins reaches whatever minimises or follows an ECE."""

import numpy as np
import pytest
import torch

from calbench.benchmark.config.entry import parse_entry
from calbench.benchmark.config.protocol import Protocol
from calbench.benchmark.config.suite import load_suite
from calbench.benchmark.core.bins import DEFAULT_BINS
from calbench.benchmark.core.errors import InputError
from calbench.benchmark.metrics import evaluate
from calbench.methods import registry


@pytest.mark.parametrize(
    ("spec", "bins"),
    [
        ("temperature-scaling(criterion=ece)", 40),
        ("temperature-scaling(criterion=ece, bins=7)", 7),
        ("temperature-scaling", DEFAULT_BINS),
        ("histogram-binning", DEFAULT_BINS),  # its bins are its own
    ],
)
def test_bins_of_the_protocol_are_those_of_an_ece_criterion(spec, bins):
    [calibrator] = parse_entry(spec, Protocol(bins=40).method_defaults).calibrators
    assert calibrator.bins == bins


def test_the_usual_number_of_bins_changes_no_name():
    assert parse_entry("temperature-scaling(criterion=ece)", Protocol().method_defaults).name == (
        "temperature-scaling(criterion=ece)"
    )


@pytest.mark.parametrize("bins", [2, 15, 40])
def test_the_temperature_has_the_lowest_ece_of_that_many_bins(bins):
    rng = np.random.default_rng(0)
    z = rng.normal(size=(400, 5))
    labels = (z + rng.gumbel(size=z.shape)).argmax(1)
    logits, grid = torch.from_numpy(3 * z), np.arange(1, 101) / 10
    chosen = registry.create("temperature-scaling", criterion="ece", bins=bins).fit(logits, torch.from_numpy(labels))
    errors = [evaluate(logits=3 * z / t, labels=labels, metrics=["ece"], bins=bins)["ece"] for t in grid]
    assert chosen.temperature_ == pytest.approx(grid[int(np.argmin(errors))])


def test_a_checkpoint_by_the_ece_of_other_bins_is_refused():
    settings = ["protocol.bins=20", "protocol.checkpoint=best-ece"]
    with pytest.raises(InputError, match="best-ece follows the ECE of 15 bins"):
        load_suite("quick", settings=settings)
