"""Out-of-distribution scores that need features, a temperature or a reference, against their formulas."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import mahalanobis
from scipy.special import logsumexp, softmax
from sklearn.metrics import average_precision_score
from sklearn.neighbors import NearestNeighbors

from calbench.benchmark.metrics import evaluate_ood, registry
from calbench.benchmark.metrics.detection import (
    NEIGHBOURS,
    Observed,
    Reference,
    detection_scores,
    selective_risk,
    separations,
)

RNG = np.random.default_rng(0)


def observed(rows, spread=1.0, with_features=True):
    logits = torch.from_numpy(RNG.normal(size=(rows, 4)) * 3)
    features = torch.from_numpy(RNG.normal(size=(rows, 6)) * spread) if with_features else None
    return Observed(logits, features, torch.from_numpy(RNG.uniform(0.5, 2, rows)))


REFERENCE, LABELS = observed(200), torch.from_numpy(RNG.integers(0, 4, 200))
SAMPLES = observed(30, spread=2.0)


def test_scores_of_logits_and_temperature_are_their_formulas():
    scores = detection_scores(SAMPLES, Reference(REFERENCE, LABELS))
    z, t = SAMPLES.logits.numpy(), SAMPLES.temperature.numpy()
    p, mean = softmax(z, axis=1), softmax(REFERENCE.logits.numpy(), axis=1).mean(axis=0)
    np.testing.assert_allclose(scores["max-logit"], -z.max(axis=1))
    np.testing.assert_allclose(scores["kl-to-mean"], -(p * np.log(p / mean)).sum(axis=1))
    np.testing.assert_allclose(scores["learned-temperature"], t)
    np.testing.assert_allclose(scores["energy-forefront"], -t * logsumexp(z, axis=1))
    np.testing.assert_allclose(scores["energy"], -logsumexp(z, axis=1))


def test_the_mahalanobis_score_is_scipys_distance_to_the_nearest_mean():
    f, y = REFERENCE.features.numpy(), LABELS.numpy()
    means = np.stack([f[y == k].mean(axis=0) for k in range(4)])
    inverse = np.linalg.inv((f - means[y]).T @ (f - means[y]) / len(f))
    expected = [min(mahalanobis(x, m, inverse) ** 2 for m in means) for x in SAMPLES.features.numpy()]
    scores = detection_scores(SAMPLES, Reference(REFERENCE, LABELS))
    np.testing.assert_allclose(scores["mahalanobis"], expected, rtol=1e-4)


def test_mahalanobis_works_where_the_covariance_is_singular():
    flat = Observed(REFERENCE.logits, torch.cat([REFERENCE.features, REFERENCE.features[:, :2]], dim=1))
    scores = detection_scores(flat, Reference(flat, LABELS))
    assert np.isfinite(scores["mahalanobis"]).all()
    zero = Observed(REFERENCE.logits, torch.zeros(200, 3))
    assert np.isfinite(detection_scores(zero, Reference(zero, LABELS))["mahalanobis"]).all()


def test_the_nearest_neighbour_score_is_scikit_learns():
    def unit(x):
        return x / np.linalg.norm(x, axis=1, keepdims=True)

    search = NearestNeighbors(n_neighbors=NEIGHBOURS).fit(unit(REFERENCE.features.numpy()))
    expected = search.kneighbors(unit(SAMPLES.features.numpy()))[0][:, -1]
    scores = detection_scores(SAMPLES, Reference(REFERENCE, LABELS))
    np.testing.assert_allclose(scores["nearest-neighbours"], expected, rtol=1e-4)


def test_scores_that_need_what_is_not_there_are_left_out():
    bare = Observed(SAMPLES.logits)
    scores = detection_scores(bare, Reference(Observed(REFERENCE.logits), LABELS))
    assert set(scores) == {"max-softmax", "entropy", "energy", "max-logit", "kl-to-mean"}


def test_every_score_has_every_measure_and_far_features_are_found():
    reference = Reference(REFERENCE, LABELS)
    near = detection_scores(observed(150), reference)
    far = detection_scores(observed(150, spread=20.0), reference)
    measured = separations(near, far)
    assert measured["auroc-mahalanobis"] > 95
    assert measured["fpr95-mahalanobis"] < 40
    assert 40 < measured["auroc-max-softmax"] < 60
    assert set(measured) == {f"{m}-{s}" for m in ("auroc", "aupr", "aupr-in", "fpr95") for s in near}
    assert all(registry[name].describe()["needs"] == ["out-of-distribution"] for name in measured)
    y = np.repeat([1, 0], 150)
    both = -np.concatenate([near["energy"], far["energy"]])
    assert measured["aupr-in-energy"] == pytest.approx(100 * average_precision_score(y, both))


def test_scores_beyond_logits_are_no_part_of_the_measures_of_logits():
    values = evaluate_ood(logits=SAMPLES.logits, ood_logits=REFERENCE.logits)
    assert not [name for name in values if "mahalanobis" in name or name == "scod"]
    with pytest.raises(ValueError, match="auroc-mahalanobis.*detection_scores"):
        evaluate_ood(logits=SAMPLES.logits, ood_logits=REFERENCE.logits, metrics=["auroc-mahalanobis"])


def test_selective_risk_is_the_mean_risk_over_the_coverage():
    inside, outside = RNG.normal(size=400), RNG.normal(size=300) + 1
    correct = RNG.random(400) < 0.8
    scores = np.concatenate([inside, outside])
    weights = np.repeat([0.5 / 400, 0.5 / 300], [400, 300])
    errors = np.concatenate([~correct, np.ones(300, dtype=bool)])
    order = np.argsort(scores)
    # the same by summing over a fine grid of coverages
    steps = np.repeat(order, 200)
    mass = np.cumsum(weights[steps] / 200)
    risk = np.cumsum(weights[steps] * errors[steps] / 200) / mass
    assert selective_risk(inside, correct, outside) == pytest.approx(
        100 * np.sum(risk * weights[steps] / 200), abs=0.05
    )


def test_selective_risk_of_a_perfect_and_of_a_blind_score():
    correct = np.ones(50, dtype=bool)
    # all right samples first: no risk up to half the coverage, then (c - 1/2) / c
    expected = 100 * (0.5 - 0.5 * np.log(2))
    assert selective_risk(np.zeros(50), correct, np.ones(20)) == pytest.approx(expected)
    assert selective_risk(np.zeros(50), correct, np.zeros(20)) == pytest.approx(50)
    with pytest.raises(ValueError, match="no scores"):
        selective_risk(np.zeros(0), correct[:0], np.ones(3))
