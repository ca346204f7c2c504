"""The protocol's number of bins reaches whatever minimises or follows an ECE."""

import numpy as np
import pytest
import torch

from calbench.benchmark.config.entry import parse_entry
from calbench.benchmark.config.protocol import Protocol
from calbench.benchmark.config.suite import load_suite
from calbench.benchmark.core.bins import DEFAULT_BINS
from calbench.benchmark.execution.options import RunOptions
from calbench.benchmark.execution.runner import plan_suite
from calbench.benchmark.metrics import evaluate
from calbench.methods import registry


@pytest.mark.parametrize(
    ("spec", "bins"),
    [
        ("temperature-scaling(criterion=ece)", 40),
        ("temperature-scaling(criterion=ece, bins=7)", 7),
        ("temperature-scaling", DEFAULT_BINS),
        ("logit-clipping", 40),  # its criterion is the ECE by default
        ("logit-clipping(criterion=nll)", DEFAULT_BINS),
        ("feature-clipping", 40),
        ("cts", 40),
        ("cts(bins=7)", 7),
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


@pytest.mark.slow
@pytest.mark.parametrize("bins", [2, 15, 40])
def test_the_clipping_bound_has_the_lowest_ece_of_that_many_bins(bins):
    rng = np.random.default_rng(1)
    z = rng.normal(size=(400, 5))
    labels = (z + rng.gumbel(size=z.shape)).argmax(1)
    logits = torch.from_numpy(3 * z)
    clipping = registry.create("logit-clipping", bins=bins).fit(logits, torch.from_numpy(labels))
    bounds = torch.quantile(logits.abs().amax(dim=1), torch.linspace(0, 1, 100).double())

    def ece(clipped):
        return evaluate(logits=clipped, labels=labels, metrics=["ece"], bins=bins)["ece"]

    errors = []
    for bound in bounds.tolist():
        other = registry.create("logit-clipping", bins=bins).fit(logits, torch.from_numpy(labels))
        other.bound_ = bound
        errors.append(ece(other.transform(logits)))
    assert ece(clipping.transform(logits)) <= min([*errors, ece(logits)]) + 1e-9


def test_class_temperatures_are_searched_by_the_ece_of_that_many_bins():
    rng = np.random.default_rng(2)
    z = rng.normal(size=(300, 4))
    labels = torch.from_numpy((z + rng.gumbel(size=z.shape)).argmax(1))
    logits = torch.from_numpy(3 * z)

    def ece(scaled, bins):
        return evaluate(logits=scaled, labels=labels, metrics=["ece"], bins=bins)["ece"]

    few, many = (registry.create("cts", bins=bins).fit(logits, labels).transform(logits) for bins in (3, 60))
    assert ece(few, 3) < ece(many, 3)
    assert ece(many, 60) < ece(few, 60)


def cells_with(*settings):
    suite = load_suite("quick", settings=["datasets=[digits]", *settings])
    return {work.cell.key for work in plan_suite(suite, RunOptions())}


def test_the_bins_are_part_of_a_key_where_a_rule_follows_a_metric():
    plain, followed = [], ["protocol.checkpoint=best-ece"]
    assert cells_with(*plain) == cells_with("protocol.bins=20")
    assert cells_with(*followed).isdisjoint(cells_with(*followed, "protocol.bins=20"))
    assert cells_with(*followed) == cells_with(*followed, f"protocol.bins={DEFAULT_BINS}")
