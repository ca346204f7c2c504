"""Vector scaling and BCTS with more classes than a Hessian is made for: the optimum of an independent solver."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from calbench import BiasCorrectedTS, VectorScaling
from calbench.methods.solvers import class_scaling, newton_steps


def planted(rows=900, classes=25, seed=0):
    rng = np.random.default_rng(seed)
    true = 2 * rng.normal(size=(rows, classes))
    labels = (true + rng.gumbel(size=true.shape)).argmax(1)
    return (true - 0.3 * rng.normal(size=classes)) / rng.uniform(0.4, 0.8, classes), labels


def nll(parameters, logits, labels, shared):
    size = 1 if shared else logits.shape[1]
    scores = logits * parameters[:size] + parameters[size:]
    scores = scores - scores.max(1, keepdims=True)
    masses = np.exp(scores)
    p = masses / masses.sum(1, keepdims=True)
    rows = np.arange(len(labels))
    gap = p.copy()
    gap[rows, labels] -= 1
    of_weight = (gap * logits).mean(0)
    gradient = np.concatenate([[of_weight.sum()] if shared else of_weight, gap.mean(0)])
    return -np.log(p[rows, labels]).mean(), gradient


@pytest.mark.parametrize("cls", [VectorScaling, BiasCorrectedTS])
@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e3])
def test_the_optimum_is_that_of_scipy(monkeypatch, cls, scale):
    monkeypatch.setattr(class_scaling, "MOST_DENSE", 0)
    logits, labels = planted()
    shared = cls is BiasCorrectedTS
    start = np.concatenate([np.ones(1 if shared else 25), np.zeros(25)])
    best = minimize(nll, start, (logits, labels, shared), jac=True, method="L-BFGS-B", options={"maxiter": 2000})
    fitted = cls().fit(scale * logits, labels)
    z = fitted.transform(scale * logits)
    reached = nll(np.concatenate([np.ones(1), np.zeros(25)]), z, labels, True)[0]
    assert best.fun - 1e-9 <= reached <= best.fun + class_scaling.ACCEPTED


@pytest.mark.parametrize("size", [1, 6])
def test_products_with_the_estimated_hessian_are_those_of_the_hessian(monkeypatch, size):
    monkeypatch.setattr(newton_steps, "SHARE", 0.0)
    monkeypatch.setattr(newton_steps, "PRECISION", 1e-10)
    monkeypatch.setattr(newton_steps, "ITERATIONS", 200)
    logits, labels = planted(rows=100, classes=6)
    point = np.concatenate([np.full(size, 0.7), 0.1 * np.arange(6)])
    step = 1e-6
    columns = []
    for direction in np.eye(len(point)):
        up, down = (nll(point + sign * step * direction, logits, labels, size == 1)[1] for sign in (1, -1))
        columns.append((up - down) / (2 * step))
    hessian = np.array(columns)
    vector = hessian @ np.linspace(-1, 1, len(point))
    solve = newton_steps.newton_solver(torch.tensor(logits), torch.tensor(point), size)
    solution = solve(torch.tensor(vector)).numpy()
    np.testing.assert_allclose(hessian @ solution, vector, atol=1e-6 * abs(vector).max())


def test_nothing_of_k_times_k_is_made(monkeypatch):
    sizes = []
    zeros = torch.zeros

    def watched(*shape, **options):
        made = zeros(*shape, **options)
        sizes.append(made.numel())
        return made

    monkeypatch.setattr(torch, "zeros", watched)
    logits, labels = planted(rows=1200, classes=600)
    with pytest.warns(UserWarning, match="no calibration row of classes|separates a class"):
        VectorScaling().fit(logits.astype(np.float32), labels)
    assert max(sizes) < 600 * 600 / 4


@pytest.mark.slow
def test_a_fit_in_float32_ends_at_the_optimum():
    """Half of g . H^-1 g, with the whole Hessian in float64, is what a Newton step could still gain."""
    logits, labels = planted(rows=8000, classes=280)
    fitted = VectorScaling().fit(logits.astype(np.float32), labels)
    point = np.concatenate([fitted.weight_.double().numpy(), fitted.bias_.double().numpy()])
    start = np.concatenate([np.full(280, 0.5), np.zeros(280)])
    value, gradient = nll(point, logits, labels, False)
    scores = logits * point[:280] + point[280:]
    p = np.exp(scores - scores.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    slopes = np.concatenate([p * logits, p], axis=1)
    hessian = -slopes.T @ slopes / len(logits)
    k = np.arange(280)
    hessian[k, k] += (p * logits**2).mean(0)
    hessian[k, k + 280] += (p * logits).mean(0)
    hessian[k + 280, k] += (p * logits).mean(0)
    hessian[k + 280, k + 280] += p.mean(0)
    gain = gradient @ np.linalg.lstsq(hessian + 1e-9 * np.eye(560), gradient, rcond=None)[0] / 2
    assert gain < 2 * class_scaling.ENOUGH
    assert np.abs(gradient).max() < 0.03 * np.abs(nll(start, logits, labels, False)[1]).max()
    assert value < nll(start, logits, labels, False)[0]
