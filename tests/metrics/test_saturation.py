"""Rankings of samples whose confidence rounds to 1: by log(1 - confidence), from the logits."""

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, logsumexp

from calbench.benchmark.metrics import evaluate, evaluate_ood
from calbench.benchmark.metrics.ood import ood_scores
from calbench.benchmark.statistics import bootstrap

RANKINGS = ["misclassification-auroc", "aurc"]


def sharp(rows=400, classes=2, seed=0, scale=40.0):
    """Float32 logits, most of whose confidences are 1 in float32, and labels that the margin predicts."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(rows, classes))
    labels = (z + 0.7 * rng.gumbel(size=z.shape)).argmax(1)
    return (scale * z).astype(np.float32), labels


def auroc(certainty, right):
    above = certainty[right][:, None] - certainty[~right]
    return 100 * ((above > 0).mean() + 0.5 * (above == 0).mean())


def aurc(certainty, right):
    order = np.argsort(-certainty)
    return 100 * (np.cumsum(~right[order]) / np.arange(1, len(right) + 1)).mean()


def test_two_classes_are_ranked_by_their_margin():
    z, labels = sharp()
    margin, right = np.abs(z[:, 0].astype(float) - z[:, 1]), z.argmax(1) == labels
    assert (torch.from_numpy(z).softmax(1).amax(1) == 1).double().mean() > 0.3
    found = evaluate(logits=z, labels=labels, metrics=RANKINGS)
    assert found["misclassification-auroc"] == pytest.approx(auroc(margin, right), abs=1e-9)
    assert found["aurc"] == pytest.approx(aurc(margin, right), abs=1e-9)


@pytest.mark.parametrize("divisor", [0.5, 16.0, 1024.0])
def test_a_temperature_changes_no_ranking_of_two_classes(divisor):
    z, labels = sharp()
    before = evaluate(logits=z, labels=labels, metrics=RANKINGS)
    assert evaluate(logits=z / np.float32(divisor), labels=labels, metrics=RANKINGS) == pytest.approx(before, abs=1e-9)


@pytest.mark.parametrize("classes", [3, 50])
def test_many_classes_are_ranked_by_the_probability_of_the_others(classes):
    z, labels = sharp(classes=classes)
    log_p = log_softmax(z.astype(np.float64), axis=1)
    np.put_along_axis(log_p, z.argmax(1)[:, None], -np.inf, axis=1)
    certainty, right = -logsumexp(log_p, axis=1), z.argmax(1) == labels
    found = evaluate(logits=z, labels=labels, metrics=RANKINGS)
    assert found["misclassification-auroc"] == pytest.approx(auroc(certainty, right), abs=1e-9)
    assert found["aurc"] == pytest.approx(aurc(certainty, right), abs=1e-9)


def test_the_order_of_the_classes_breaks_no_tie():
    z, labels = sharp(rows=1, classes=200)
    shuffled = np.stack([np.random.default_rng(seed).permutation(z[0]) for seed in range(40)])
    labels = np.where(np.arange(40) < 25, shuffled.argmax(1), (shuffled.argmax(1) + 1) % 200)
    found = evaluate(logits=shuffled, labels=labels, metrics=RANKINGS)
    assert found == {"misclassification-auroc": pytest.approx(50), "aurc": pytest.approx(100 * 15 / 40)}


def test_replicates_are_ranked_alike():
    z, labels = sharp()
    found = bootstrap(logits=z, labels=labels, metrics=RANKINGS, replicates=60)
    margin, right = np.abs(z[:, 0].astype(float) - z[:, 1]), z.argmax(1) == labels
    assert abs(np.mean(found["misclassification-auroc"]) - auroc(margin, right)) < 1.5
    assert np.std(found["misclassification-auroc"]) > 0.3


def test_out_of_distribution_scores_of_sharp_logits_keep_their_order():
    (inside, _), (outside, _) = sharp(scale=60.0), sharp(seed=1, scale=45.0)
    margins = [np.abs(z[:, 0].astype(float) - z[:, 1]) for z in (inside, outside)]
    expected = auroc(-np.concatenate(margins), np.repeat([False, True], [len(inside), len(outside)]))
    found = evaluate_ood(logits=inside, ood_logits=outside)
    assert found["auroc-max-softmax"] == pytest.approx(expected, abs=1e-9)
    assert found["auroc-entropy"] == pytest.approx(expected, abs=1e-9)  # of two classes it falls with the margin


def test_ranks_are_logarithms_of_the_scores():
    z = np.random.default_rng(0).normal(size=(50, 4)) * 3
    scores, ranks = ood_scores(logits=z), ood_scores(logits=z, ranks=True)
    np.testing.assert_allclose(np.exp(ranks["max-softmax"]), 1 + scores["max-softmax"], rtol=1e-9)
    np.testing.assert_allclose(np.exp(ranks["entropy"]), scores["entropy"], rtol=1e-9)
    np.testing.assert_array_equal(ranks["energy"], scores["energy"])
    extreme = ood_scores(logits=np.array([[0.0, 5e3], [0.0, 4e3], [0.0, -1e30]]), ranks=True)
    assert extreme["max-softmax"][0] < extreme["max-softmax"][1]
    assert extreme["entropy"][2] < extreme["entropy"][0] < extreme["entropy"][1]


def test_both_sides_must_have_the_same_classes():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match=r"ood_logits: shape \(5, 6\) does not match logits of shape \(8, 3\)"):
        evaluate_ood(logits=rng.normal(size=(8, 3)), ood_logits=rng.normal(size=(5, 6)))
