"""Bootstrap resamples: the same numbers as evaluating resampled arrays, and intervals that cover."""

import numpy as np
import pytest
from fast_set import slowly

from calbench.benchmark.metrics import Metric, evaluate, register, registry, sample
from calbench.benchmark.statistics import bootstrap, interval, resampling


def cell(n=400, k=6, seed=0, sharpness=1.5):
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, k)) * 2
    labels = (z + rng.gumbel(size=(n, k))).argmax(1)
    q = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    return sharpness * z, labels, q


RESAMPLED = [n for n in registry if issubclass(registry[n], Metric) and registry[n].resampled]
SPLITS = [f"{score}-{part}" for score in ("nll", "brier") for part in ("refinement", "calibration")]


@pytest.mark.parametrize("name", RESAMPLED)
def test_resampled_values_are_those_of_resampled_arrays(name):
    z, y, q = cell()
    values = bootstrap(logits=z, labels=y, posterior=q, metrics=[name], replicates=4, seed=3)[name]
    counts = resampling.resampling_counts(len(y), 4, 3)
    for value, count in zip(values, counts, strict=True):
        rows = np.repeat(np.arange(len(y)), count)
        direct = evaluate(logits=z[rows], labels=y[rows], posterior=q[rows], metrics=[name])[name]
        # the temperature grid of the splits is laid around the optimum of the whole sample
        assert value == pytest.approx(direct, rel=1e-9, abs=1e-8 if name in SPLITS else 1e-12)


@pytest.mark.parametrize("sharpness", [1.5, *slowly(0.3, 5.0)])
@pytest.mark.parametrize("seed", [0, *slowly(1, 2, 3)])
def test_splits_of_small_resamples_find_optima_far_from_that_of_the_whole_sample(seed, sharpness):
    z, y, _ = cell(n=120, k=5, seed=seed, sharpness=sharpness)
    values = bootstrap(logits=z, labels=y, metrics=SPLITS, replicates=40, seed=seed)
    for r, count in enumerate(resampling.resampling_counts(len(y), 40, seed)):
        rows = np.repeat(np.arange(len(y)), count)
        direct = evaluate(logits=z[rows], labels=y[rows], metrics=SPLITS)
        assert {name: values[name][r] for name in SPLITS} == pytest.approx(direct, abs=1e-8)


def test_counts_are_resamples_and_depend_on_seed_and_size_alone():
    counts = resampling.resampling_counts(50, 20, 1)
    assert (counts.sum(axis=1) == 50).all()
    assert (counts == resampling.resampling_counts(50, 20, 1)).all()
    assert (counts != resampling.resampling_counts(50, 20, 2)).any()
    assert (counts[:10] == resampling.resampling_counts(50, 10, 1)).all()


def test_blocks_of_replicates_change_nothing(monkeypatch):
    z, y, _ = cell()
    whole = bootstrap(logits=z, labels=y, replicates=7)
    monkeypatch.setattr(resampling, "_BLOCK_NUMBERS", 3 * len(y))
    for name, values in bootstrap(logits=z, labels=y, replicates=7).items():
        assert values == pytest.approx(whole[name], rel=1e-12)


def test_tied_confidences_and_float32_logits():
    z, y, _ = cell(k=3)
    z = np.round(z).astype(np.float32)
    values = bootstrap(logits=z, labels=y, metrics=["adaece", "classwise-ece"], replicates=3)
    for r, count in enumerate(resampling.resampling_counts(len(y), 3, 0)):
        rows = np.repeat(np.arange(len(y)), count)
        direct = evaluate(logits=z[rows], labels=y[rows], metrics=list(values))
        for name in values:
            assert values[name][r] == pytest.approx(direct[name], rel=1e-5)


def test_replicates_of_a_mean_have_their_mean_at_the_metric_and_those_of_a_gap_above_it():
    z, y, _ = cell(sharpness=1.0)
    point = evaluate(logits=z, labels=y)
    values = bootstrap(logits=z, labels=y)
    for name in ("accuracy", "nll", "brier", "signed-gap"):
        assert values[name].mean() == pytest.approx(point[name], abs=3 * values[name].std() / 1000**0.5)
    assert values["ece"].mean() > 1.1 * point["ece"]  # why their percentiles are no interval


def test_calibrated_model_keeps_zero_in_range():
    z, y, _ = cell(sharpness=1.0)
    values = bootstrap(logits=z, labels=y, metrics=["debiased-ece", "signed-gap"])
    assert values["debiased-ece"].min() >= 0
    assert values["signed-gap"].min() < 0 < values["signed-gap"].max()


def test_interval_covers_the_true_accuracy():
    rng = np.random.default_rng(0)
    hits = 0
    for trial in range(40):
        correct = rng.random(300) < 0.7
        p = np.tile([0.8, 0.2], (300, 1))
        values = bootstrap(probabilities=p, labels=1 - correct, metrics=["accuracy"], replicates=200, seed=trial)
        low, high = interval(values["accuracy"])
        hits += low <= 70 <= high
    assert 33 <= hits <= 40


def test_infinite_nll_gives_infinite_or_finite_replicates_never_nan():
    p = np.array([[1.0, 0.0], [0.5, 0.5], [0.5, 0.5], [0.5, 0.5]])
    values = bootstrap(probabilities=p, labels=[1, 0, 0, 0], metrics=["nll"], replicates=50)["nll"]
    assert np.isinf(values).any()
    assert np.isfinite(values).any()
    assert not np.isnan(values).any()


def test_metric_without_bootstrap_is_nan_and_has_no_interval():
    z, y, _ = cell()
    values = bootstrap(logits=z, labels=y, metrics=["ece", "noise-floor"], replicates=5)
    assert np.isnan(values["noise-floor"]).all()
    assert np.isnan(interval(values["noise-floor"])).all()
    assert np.isfinite(values["ece"]).all()


def test_interval_quantiles_and_empty():
    assert interval(np.arange(1001.0)) == pytest.approx((25, 975))
    assert np.isnan(interval(np.array([]))).all()


def test_plug_in_metric_is_evaluated_and_resampled():
    @register("mean-confidence")
    class MeanConfidence(Metric):
        def values(self, view):
            return 100 * view.mean(view.sample.confidence)

    try:
        z, y, _ = cell()
        confidence = 100 * np.exp(z - z.max(1, keepdims=True)).sum(1) ** -1.0
        assert evaluate(logits=z, labels=y, metrics=["mean-confidence"]) == pytest.approx(
            {"mean-confidence": confidence.mean()}
        )
        assert bootstrap(logits=z, labels=y, metrics=["mean-confidence"])["mean-confidence"].std() > 0
    finally:
        del registry._classes["mean-confidence"]


def test_bad_input():
    z, y, _ = cell()
    with pytest.raises(ValueError, match="replicates=0"):
        bootstrap(logits=z, labels=y, replicates=0)
    with pytest.raises(ValueError, match="did you mean 'ece'"):
        bootstrap(logits=z, labels=y, metrics=["eec"])
    view = sample.ResampledView(sample.Sample(sample.Source(logits=z, labels=y)), np.ones((1, len(y)), dtype=np.uint8))
    with pytest.raises(ValueError, match="column sums"):
        view.classwise(15)
