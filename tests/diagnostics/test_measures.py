import numpy as np
import pytest
import torch
from fast_set import slowly
from scipy.stats import entropy, kstest, spearmanr
from sklearn.metrics import roc_auc_score

from calbench.benchmark.backbones.attention import normalised_entropy
from calbench.benchmark.data.splits import random_indices
from calbench.benchmark.diagnostics.course import half_way
from calbench.benchmark.diagnostics.relations import misclassification_auroc, rank_correlation
from calbench.benchmark.diagnostics.scores import patch_attention, rollout, spikiness
from calbench.benchmark.diagnostics.significance import (
    benjamini_hochberg,
    local_fdr,
    null_p_values,
    regularised,
    shrinkage,
    sparsity,
)


def scores(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).mul(2).softmax(-1)


def test_entropy_and_spikiness_by_their_formulas():
    attention = scores(3, 2, 5, 5)
    rows = attention.double().numpy()
    expected = entropy(rows, axis=-1).mean((1, 2)) / np.log(5)
    np.testing.assert_allclose(normalised_entropy(attention), expected, rtol=1e-5)
    expected = (1 / (5 * (rows**2).sum(-1))).mean((1, 2))
    np.testing.assert_allclose(spikiness(attention), expected, rtol=1e-5)
    one_key = torch.eye(5).expand(1, 2, 5, 5)
    assert normalised_entropy(one_key).item() == 0
    assert spikiness(one_key).item() == pytest.approx(1 / 5)


def test_rollout_multiplies_the_blocks_from_the_first_on():
    first, second = scores(2, 3, 4, 4, seed=1), scores(2, 3, 4, 4, seed=2)
    one, two = (0.5 * block.mean(1) + 0.5 * torch.eye(4) for block in (first, second))
    torch.testing.assert_close(rollout([first, second]), two @ one, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(rollout([first, second]).sum(-1), torch.ones(2, 4))


def test_attention_on_patches_leaves_the_other_tokens_out():
    attention = scores(2, 3, 6, 6)
    of_cls = patch_attention(attention, 2, has_cls_token=True)
    expected = attention.mean(1)[:, 0, 2:]
    torch.testing.assert_close(of_cls, expected / expected.sum(-1, keepdim=True))
    assert patch_attention(attention, 2, has_cls_token=False).shape == (2, 4)


def test_p_values_count_the_nulls_that_are_not_smaller():
    nulls = np.arange(100.0).reshape(20, 5)
    p = null_p_values(np.array([-1.0, 50.0, 99.0, 100.0]), nulls)
    np.testing.assert_allclose(p, [1, 51 / 101, 2 / 101, 1 / 101])
    with pytest.raises(ValueError, match="at least 20"):
        null_p_values(np.zeros(3), nulls[:19])


def test_benjamini_hochberg_as_scipy_has_it():
    from scipy.stats import false_discovery_control

    rng = np.random.default_rng(0)
    p = np.concatenate([rng.uniform(size=80), rng.uniform(0, 0.002, size=20)])
    np.testing.assert_array_equal(benjamini_hochberg(p, 0.1), false_discovery_control(p) <= 0.1)
    assert not benjamini_hochberg(np.ones(5)).any()


def test_local_fdr_is_the_true_one_where_the_mixture_is_known():
    """80 % uniform and 20 % Beta(0.1, 1): lfdr(p) = 0.8 / (0.8 + 0.02 p^-0.9)."""
    rng = np.random.default_rng(0)
    p = np.concatenate([rng.uniform(size=16000), rng.beta(0.1, 1, size=4000)])
    estimate = local_fdr(p)
    for low, high in ((0.001, 0.002), (0.01, 0.02), (0.2, 0.3)):
        inside = (p > low) & (p < high)
        truth = (0.8 / (0.8 + 0.02 * p[inside] ** -0.9)).mean()
        assert estimate[inside].mean() == pytest.approx(truth, abs=0.06)
    assert ((estimate >= 0) & (estimate <= 1)).all()


def test_shrinkage_and_sparsity_of_a_region():
    before, region = np.array([0.4, 0.3, 0.2, 0.1]), np.array([False, True, False, False])
    after = regularised(before, np.array([True, False, False, False]))
    np.testing.assert_allclose(after, [1, 0, 0, 0])
    assert shrinkage(before, after, region) == 0
    assert shrinkage(before, before, region) == 1
    assert sparsity(after, region) == 1
    assert sparsity(before, region) == 0


def test_rank_correlation_and_auroc_as_other_libraries_have_them():
    rng = np.random.default_rng(1)
    first, noise = rng.integers(20, size=200).astype(float), rng.normal(size=200)
    second, correct = first + 10 * noise, first + 10 * noise < 10
    relation = rank_correlation(first, second)
    assert relation.value == pytest.approx(spearmanr(first, second).statistic)
    assert relation.low < relation.value < relation.high
    assert misclassification_auroc(first, correct).value == pytest.approx(roc_auc_score(~correct, first))
    assert np.isnan(misclassification_auroc(first, np.ones(200, bool)).value)
    assert np.isnan(rank_correlation(np.ones(200), second).value)


@pytest.mark.slow
def test_the_interval_of_a_relation_covers_as_often_as_it_says():
    rng, covered = np.random.default_rng(2), 0
    for _ in range(60):
        first = rng.normal(size=60)
        relation = rank_correlation(first, rng.normal(size=60))
        covered += relation.low <= 0 <= relation.high
    assert 51 <= covered <= 60


@pytest.mark.parametrize("null", ["pixel", *slowly("noise")])
def test_p_values_are_uniform_on_images_of_pure_noise(null):
    """A network's attention on noise images against the bootstrap null of each: nothing is there to be significant."""
    from calbench.benchmark.backbones.attention import attention_scores
    from calbench.benchmark.config.backbone import make_backbone
    from calbench.benchmark.variants._null import null_images

    torch.manual_seed(0)
    network = make_backbone("vit-micro(patch=2)").build(10, 1, 8).eval()
    generator = torch.Generator().manual_seed(3)
    images, seen = torch.randn(120, 1, 8, 8, generator=generator), {}
    if null == "noise":
        images = (images - images.mean((2, 3), keepdim=True)) / images.std((2, 3), correction=0, keepdim=True)

    def attention(batch):
        with torch.no_grad(), attention_scores(network, seen.__setitem__):
            network(batch)
        return patch_attention(list(seen.values())[-1], 1, has_cls_token=True).numpy()

    observed = attention(images)
    nulls = np.stack([attention(null_images(images, null, (2, 2), generator)) for _ in range(40)])
    p = np.stack([null_p_values(observed[i], nulls[:, i]) for i in range(len(images))])
    assert kstest(p.ravel(), "uniform").statistic < 1.63 / np.sqrt(p.size / 4)  # patches of an image are dependent
    assert np.mean(p <= 0.05) == pytest.approx(0.05, abs=0.02)
    discoveries = np.mean([benjamini_hochberg(row).any() for row in p])
    assert discoveries < 0.12


def test_relations_are_of_the_samples_that_were_measured():
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=60), rng.normal(size=60)
    first[40:] = np.nan
    relation = rank_correlation(first, second)
    assert relation.samples == 40
    assert relation.value == pytest.approx(spearmanr(first[:40], second[:40]).statistic)
    correct = rng.random(60) < 0.5
    assert misclassification_auroc(first, correct).value == pytest.approx(
        roc_auc_score(~correct[:40], first[:40]),
    )


def test_half_way_of_a_logistic_course_is_its_midpoint():
    epochs = np.arange(0.0, 41)
    fall = 1 - 1 / (1 + np.exp(-(epochs - 12.3)))
    assert half_way(epochs, fall, falling=True) == pytest.approx(12.3, abs=0.02)
    assert np.isnan(half_way(epochs, fall, falling=False))
    dip = np.array([0.0, -4, -2, 2, 6])  # from -4 to 6 the middle is 1
    assert half_way(np.arange(1.0, 6), dip, falling=False) == pytest.approx(3.75)


def test_diagnosed_images_are_of_all_classes_though_folders_list_class_by_class():
    labels, chosen = torch.arange(10).repeat_interleave(100), random_indices(1000, 100)
    assert len(set(chosen.tolist())) == 100
    assert set(labels[chosen].tolist()) == set(range(10))
    assert torch.equal(chosen, random_indices(1000, 300)[:100])
