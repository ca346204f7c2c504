import pickle

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from calbench.benchmark.core.errors import InputError
from calbench.datasets import registry
from calbench.datasets.overlap import class_means


def test_posterior_is_bayes_rule(tmp_path):
    overlap = registry.create("overlap", noise=0.4, train=40, test=3, label_noise=0.2)
    test = overlap.load(tmp_path).test
    means = class_means(registry.create("digits").load(tmp_path).train, 10).reshape(10, -1)
    for image, posterior in zip(test.images.double().flatten(1).numpy(), test.posterior.numpy(), strict=True):
        log_density = np.array([multivariate_normal.logpdf(image, mean, 0.4**2) for mean in means])
        density = np.exp(log_density - log_density.max())
        expected = 0.8 * density / density.sum() + 0.2 / 10
        np.testing.assert_allclose(posterior, expected, rtol=1e-9, atol=1e-12)


def test_posterior_is_calibrated_against_the_labels(tmp_path):
    test = registry.create("overlap", test=20000, train=10, label_noise=0.3).load(tmp_path).test
    confidence, predicted = test.posterior.max(dim=1)
    gap = confidence.mean() - (predicted == test.labels).double().mean()
    assert abs(gap) < 4 * 0.5 / 20000**0.5
    frequency = torch.bincount(test.labels, minlength=10) / 20000
    assert torch.allclose(test.posterior.mean(0).float(), frequency, atol=0.012)


def test_default_bayes_accuracy_lies_between_80_and_90_per_cent(tmp_path):
    test = registry.create("overlap").load(tmp_path).test
    accuracy = (test.posterior.argmax(1) == test.labels).double().mean()
    assert 0.8 < accuracy < 0.9


def test_seed_and_sizes_decide(tmp_path):
    first = registry.create("overlap", train=30, test=20).load(tmp_path)
    same = registry.create("overlap", train=30, test=20).load(tmp_path)
    other = registry.create("overlap", train=30, test=20, seed=1).load(tmp_path)
    assert torch.equal(first.train.images, same.train.images)
    assert not torch.equal(first.train.images, other.train.images)
    assert (len(first.train), len(first.test)) == (30, 20)
    longer = registry.create("overlap", train=31, test=20).load(tmp_path)
    assert torch.equal(first.test.images, longer.test.images)
    assert first.train.images.dtype == torch.float32
    assert registry["overlap"].has_posterior


def test_an_option_changes_the_identity_and_pickling_keeps_it():
    overlap = registry.create("overlap", noise=0.7)
    assert overlap.identity() != registry.create("overlap").identity()
    copied = pickle.loads(pickle.dumps(overlap))
    assert copied.identity() == overlap.identity()
    assert copied.num_classes == 10


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prototypes": "digit"}, "did you mean 'digits'"),
        ({"prototypes": "overlap"}, "cannot come from overlap itself"),
        ({"noise": 0.0}, "greater than 0"),
        ({"label_noise": 1.5}, "less than or equal to 1"),
        ({"nois": 1.0}, "did you mean 'noise'"),
    ],
)
def test_refuses_wrong_options(options, message):
    with pytest.raises(InputError, match=message):
        registry.create("overlap", **options)
