"""Bootstrap and noise floor of samples too large to count or draw one by one: the same distributions."""

import numpy as np
import pytest

from calbench.benchmark.metrics import Metric, registry, simulation
from calbench.benchmark.metrics.classwise import GroupedClasswise
from calbench.benchmark.metrics.evaluation import PANEL
from calbench.benchmark.metrics.grouped import GroupedView, group_columns
from calbench.benchmark.metrics.sample import ResampledView, Sample, column_sums
from calbench.benchmark.metrics.source import Source
from calbench.benchmark.statistics import bootstrap, noise_floor, resampling

RESAMPLED = [n for n in registry if issubclass(registry[n], Metric) and registry[n].resampled]


def cell(rows, classes=5, seed=0):
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(rows, classes)) * 2
    labels = (z + rng.gumbel(size=z.shape)).argmax(1)
    q = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    return 1.4 * z, labels, q


@pytest.mark.parametrize("name", RESAMPLED)
@pytest.mark.parametrize("table", [False, True])
def test_groups_of_one_row_are_rows(name, table):
    z, y, q = cell(300)
    sample = Sample(Source(logits=z, labels=y, posterior=q))
    counts = resampling.resampling_counts(300, 5, 1)
    groups = np.random.default_rng(0).permutation(300)
    tables = {15: GroupedClasswise(15, groups, 300)} if table else {}
    by_row = ResampledView(sample, counts[:, groups], column_sums(sample.source, counts[:, groups]))
    by_group = GroupedView(sample, groups, counts, group_columns(sample.source, groups, 300), tables)
    metric = registry.create(name)
    assert metric.values(by_group) == pytest.approx(metric.values(by_row), rel=1e-9, abs=1e-9)


def test_resampled_groups_have_the_distribution_of_resampled_rows(monkeypatch):
    z, y, _ = cell(20_000)
    order = np.argsort(y, kind="stable")  # rows by class, as many files have them, must not matter
    one_by_one = bootstrap(logits=z[order], labels=y[order], replicates=400)
    monkeypatch.setattr(resampling, "LARGE", 1000)
    grouped = bootstrap(logits=z[order], labels=y[order], replicates=400)
    assert list(grouped) == list(PANEL)
    for name, values in grouped.items():
        spread = one_by_one[name].std()
        assert values.mean() == pytest.approx(one_by_one[name].mean(), abs=0.3 * spread), name
        assert values.std() == pytest.approx(spread, rel=0.2), name


def test_an_infinite_score_stays_infinite_or_finite(monkeypatch):
    p = np.full((3000, 2), 0.5)
    p[0] = [1, 0]
    labels = np.zeros(3000, dtype=int)
    labels[0] = 1
    monkeypatch.setattr(resampling, "LARGE", 1000)
    values = bootstrap(probabilities=p, labels=labels, metrics=["nll"], replicates=60)["nll"]
    assert not np.isnan(values).any()
    assert 0.3 < np.isinf(values).mean() < 0.95  # 1 - 1/e
    assert values[np.isfinite(values)] == pytest.approx(np.log(2))


def test_many_classes_are_handled_in_blocks_of_replicates(monkeypatch):
    z, y, _ = cell(200, classes=30)
    whole = bootstrap(logits=z, labels=y, replicates=9)
    monkeypatch.setattr(resampling, "_BLOCK_SUMS", 2 * 30 * 15)
    for name, values in bootstrap(logits=z, labels=y, replicates=9).items():
        assert values == pytest.approx(whole[name], rel=1e-12)


@pytest.mark.parametrize("sharpness", [0.5, 3.0, 30.0])
@pytest.mark.slow
def test_noise_floor_by_cells(monkeypatch, sharpness):
    z, _, _ = cell(30_000)
    exact = noise_floor(logits=sharpness * z, draws=1500)
    monkeypatch.setattr(simulation, "LARGE", 1000)
    cells = noise_floor(logits=sharpness * z, draws=1500)
    assert cells.mean == pytest.approx(exact.mean, rel=0.04)
    assert cells.q95 == pytest.approx(exact.q95, rel=0.06)


def test_noise_floor_of_certain_predictions_is_zero(monkeypatch):
    monkeypatch.setattr(simulation, "LARGE", 10)
    assert noise_floor(confidences=np.ones(100), draws=20).mean == 0
