"""The heads with logits of their own (abet, godin) and the loss on normalised logits, against their formulas."""

import numpy as np
import pytest
import torch

from calbench.methods import BackboneInfo, Outputs, Representation, registry

VIT = BackboneInfo("vit-micro", 16, has_cls_token=True, has_patch_tokens=True)
N, K = 12, 5


def features(seed=0):
    return torch.randn(N, 16, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def built(name, **options):
    torch.manual_seed(0)
    return registry.create(name, **options).build(VIT, K).double()


def expected_temperature(module, f, floor=0.0):
    weight, bias = (p.detach().numpy() for p in module.temperature.linear.parameters())
    raw = f.numpy() @ weight[0] + bias
    normed = (raw - raw.mean()) / np.sqrt(raw.var() + 1e-5)
    return 1 / (1 + np.exp(-normed)) + floor


def cosines(f, w):
    return np.array([[a @ b / np.linalg.norm(a) / np.linalg.norm(b) for b in w] for a in f])


SIMILARITIES = {
    "cosine": cosines,
    "euclidean": lambda f, w: np.array([[-((a - b) ** 2).sum() for b in w] for a in f]),
    "inner": lambda f, w: f @ w.T,
}


@pytest.mark.parametrize(
    ("name", "options", "similarity"),
    [("abet", {}, "cosine"), *(("godin", {"similarity": one}, one) for one in SIMILARITIES)],
)
def test_logits_are_a_similarity_over_a_learned_temperature(name, options, similarity):
    module, f = built(name, **options), features()
    logits, temperature = module(Representation(torch.zeros(N, K), f))
    expected = expected_temperature(module, f, 1e-12 if name == "abet" else 0.0)
    np.testing.assert_allclose(temperature.detach().numpy(), expected, rtol=1e-6)
    weight = module.similarity.weight.detach().numpy()
    raw = SIMILARITIES[similarity](f.numpy(), weight)
    np.testing.assert_allclose(logits.detach().numpy(), raw / expected[:, None], rtol=1e-6, atol=1e-9)


def test_the_classifier_of_the_backbone_is_not_read():
    module, f = built("abet").eval(), features()
    first = module(Representation(torch.zeros(N, K), f))[0]
    assert torch.equal(first, module(Representation(torch.full((N, K), 9.0), f))[0])


def test_cosine_logits_do_not_depend_on_the_length_of_the_feature_but_through_the_temperature():
    module, f = built("abet").eval(), features()
    logits, temperature = module(Representation(torch.zeros(N, K), f))
    longer, other = module(Representation(torch.zeros(N, K), 3 * f))
    torch.testing.assert_close(logits * temperature[:, None], longer * other[:, None])
    assert not torch.allclose(temperature, other)


def test_abet_learns_a_lower_temperature_where_samples_are_classified_well():
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(K, (1500,), generator=generator)
    noisy = torch.rand(1500, generator=generator) < 0.5
    shown = torch.where(noisy, torch.randint(K, (1500,), generator=generator), labels)
    f = 3 * torch.eye(16)[shown] + torch.where(noisy, 1.0, -1.0)[:, None] * torch.eye(16)[15]
    torch.manual_seed(0)
    module = registry.create("abet").build(VIT, K)
    optimizer = torch.optim.Adam(module.parameters(), lr=0.05)
    for _ in range(80):
        optimizer.zero_grad()
        logits, temperature = module(Representation(torch.zeros(1500, K), f))
        torch.nn.functional.cross_entropy(logits, labels).backward()
        optimizer.step()
    assert temperature[noisy].mean() > 2 * temperature[~noisy].mean()


@pytest.mark.parametrize("t", [0.04, 0.5])
def test_logit_norm_is_its_formula(t):
    logits = torch.randn(N, K, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    labels = torch.arange(N) % K
    z = logits.numpy() / (np.linalg.norm(logits.numpy(), axis=1, keepdims=True) + 1e-7) / t
    expected = np.mean(np.log(np.exp(z).sum(axis=1)) - z[np.arange(N), labels])
    objective = registry.create("logit-norm", temperature=t)
    assert objective.loss(Outputs(logits, logits), labels).item() == pytest.approx(expected, rel=1e-9)
    soft = torch.nn.functional.one_hot(labels, K).double()
    assert objective.loss(Outputs(logits, logits), soft).item() == pytest.approx(expected, rel=1e-9)
    assert objective.loss(Outputs(7 * logits, logits), labels).item() == pytest.approx(expected, rel=1e-4)
