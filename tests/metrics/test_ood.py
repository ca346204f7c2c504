"""Out-of-distribution detection."""

import numpy as np
import pytest
from scipy.special import logsumexp, softmax

from calbench.benchmark.metrics import OODMetric, evaluate_ood, registry
from calbench.benchmark.metrics.ood import aupr, auroc, fpr_at_tpr, ood_scores


def cells():
    rng = np.random.default_rng(0)
    return rng.normal(size=(400, 6)) * 4, rng.normal(size=(300, 6)) * 2


def test_scores_are_their_formulas():
    z, _ = cells()
    p = softmax(z, axis=1)
    found = ood_scores(logits=z)
    assert found["max-softmax"] == pytest.approx(-p.max(1))
    assert found["entropy"] == pytest.approx(-(p * np.log(p)).sum(1))
    assert found["energy"] == pytest.approx(-logsumexp(z, axis=1))


def test_auroc_is_the_share_of_ordered_pairs():
    inside, outside = np.array([0.0, 1, 2, 2]), np.array([2.0, 3])
    assert auroc(inside, outside) == pytest.approx(100 * (6 + 2 * 0.5) / 8)


def test_fpr_at_tpr():
    inside, outside = np.arange(100.0), np.arange(100.0) + 50
    # 95 of the outer scores are at least 55, and so are 45 of the inner ones
    assert fpr_at_tpr(inside, outside) == pytest.approx(45)
    assert fpr_at_tpr(inside, inside + 1000) == 0


def test_aupr_of_perfect_separation_and_of_chance():
    assert aupr(np.zeros(10), np.ones(5)) == 100
    assert aupr(np.zeros(10), np.zeros(5)) == pytest.approx(100 / 3)


def test_evaluate_gives_every_measure_of_every_score():
    z, far = cells()
    found = evaluate_ood(logits=z, ood_logits=far)
    assert len(found) == 12
    assert found["auroc-energy"] == auroc(-logsumexp(z, axis=1), -logsumexp(far, axis=1))
    assert found["auroc-max-softmax"] > 70
    same = evaluate_ood(logits=z, ood_logits=z, metrics=["auroc-entropy"])
    assert same == {"auroc-entropy": pytest.approx(50)}


def test_every_metric_says_what_it_is():
    measures = [cls for cls in map(registry.__getitem__, registry) if issubclass(cls, OODMetric)]
    assert len({cls.__doc__ for cls in measures}) == len(measures)
    assert "Score: -logsumexp z" in registry["auroc-energy"].__doc__


def test_an_incomplete_metric_cannot_be_made():
    class Incomplete(OODMetric):
        score = "entropy"

    with pytest.raises(TypeError, match="separation"):
        Incomplete()


def test_bad_input():
    z, far = cells()
    with pytest.raises(ValueError, match="use evaluate"):
        evaluate_ood(logits=z, ood_logits=far, metrics=["ece"])
    with pytest.raises(ValueError, match="did you mean"):
        evaluate_ood(logits=z, ood_logits=far, metrics=["auroc-enrgy"])
    far[3, 2] = np.nan
    with pytest.raises(ValueError, match="row 3"):
        evaluate_ood(logits=z, ood_logits=far)
    with pytest.raises(ValueError, match="no scores"):
        auroc(np.array([]), np.ones(2))


def test_samples_whose_logits_are_permuted_have_equal_scores():
    generator = np.random.default_rng(4)
    inside = np.round(3 * generator.normal(size=(40, 7))) / 3
    outside = np.stack([generator.permutation(row) for row in inside])
    scores = evaluate_ood(logits=inside, ood_logits=outside)
    for name, value in scores.items():
        if name.startswith(("auroc", "aupr")):
            assert value == pytest.approx(50, abs=1e-9 if name.startswith("auroc") else 10), name
    for score in ("max-softmax", "entropy", "energy"):
        ranks = [ood_scores(logits=z, ranks=True)[score] for z in (inside, outside)]
        assert np.array_equal(*ranks), score
