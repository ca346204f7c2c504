import numpy as np
import pytest
import torch
from fast_set import slowly

from calbench.benchmark.core.errors import InputError
from calbench.methods import Augmentation, registry

AUGMENTATIONS = [
    n for n in registry if issubclass(registry[n], Augmentation) and registry[n].__module__.startswith("calbench.")
]
ENLARGING = ["reg-mixup"]
"""Augmentations that give more samples than the batch has."""
CONVEX = [n for n in AUGMENTATIONS if n not in (*ENLARGING, "cutmix")]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def batch(size=16):
    """Images that hold their own row of the targets, so that any mixing must keep the two equal."""
    targets = torch.eye(size)
    return targets.reshape(size, 1, 4, size // 4).clone(), targets


@pytest.mark.parametrize("name", CONVEX)
def test_images_and_targets_are_mixed_alike(name):
    images, targets = batch()
    mixed, distributions = registry.create(name, alpha=1.0).mix(images, targets, generator())
    assert mixed.shape == images.shape
    assert mixed.dtype == images.dtype
    torch.testing.assert_close(mixed.flatten(1), distributions)
    torch.testing.assert_close(distributions.sum(dim=1), torch.ones(16))
    assert (distributions >= 0).all()
    # Every sample takes part with the same weights.
    torch.testing.assert_close(distributions.sum(dim=0), torch.ones(16))
    assert ((distributions > 0).sum(dim=1) >= 2).any()
    assert torch.equal(targets, torch.eye(16)), "the batch itself is unchanged"
    assert torch.equal(images.flatten(1), targets)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_the_generator_decides_everything(name):
    augmentation = registry.create(name)
    first = augmentation.mix(*batch(), generator(1))[1]
    torch.manual_seed(5)
    before = torch.get_rng_state()
    again = augmentation.mix(*batch(), generator(1))[1]
    assert torch.equal(first, again)
    assert torch.equal(before, torch.get_rng_state())
    assert not torch.equal(first, augmentation.mix(*batch(), generator(2))[1])
    shared = generator(1)
    augmentation.mix(*batch(), shared)
    assert not torch.equal(first, augmentation.mix(*batch(), shared)[1]), "the generator moves on"


@pytest.mark.parametrize("name", AUGMENTATIONS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_types_are_kept(name, dtype):
    images, targets = batch()
    mixed, distributions = registry.create(name).mix(images.to(dtype), targets, generator())
    assert mixed.dtype == dtype
    assert distributions.dtype == targets.dtype


@pytest.mark.parametrize("name", [n for n in AUGMENTATIONS if n not in ENLARGING])
def test_one_sample_is_itself(name):
    image = torch.rand(1, 3, 2, 2)
    mixed, distribution = registry.create(name).mix(image, torch.tensor([[0.0, 1.0]]), generator())
    torch.testing.assert_close(mixed, image)
    torch.testing.assert_close(distribution, torch.tensor([[0.0, 1.0]]))


def own_weights(augmentation, draws=1000):
    """The weight of one sample's own label over many batches whose partners all have another label."""
    targets = torch.zeros(64, 2)
    targets[:, 1] = 1
    targets[0] = torch.tensor([1.0, 0.0])
    images, shared = torch.zeros(64, 1, 1, 1), generator()
    return np.array([augmentation.mix(images, targets, shared)[1][0, 0].item() for _ in range(draws)])


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_mixup_weight_is_beta(alpha):
    weights = own_weights(registry.create("mixup", alpha=alpha))
    # Beta(a, a) has mean 1/2 and variance 1 / (4 (2a + 1)); the sample drawn as its own partner adds 1/128 to the mean.
    assert weights.mean() == pytest.approx(0.5 + 1 / 128, abs=0.035)
    assert weights.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.1)


@pytest.mark.parametrize("d", [2, *slowly(1, 4)])
def test_d_mixup_weight_is_dirichlet(d):
    weights = own_weights(registry.create("d-mixup", d=d, alpha=1.0))
    points = d + 1
    assert weights.mean() == pytest.approx(1 / points, abs=0.035)
    assert weights.var() == pytest.approx((points - 1) / points**2 / (points + 1), rel=0.15)


def test_d_mixup_of_one_partner_is_mixup():
    pair = registry.create("d-mixup", d=1, alpha=0.4).mix(*batch(), generator(9))[1]
    assert torch.equal(pair, registry.create("mixup", alpha=0.4).mix(*batch(), generator(9))[1])


def test_tiny_alpha_gives_whole_samples():
    distributions = registry.create("mixup", alpha=1e-4).mix(*batch(), generator())[1]
    assert torch.isfinite(distributions).all()
    torch.testing.assert_close(distributions.max(dim=1).values, torch.ones(16))


@pytest.mark.parametrize(
    ("name", "options"),
    [("mixup", {"alpha": 0}), ("d-mixup", {"d": 0}), ("d-mixup", {"alpha": -1}), ("mixup", {"d": 1})],
)
def test_bad_options_are_refused(name, options):
    with pytest.raises(InputError, match=name):
        registry.create(name, **options)


def test_reg_mixup_is_the_batch_and_its_mixup():
    images, targets = batch()
    both, distributions = registry.create("reg-mixup", alpha=0.4).mix(images, targets, generator(3))
    mixed, mixed_targets = registry.create("mixup", alpha=0.4).mix(images, targets, generator(3))
    assert torch.equal(both, torch.cat([images, mixed]))
    assert torch.equal(distributions, torch.cat([targets, mixed_targets]))


def test_cutmix_targets_are_the_shares_of_pixels():
    images = torch.arange(24.0).view(24, 1, 1, 1).expand(24, 2, 8, 10).contiguous()
    targets, shared, areas = torch.eye(24), generator(), []
    for _ in range(80):
        mixed, distributions = registry.create("cutmix").mix(images, targets, shared)
        own = (mixed == images).float().mean(dim=(1, 2, 3))
        for i in range(24):
            other = int(distributions[i].argsort(descending=True)[:2].tolist()[int(distributions[i].argmax() == i)])
            if distributions[i, i] < 1:
                torch.testing.assert_close(distributions[i, i], own[i])
                torch.testing.assert_close(distributions[i, other], (mixed[i] == other).float().mean())
        changed = (mixed != images).any(dim=0)[0]
        if changed.any():  # one box: as many changed pixels as the rectangle around them
            rows, columns = changed.any(1).nonzero(), changed.any(0).nonzero()
            box = (rows.max() - rows.min() + 1) * (columns.max() - columns.min() + 1)
            assert int(changed.sum()) == int(box)
        areas.append(1 - float(own.min()))
    # 1 - l is uniform at alpha 1, and a box loses about a quarter of its mean area at the border of the image.
    assert 0.2 < np.mean(areas) < 0.45
