import math

import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from scipy.special import entr, softmax

from calbench.methods import registry
from calbench.methods.solvers.iso_entropy import iso_entropy_temperatures
from calbench.methods.solvers.temperature_network import robust_loss


@pytest.mark.parametrize("num_classes", [2, 10, 100])
@pytest.mark.parametrize("share", [0.02, 0.4, 0.97])
def test_every_sample_has_the_entropy(num_classes, share):
    logits = 5 * torch.randn(50, num_classes, generator=torch.Generator().manual_seed(num_classes))
    target = share * math.log(num_classes)
    tau = iso_entropy_temperatures(logits, target).numpy()
    for z, t in zip(logits.double().numpy(), tau, strict=True):
        by_root = brentq(lambda log_t, z=z: entr(softmax(z / math.exp(log_t))).sum() - target, -10, 15, xtol=1e-13)
        assert math.log(t) == pytest.approx(by_root, abs=1e-6)


def test_constant_and_tied_rows_stay_finite():
    logits = torch.tensor([[1.0, 1.0, 1.0], [2.0, 2.0, 0.0], [3.0, 0.0, 0.0]])
    tau = iso_entropy_temperatures(logits, 0.1)
    assert torch.isfinite(tau).all()
    assert tau[0] == 1


@pytest.mark.parametrize("label", [0, 3])
def test_it_is_the_optimum_of_the_robust_loss_whatever_the_labels(label):
    logits = 3 * torch.randn(6, 5, generator=torch.Generator().manual_seed(1)).double()
    rho, labels = 0.9, torch.full((6,), label)
    tau = iso_entropy_temperatures(logits, math.log(5) - rho).requires_grad_()
    robust_loss(logits, labels, tau, rho).backward()
    assert tau.grad.abs().max() < 1e-7
    for i in range(6):
        losses = [robust_loss(logits[i : i + 1], labels[:1], tau[i : i + 1] * f, rho) for f in (0.9, 1, 1.1)]
        assert losses[1] < min(losses[0], losses[2])


def test_the_fitted_entropy_is_the_best_of_a_grid():
    generator = torch.Generator().manual_seed(0)
    logits = 4 * torch.randn(400, 6, generator=generator)
    labels = torch.multinomial((logits / 2).softmax(1), 1, generator=generator).squeeze(1)
    calibrator = registry.create("iso-entropy").fit(logits, labels)

    def nll(entropy):
        scaled = logits.double() / iso_entropy_temperatures(logits, entropy)[:, None]
        return torch.nn.functional.cross_entropy(scaled, labels).item()

    grid = np.linspace(0.05, math.log(6) - 0.05, 60)
    assert nll(calibrator.entropy_) <= min(map(nll, grid)) + 1e-9
