"""The path of near-isotonic regressions, against its optimality conditions, isotonic regression and netcal."""

import numpy as np
import pytest
from netcal.binning import NearIsotonicRegression
from sklearn.isotonic import IsotonicRegression

from calbench.methods import registry
from calbench.methods.solvers.near_isotonic import near_isotonic_path

RUNS = [5, 1, 2, 4, 3, 9, 7, 20]
"""Sizes of runs of equal labels, 0 first, of which no two neighbours meet at the same penalty."""


def of_samples(groups):
    return np.repeat(groups.values, groups.sizes.astype(int))


@pytest.mark.parametrize("seed", range(20))
def test_every_regression_is_optimal_and_the_last_is_isotonic(seed):
    rng = np.random.default_rng(seed)
    labels = (rng.random(60) < np.linspace(0.1, 0.9, 60)).astype(float)
    path = list(near_isotonic_path(labels))
    assert len(path) > 3
    for groups in path:
        fitted = of_samples(groups)
        assert groups.starts.tolist() == np.append(0, np.cumsum(groups.sizes)[:-1]).tolist()
        # Karush, Kuhn and Tucker: the residuals up to a sample sum up to the weight of its violation.
        weights, steps = np.cumsum(labels - fitted), np.diff(fitted)
        assert weights[-1] == pytest.approx(0, abs=1e-9)
        assert (weights > -1e-9).all()
        assert (weights < groups.penalty + 1e-9).all()
        np.testing.assert_allclose(weights[:-1][steps < -1e-9], groups.penalty, atol=1e-9)
        np.testing.assert_allclose(weights[:-1][steps > 1e-9], 0, atol=1e-9)
    isotonic = IsotonicRegression().fit_transform(np.arange(60), labels)
    np.testing.assert_allclose(of_samples(path[-1]), isotonic, atol=1e-9)


def test_isotonic_labels_are_the_whole_path():
    [only] = near_isotonic_path(np.array([0.0, 0.0, 1.0]))
    assert (only.penalty, only.values.tolist(), only.sizes.tolist()) == (0.0, [0.0, 1.0], [2.0, 1.0])


def test_the_path_is_netcals_where_groups_meet_one_pair_at_a_time():
    labels = np.repeat(np.arange(len(RUNS)) % 2, RUNS)
    scores = np.linspace(0.01, 0.99, len(labels))
    theirs = NearIsotonicRegression()
    theirs.fit(scores, labels)
    path = list(near_isotonic_path(labels.astype(float)))
    assert len(path) > 3
    for groups in path:
        np.testing.assert_allclose(theirs.transform(scores), of_samples(groups), atol=1e-6)
        theirs = theirs.get_next_model()
    assert theirs is None


def test_no_sample_is_lost_where_groups_meet_at_the_same_penalty():
    """netcal 1.4 predicts 0 for the fifth and sixth of these."""
    labels = np.array([0, 0, 1, 0, 1, 0, 1, 1, 1, 1])
    path = [of_samples(groups).tolist() for groups in near_isotonic_path(labels.astype(float))]
    assert path == [labels.tolist(), [0, 0, 0.5, 0.5, 0.5, 0.5, 1, 1, 1, 1]]
    p = np.linspace(0.05, 0.95, 10)
    calibrator = registry.create("enir").fit(np.log(np.stack([1 - p, p], axis=1)), labels)
    fitted = calibrator.predict_proba(np.log(np.stack([1 - p, p], axis=1)))[:, 1]
    np.testing.assert_allclose(fitted[2:6], 0.5, atol=1e-5)
