"""h-calibration against its definition in plain Python, and AdaTS where the features say how confident to be."""

import numpy as np
import pytest
import torch
from torch.distributions import Normal, kl_divergence

from calbench.methods import registry
from calbench.methods.calibrators.features.ada_ts import ConditionalAutoencoder
from calbench.methods.calibrators.temperature.h_calibration import CLUSTERS, window_error


def test_the_window_error_is_its_definition():
    generator = torch.Generator().manual_seed(0)
    p = (2 * torch.randn(40, 5, generator=generator, dtype=torch.float64)).softmax(1)
    labels = torch.randint(5, (40,), generator=generator)
    pairs = sorted((float(p[i, k]), float(labels[i] == k)) for i in range(40) for k in range(5))
    window, errors = 21, []
    for i in range(200):
        inside = pairs[max(0, i - 10) : i + 11]
        errors.append(abs(sum(q - o for q, o in inside)) / window)
    values = np.array([q for q, _ in pairs])
    centres = (np.arange(CLUSTERS) + 0.5) / CLUSTERS
    for _ in range(10):
        place = np.abs(values[:, None] - centres).argmin(1)
        centres = np.array([values[place == c].mean() if (place == c).any() else centres[c] for c in range(CLUSTERS)])
    place = np.abs(values[:, None] - centres).argmin(1)
    expected = sum(np.array(errors)[place == c].mean() for c in range(CLUSTERS) if (place == c).any()) / CLUSTERS
    assert float(window_error(p, labels, window)) == pytest.approx(expected)


@pytest.mark.slow
def test_h_calibration_is_a_mixture_of_temperatures_that_calibrates():
    generator = torch.Generator().manual_seed(1)
    true = 2 * torch.randn(4000, 4, generator=generator)
    labels = torch.multinomial(true.softmax(1), 1, generator=generator).squeeze(1)
    fitted = registry.create("h-calibration").fit(3 * true, labels)
    p = fitted.predict_proba(3 * true)
    mixture = sum(w * (a * 3 * true).softmax(1) for a, w in zip(fitted.slopes_, fitted.weights_, strict=True))
    torch.testing.assert_close(p, mixture, atol=1e-6, rtol=1e-5)
    assert float((p - true.softmax(1)).abs().mean()) < 0.02
    assert float(((3 * true).softmax(1) - true.softmax(1)).abs().mean()) > 0.06


@pytest.mark.slow
def test_ada_ts_lowers_the_confidence_where_the_features_ask_for_it():
    generator = torch.Generator().manual_seed(2)
    true = 2 * torch.randn(3000, 4, generator=generator)
    labels = torch.multinomial(true.softmax(1), 1, generator=generator).squeeze(1)
    sure = torch.rand(3000, generator=generator) > 0.5
    centre = torch.where(sure, 1.0, -1.0)[:, None].expand(-1, 20)
    features = torch.cat([centre, true.softmax(1)], 1) + 0.3 * torch.randn(3000, 24, generator=generator)
    logits = true * torch.where(sure, 3.0, 1.0)[:, None]
    fitted = registry.create("ada-ts").fit(logits, labels, features=features)
    again = fitted.transform(logits, features=features)
    assert torch.equal(again, fitted.transform(logits, features=features)), "nothing is sampled after the fit"
    ratio = (again / logits)[:, 0]
    assert float(ratio[sure].median()) < 0.85 * float(ratio[~sure].median())


def test_the_bound_of_ada_ts_is_the_laplace_likelihood_less_the_divergence():
    network = ConditionalAutoencoder(width=3, num_classes=4, latent=2, hidden=8).double().eval()
    features, labels = torch.randn(6, 3, dtype=torch.float64), torch.randint(4, (6,))
    bound, temperatures = network.bound_and_temperatures(features, labels)
    total = 0.0
    for x, y in zip(features, labels, strict=True):
        mean, raw = network.encoder(x).chunk(2)
        code = Normal(mean, raw.exp().log1p().clamp_min(1e-3))
        where, spread = network.prior.weight[y].chunk(2)
        prior = Normal(where, spread.exp().log1p().clamp_min(1e-3))
        likelihood = (-(network.decoder(mean) - x).abs() - np.log(2)).sum()
        total += (kl_divergence(code, prior).sum() - likelihood).item() / 6
    assert bound.item() == pytest.approx(total)
    assert temperatures.tolist() == pytest.approx([1.0] * 6)
