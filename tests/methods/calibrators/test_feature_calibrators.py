"""The calibrators that read features, and the kernel and gap maps, against their formulas in float64."""

import math
import warnings

import numpy as np
import pytest
import torch
from fast_set import slowly
from scipy.optimize import minimize
from scipy.special import gammaln, log_softmax, logsumexp, softmax
from scipy.stats import dirichlet
from sklearn.neighbors import NearestNeighbors

from calbench.benchmark import metrics
from calbench.methods import registry
from calbench.methods.calibrators._top import SLACK, with_confidence
from calbench.methods.calibrators.temperature.smart import soft_ece
from calbench.methods.solvers.temperature_table import TemperatureTable


def planted(rows=500, classes=4, temperature=2.5, seed=0):
    """Over-confident logits (float64), labels, and features of which the first says how over-confident."""
    generator = torch.Generator().manual_seed(seed)
    true = 2 * torch.randn(rows, classes, generator=generator, dtype=torch.float64)
    labels = torch.multinomial(true.softmax(1), 1, generator=generator).squeeze(1)
    features = torch.randn(rows, 3, generator=generator, dtype=torch.float64)
    return true * torch.where(features[:, :1] > 0, temperature, 1.0), labels, features


def nll(scores, labels):
    return -log_softmax(scores, axis=1)[np.arange(len(labels)), labels].mean()


def distances(points, reference, k, *, itself):
    found, _ = NearestNeighbors(n_neighbors=k + itself).fit(reference).kneighbors(points)
    return found[:, int(itself) :].mean(1)


def test_logit_clipping_takes_the_bound_with_the_lowest_ece():
    logits, labels, _ = planted()
    sizes, top = logits.abs().amax(1), logits.argmax(1, keepdim=True)
    correct, values = (top[:, 0] == labels).double(), {}
    for bound in torch.quantile(sizes, torch.linspace(0, 1, 100).double()).tolist():
        confidence = logits.clamp(-bound, bound).softmax(1).gather(1, top)[:, 0]
        cell = (confidence * 15).ceil()
        values[bound] = sum(abs(float((correct - confidence)[cell == b].sum())) for b in range(1, 16)) / len(labels)
    fitted = registry.create("logit-clipping").fit(logits, labels)
    assert values[fitted.bound_] == pytest.approx(min(values.values()), abs=5e-3)
    torch.testing.assert_close(fitted.transform(logits), logits.clamp(-fitted.bound_, fitted.bound_))


def test_feature_clipping_recovers_the_classifier():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(800, 6, generator=generator, dtype=torch.float64).abs() ** 1.5
    weight = 2 * torch.randn(5, 6, generator=generator, dtype=torch.float64)
    bias = torch.randn(5, generator=generator, dtype=torch.float64)
    logits = features @ weight.T + bias
    labels = torch.multinomial((features.clamp(max=1.2) @ weight.T + bias).softmax(1), 1, generator=generator).squeeze(
        1
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted = registry.create("feature-clipping", criterion="nll").fit(logits, labels, features=features)
    torch.testing.assert_close(fitted.weight_, weight, rtol=1e-5, atol=1e-5)
    expected = features.clamp(-fitted.bound_, fitted.bound_) @ weight.T + bias
    torch.testing.assert_close(fitted.transform(logits, features=features), expected, rtol=1e-5, atol=1e-5)
    assert fitted.bound_ == pytest.approx(1.2, rel=0.15)
    with pytest.warns(UserWarning, match="explains"):
        registry.create("feature-clipping").fit(logits, labels, features=torch.randn(800, 6, generator=generator))


def test_density_aware_is_at_the_optimum_of_its_two_weights():
    logits, labels, features = planted()
    features *= torch.where(features[:, :1] > 0, 6, 1)  # far from each other where over-confident
    z, y = logits.numpy(), labels.numpy()
    unit = (features - features.mean(0)) / (features - features.mean(0)).square().mean().sqrt()
    s = distances(unit.numpy(), unit.numpy(), 10, itself=True)
    base = registry.create("temperature-scaling").fit(logits, labels).temperature_

    def objective(point):
        return nll(z / (base * (point[0] ** 2 * s / s.mean() + point[1] ** 2))[:, None], y)

    reference = minimize(objective, [0.3, 0.8], method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-12}).fun
    fitted = registry.create("density-aware").fit(logits, labels, features=features)
    assert objective([math.sqrt(fitted.slope_), math.sqrt(fitted.offset_)]) <= reference + 1e-5
    assert reference < nll(z / base, y) - 0.005
    other = torch.randn(20, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    far = ((other - features.mean(0)) / (features - features.mean(0)).square().mean().sqrt()).numpy()
    factors = fitted.slope_ * distances(far, unit.numpy(), 10, itself=False) / s.mean() + fitted.offset_
    expected = z[:20] / (base * factors)[:, None]
    np.testing.assert_allclose(fitted.transform(logits[:20], features=other).numpy(), expected, rtol=1e-4)


def log_density(points, sample):
    """log f of a product-Gaussian kernel density with the normal reference rule."""
    width = 1.06 * sample.std(0, ddof=0) * len(sample) ** (-1 / 6)
    squares = ((points[:, None] - sample) / width) ** 2
    return logsumexp(-squares.sum(2) / 2, axis=1) - np.log(len(sample) * 2 * np.pi * width.prod())


def test_laplace_has_the_variance_of_the_whole_posterior():
    logits, labels, features = planted(120)
    f = ((features - features.mean(0)) / (features - features.mean(0)).square().mean().sqrt()).float().double().numpy()
    f = np.pad(f, ((0, 0), (0, 1)), constant_values=1)
    p = softmax(logits.numpy(), axis=1)
    of_classes = sum(np.diag(row) - np.outer(row, row) for row in p)
    precision = np.kron(f.T @ f / len(f), of_classes) + 3.0 * np.eye(16)
    covariance = np.linalg.inv(precision)
    expected = np.empty_like(p)
    for i, row in enumerate(f):
        for k in range(4):
            jacobian = np.kron(row, np.eye(4)[k])
            expected[i, k] = logits[i, k] / math.sqrt(1 + math.pi / 8 * jacobian @ covariance @ jacobian)
    fitted = registry.create("laplace", prior_precision=3.0).fit(logits, labels, features=features)
    np.testing.assert_allclose(fitted.transform(logits, features=features).numpy(), expected, rtol=1e-5)


def test_laplace_takes_the_prior_precision_with_the_lowest_nll():
    logits, labels, features = planted(400)
    fitted = registry.create("laplace").fit(logits, labels, features=features)
    best = nll(fitted.transform(logits, features=features).numpy(), labels.numpy())
    for factor in (0.1, 0.5, 2, 10):
        other = registry.create("laplace", prior_precision=factor * fitted.precision_)
        other.fit(logits, labels, features=features)
        assert best <= nll(other.transform(logits, features=features).numpy(), labels.numpy()) + 1e-5
    assert best < nll(logits.numpy(), labels.numpy()) - 0.01
    far = fitted.predict_proba(logits, features=100 * features).amax(1).mean()
    assert far < fitted.predict_proba(logits, features=features).amax(1).mean() - 0.1


@pytest.mark.parametrize("prior", [0.0, 1.0])
def test_procal_is_the_ratio_of_two_kernel_densities(prior):
    logits, labels, features = planted()
    p = softmax(logits.numpy(), axis=1)
    q, correct = p.max(1), p.argmax(1) == labels.numpy()
    unit = features.numpy() / np.linalg.norm(features.numpy(), axis=1, keepdims=True)
    pairs = np.stack([q, np.exp(-distances(unit, unit, 10, itself=True))], 1)
    points = np.stack([q, np.exp(-distances(unit, unit, 10, itself=False))], 1)
    right, wrong = (prior + keep.sum() * np.exp(log_density(points, pairs[keep])) for keep in (correct, ~correct))
    fitted = registry.create("procal", prior=prior).fit(logits, labels, features=features)
    expected = with_confidence(logits, torch.from_numpy(right / (right + wrong)))
    np.testing.assert_allclose(fitted.transform(logits, features=features).numpy(), expected.numpy(), rtol=1e-2)
    assert float(expected.exp().amax(1).min()) >= (1 + SLACK) / 4 - 1e-9


def test_the_temperature_table_is_exact_to_six_digits():
    logits, labels, _ = planted(50)
    table = TemperatureTable(logits / 2, labels)
    for log_t in (-2.97, -0.3, 0.0, 0.511, 2.9):
        point = torch.tensor(log_t, dtype=torch.float64, requires_grad=True)
        with torch.enable_grad():
            values = table.at(point[None], slice(None))[:, 0]
            values.sum().backward()

        def exact(x):
            return (logits / 2 / math.exp(x)).log_softmax(1).gather(1, labels[:, None]).squeeze(1)

        torch.testing.assert_close(values.detach(), exact(log_t), atol=1e-4, rtol=1e-5)
        slope = (exact(log_t + 1e-6) - exact(log_t - 1e-6)).sum() / 2e-6
        assert float(point.grad) == pytest.approx(float(slope), rel=2e-3, abs=1e-3)


@pytest.mark.parametrize("offset", [False, *slowly(True)])
def test_group_calibration_finds_the_group_that_is_overconfident(offset):
    logits, labels, features = planted(1500)
    test, test_labels, test_features = planted(1500, seed=1)
    fitted = registry.create("group-calibration", hard=False, offset=offset).fit(logits, labels, features=features)
    single = registry.create("temperature-scaling").fit(logits, labels)
    ours = fitted.transform(test, features=test_features)
    assert nll(ours.numpy(), test_labels.numpy()) < nll(single.transform(test).numpy(), test_labels.numpy()) - 0.02
    center = features.mean(0) if offset else torch.zeros_like(features.mean(0))
    unit = (features - center) / (features - center).square().mean().sqrt()
    unit = torch.nn.functional.pad(unit, (0, int(offset)), value=1)
    mixture = 0
    for weight, temperatures in zip(fitted.weight_, fitted.temperatures_, strict=True):
        shares = (unit @ weight.T).softmax(1)
        parts = [share[:, None] * (logits / t).softmax(1) for share, t in zip(shares.T, temperatures, strict=True)]
        mixture = mixture + sum(parts) / 20
    torch.testing.assert_close(fitted.predict_proba(logits, features=features), mixture, rtol=1e-6, atol=1e-9)
    refitted = registry.create("group-calibration", offset=offset).fit(logits, labels, features=features)
    total = 0
    for weight in refitted.weight_:  # the same groups, each with the temperature that fits it best
        group, mapped = (unit @ weight.T).argmax(1), torch.empty_like(logits)
        for g in group.unique():
            rows = group == g
            mapped[rows] = (
                registry.create("temperature-scaling").fit(logits[rows], labels[rows]).transform(logits[rows])
            )
        total = total + mapped.softmax(1) / 20
    torch.testing.assert_close(refitted.weight_, fitted.weight_)
    torch.testing.assert_close(refitted.predict_proba(logits, features=features), total, rtol=1e-6, atol=1e-9)


def test_the_soft_ece_of_smart_is_its_formula():
    q = np.array([0.31, 0.5, 0.77, 0.98])
    c = np.array([0.0, 1, 1, 1])
    members = []
    for value in q:
        u = [math.exp(-((value - (b + 0.5) / 15) ** 2) / (2 * 0.05**2)) for b in range(15)]
        members.append([x / sum(u) for x in u])
    members = np.array(members)
    gaps = (members * (c - q)[:, None]).sum(0) / members.sum(0).clip(1e-6)
    expected = (members.mean(0) * np.sqrt(gaps**2 + 1e-6)).sum()
    assert float(soft_ece(torch.from_numpy(q), torch.from_numpy(c), 0.05)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.slow
def test_smart_reads_the_gap_of_the_two_largest_logits_only():
    logits, labels, _ = planted()
    fitted = registry.create("smart", steps=100).fit(logits, labels)
    changed = logits.clone()
    changed.scatter_(1, logits.argsort(1)[:, :2], -30.0)  # all but the two largest
    torch.testing.assert_close(fitted.temperatures(changed), fitted.temperatures(logits))
    before = metrics.evaluate(logits=logits, labels=labels, metrics=["ece"])["ece"]
    assert metrics.evaluate(logits=fitted.transform(logits), labels=labels, metrics=["ece"])["ece"] < 0.8 * before


def test_kernel_is_the_nadaraya_watson_estimate():
    logits, labels, _ = planted(80)
    test, _, _ = planted(10, seed=1)
    p, points = softmax(logits.numpy(), axis=1), softmax(test.numpy(), axis=1)
    weights = np.array([[dirichlet.pdf(point / point.sum(), centre / 0.05 + 1) for centre in p] for point in points])
    expected = weights @ np.eye(4)[labels.numpy()] / weights.sum(1, keepdims=True)
    ours = registry.create("kernel", bandwidth=0.05).fit(logits, labels).predict_proba(test).numpy()
    np.testing.assert_allclose(ours, expected, atol=2e-6)


def test_kernel_chooses_the_bandwidth_of_the_best_left_out_likelihood():
    logits, labels, _ = planted(120)
    p, y = softmax(logits.numpy(), axis=1), labels.numpy()
    losses = {}
    for h in (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0):
        alpha = p / h + 1
        log_k = np.log(p) @ (alpha - 1).T + gammaln(alpha.sum(1)) - gammaln(alpha).sum(1)
        np.fill_diagonal(log_k, -np.inf)
        q = (softmax(log_k, axis=1) @ np.eye(4)[y]).clip(np.finfo(np.float32).eps, 1)
        losses[h] = -np.log(q[np.arange(120), y] / q.sum(1)).sum()
    assert registry.create("kernel").fit(logits, labels).bandwidth_ == min(losses, key=losses.get)
