"""Smooth, debiased, swept and oracle metrics against plain formulas and constructions whose answer is known."""

from itertools import pairwise

import numpy as np
import pytest
from fast_set import slowly
from scipy.optimize import brentq, minimize_scalar
from scipy.special import log_softmax, softmax
from scipy.stats import norm

from calbench.benchmark.metrics import evaluate, registry
from calbench.benchmark.metrics.sample import Sample
from calbench.benchmark.metrics.source import Source


def cell(n=600, k=4, seed=0, sharpness=1.6):
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, k)) * 1.5
    labels = (z + rng.gumbel(size=(n, k))).argmax(1)
    return sharpness * z, labels, softmax(z, axis=1)


def top(z, y):
    p = softmax(z, axis=1)
    return p.max(1), (p.argmax(1) == y).astype(float)


def value(name, z, y, **more):
    return evaluate(logits=z, labels=y, metrics=[name], **more)[name]


def smooth_error(conf, correct, bandwidth, points=1001):
    t = np.linspace(0, 1, points)
    images = [norm.pdf(t[:, None], sign * conf + shift, bandwidth) for sign in (1, -1) for shift in (-2, 0, 2)]
    return np.trapezoid(np.abs(sum(images) @ (correct - conf)) / len(conf), t)


@pytest.mark.parametrize("sharpness", [1.6, *slowly(1.0, 5.0)])
def test_smece_is_the_fixed_point_of_the_reflected_kernel(sharpness):
    z, y, _ = cell(n=300, sharpness=sharpness)
    conf, correct = top(z, y)
    expected = brentq(lambda s: smooth_error(conf, correct, s) - s, 5e-3, 1, xtol=1e-6)
    assert value("smece", z, y) == pytest.approx(100 * expected, rel=1e-3)


def test_smece_of_a_constant_confidence_is_the_gap():
    # one residual of 0.3 at 0.9: any reflected kernel keeps its mass
    p = np.tile([0.9, 0.1], (100, 1))
    y = np.array([0] * 60 + [1] * 40)
    assert evaluate(probabilities=p, labels=y, metrics=["smece"])["smece"] == pytest.approx(30, rel=1e-6)


def test_smece_calattn_is_kernel_regression_at_fixed_bandwidth():
    z, y, _ = cell()
    conf, correct = top(z, y)
    kernel = np.exp(-0.5 * ((conf[:, None] - conf) / 0.05) ** 2)
    expected = 100 * np.abs(kernel @ correct / kernel.sum(1) - conf).mean()
    assert value("smece-calattn", z, y) == pytest.approx(expected, rel=1e-9)


@pytest.mark.slow
def test_smece_calattn_takes_every_other_of_ten_thousand():
    z, y, _ = cell(n=10_000)
    taken = np.linspace(0, 9999, 5000).astype(int)
    assert value("smece-calattn", z, y) == pytest.approx(value("smece-calattn", z[taken], y[taken]), rel=1e-3)


def test_classwise_calattn_conditions_on_the_prediction():
    z, y, _ = cell()
    conf, correct = top(z, y)
    prediction, errors = z.argmax(1), []
    for k in np.unique(prediction):
        mine = prediction == k
        index = np.minimum((conf[mine] * 15).astype(int), 14)
        residual = (correct - conf)[mine]
        errors.append(sum(abs(residual[index == b].sum()) for b in range(15)) / mine.sum())
    assert value("classwise-ece-calattn", z, y) == pytest.approx(100 * np.mean(errors), rel=1e-9)


def test_a_calibrated_hundred_class_model_scores_high_on_calattn_classwise_ece_alone():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(10_000, 100)) * 2.5
    y = (z + rng.gumbel(size=z.shape)).argmax(1)
    found = evaluate(logits=z, labels=y, metrics=["classwise-ece", "classwise-ece-calattn"])
    assert found["classwise-ece"] < 0.5
    assert found["classwise-ece-calattn"] > 8


def test_debiased_ece_is_the_mean_over_normal_noise():
    z, y, _ = cell()
    conf, correct = top(z, y)
    index = np.clip(np.ceil(conf * 15).astype(int) - 1, 0, 14)
    rng = np.random.default_rng(0)
    plain, noisy = 0.0, 0.0
    for b in set(index):
        mine = index == b
        accuracy, share = correct[mine].mean(), mine.mean()
        drawn = accuracy + rng.normal(size=200_000) * np.sqrt(accuracy * (1 - accuracy) / mine.sum())
        plain += share * abs(accuracy - conf[mine].mean())
        noisy += share * np.abs(drawn - conf[mine].mean()).mean()
    assert value("debiased-ece", z, y) == pytest.approx(100 * (2 * plain - noisy), rel=5e-3)


def test_debiasing_takes_a_third_of_the_noise_away():
    found = [cell(n=1000, seed=s, sharpness=1.0) for s in range(20)]
    plain = np.mean([value("ece", z, y) for z, y, _ in found])
    # without any true error a bin's |normal| has mean 0.80 s, and one more layer of noise makes it 1.13 s
    debiased = np.mean([value("debiased-ece", z, y) for z, y, _ in found])
    assert debiased == pytest.approx((2 - 2**0.5) * plain, rel=0.15)


def plain_sweep(conf, correct, power=1):
    """The sweep in float64 with the authors' bins: the sample of rank i is in bin floor(i M / N)."""
    order = np.argsort(conf)
    conf, hits, n = conf[order], correct[order], len(conf)

    def members(bins):
        index = np.array([rank * bins // n for rank in range(n)])
        return [index == b for b in range(bins)]

    best = 1
    for bins in range(2, n + 1):
        if (np.diff([hits[mine].mean() for mine in members(bins)]) < 0).any():
            break
        best = bins
    gaps = [(mine.mean(), abs(hits[mine].mean() - conf[mine].mean())) for mine in members(best)]
    return 100 * sum(share * gap**power for share, gap in gaps) ** (1 / power), best


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("norm", "power"), [("l1", 1), ("l2", 2)])
@pytest.mark.parametrize("size", [37, 101, 300])
def test_ece_sweep_is_the_plain_sweep_in_both_norms(size, norm, power, seed):
    z, y, _ = cell(n=size, seed=seed)
    found = registry.create("ece-sweep", norm=norm).value(Sample(Source(logits=z, labels=y)))
    assert found == pytest.approx(plain_sweep(*top(z, y), power)[0], rel=1e-9)


def test_the_bins_of_the_sweep_are_not_those_of_rounded_down_edges():
    """Edges at floor(b N / M) put other ranks together, so that the test above can fail."""
    told_apart = 0
    for seed in range(4):
        z, y, _ = cell(n=37, seed=seed)
        conf, correct = top(z, y)
        expected, bins = plain_sweep(conf, correct)
        edges = np.arange(bins + 1) * 37 // bins
        residual = (correct - conf)[np.argsort(conf)]
        other = 100 * sum(abs(residual[a:b].sum()) for a, b in pairwise(edges)) / 37
        told_apart += abs(other - expected) > 1e-6
    assert told_apart


def test_debiased_ece_takes_the_variance_of_a_single_sample_from_its_confidence():
    """Bins of one sample have no variance of their own; the formula in float64, with conf (1 - conf) for them."""
    conf = np.array([0.55, 0.62, 0.75, 0.83, 0.97])  # each in a bin of its own
    correct = np.array([1.0, 0.0, 1.0, 1.0, 0.0])
    gaps, spread = np.abs(correct - conf), np.sqrt(conf * (1 - conf))
    folded = spread * np.sqrt(2 / np.pi) * np.exp(-(gaps**2) / (2 * spread**2))
    folded += gaps * (1 - 2 * norm.cdf(-gaps / spread))
    expected = 100 * max(0.0, (2 * gaps - folded).mean())
    p = np.stack([conf, 1 - conf], 1)
    found = evaluate(probabilities=p, labels=(1 - correct).astype(int), metrics=["debiased-ece", "ece"])
    assert found["debiased-ece"] == pytest.approx(expected, rel=1e-9)
    assert found["ece"] == pytest.approx(100 * gaps.mean(), rel=1e-9)
    assert found["debiased-ece"] < found["ece"]  # a variance of 0 would leave the ECE as it is


def test_ece_sweep_of_separated_confidences_uses_a_bin_per_sample():
    p = np.stack([np.linspace(0.6, 0.99, 2000), 1 - np.linspace(0.6, 0.99, 2000)], 1)
    y = (np.arange(2000) < 1000).astype(int)  # wrong below, right above
    expected = 100 * np.abs((y == 0) - p[:, 0]).mean()
    assert evaluate(probabilities=p, labels=y, metrics=["ece-sweep"])["ece-sweep"] == pytest.approx(expected)


def test_oracle_metrics():
    z, y, q = cell()
    p = softmax(z, axis=1)
    conf, prediction = p.max(1), p.argmax(1)
    gap = q[np.arange(len(q)), prediction] - conf
    index = np.clip(np.ceil(conf * 15).astype(int) - 1, 0, 14)
    expected = 100 * sum(abs(gap[index == b].sum()) for b in range(15)) / len(q)
    assert value("oracle-ece", z, y, posterior=q) == pytest.approx(expected, rel=1e-9)
    assert value("oracle-kl", z, y, posterior=q) == pytest.approx((q * np.log(q / p)).sum(1).mean(), rel=1e-9)
    assert value("oracle-kl", np.log(q), y, posterior=q) == pytest.approx(0, abs=1e-12)
    assert value("oracle-ece", np.log(q), y, posterior=q) == pytest.approx(0, abs=1e-12)


def test_oracle_kl_of_certain_truth_is_the_nll():
    z, y, _ = cell()
    assert value("oracle-kl", z, y, posterior=np.eye(4)[y]) == pytest.approx(value("nll", z, y), rel=1e-9)


def test_oracle_metrics_need_a_posterior():
    z, y, q = cell()
    with pytest.raises(ValueError, match="posterior="):
        value("oracle-kl", z, y)
    with pytest.raises(ValueError, match="posterior: shape"):
        value("oracle-kl", z, y, posterior=q[:, :2])
    with pytest.raises(ValueError, match="posterior: row 0 sums to 2"):
        value("oracle-kl", z, y, posterior=2 * q)


def tempered_nll(inverse, z, y):
    return -log_softmax(inverse * z, axis=1)[np.arange(len(y)), y].mean()


def tempered_brier(inverse, z, y):
    return ((softmax(inverse * z, axis=1) - np.eye(z.shape[1])[y]) ** 2).sum(1).mean()


@pytest.mark.parametrize("sharpness", [0.1, 1.0, 7.0])
@pytest.mark.parametrize(("name", "score"), [("nll", tempered_nll), ("brier", tempered_brier)])
def test_split_is_by_the_best_temperature(name, score, sharpness):
    z, y, _ = cell(sharpness=sharpness)
    best = minimize_scalar(score, bounds=(0.05, 20), args=(z, y), method="bounded", options={"xatol": 1e-9}).fun
    found = evaluate(logits=z, labels=y, metrics=[name, f"{name}-refinement", f"{name}-calibration"])
    assert found[f"{name}-refinement"] == pytest.approx(best, rel=1e-6)
    assert found[f"{name}-calibration"] + best == pytest.approx(found[name], rel=1e-6)
    as_probabilities = evaluate(probabilities=softmax(z, axis=1), labels=y, metrics=[f"{name}-refinement"])
    assert as_probabilities[f"{name}-refinement"] == pytest.approx(best, rel=1e-6)


def test_splits_do_not_depend_on_the_temperature_they_start_from():
    z, y, _ = cell()
    assert value("nll-refinement", 3 * z, y) == pytest.approx(value("nll-refinement", z, y), rel=1e-6)


def test_auroc_and_aurc_against_pairs_and_prefixes():
    z, y, _ = cell(n=300)
    conf, correct = top(z, y)
    right, wrong = conf[correct == 1], conf[correct == 0]
    pairs = 100 * (right[:, None] > wrong).mean()
    assert value("misclassification-auroc", z, y) == pytest.approx(pairs, rel=1e-9)
    errors = 1 - correct[np.argsort(-conf)]
    assert value("aurc", z, y) == pytest.approx(100 * (errors.cumsum() / np.arange(1, 301)).mean(), rel=1e-9)


def test_auroc_with_ties_and_without_errors():
    p = np.array([[0.8, 0.2]] * 4)
    auroc = registry.create("misclassification-auroc")
    assert auroc(probabilities=p, labels=[0, 0, 1, 1]) == 50
    assert np.isnan(auroc(probabilities=p, labels=[0, 0, 0, 0]))
    aurc = registry.create("aurc")  # equal confidences: the mean over all orders
    assert aurc(probabilities=p, labels=[0, 0, 1, 1]) == pytest.approx(50)
