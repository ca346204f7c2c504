import torch

from calbench.datasets import registry


def test_split_is_fixed_stratified_and_disjoint(tmp_path):
    splits = registry.create("digits").load(tmp_path)
    assert (len(splits.train), len(splits.test)) == (1258, 539)
    assert splits.train.images.shape[1:] == (1, 8, 8)
    assert splits.train.images.dtype == torch.uint8
    counts = torch.bincount(splits.test.labels)
    assert counts.min() >= 52
    assert counts.max() <= 55
    again = registry.create("digits").load(tmp_path)
    assert torch.equal(splits.test.images, again.test.images)


def test_statistics_describe_the_images(tmp_path):
    digits = registry.create("digits")
    splits = digits.load(tmp_path)
    pixels = torch.cat([splits.train.images, splits.test.images]).double() / 255
    assert abs(pixels.mean() - digits.mean[0]) < 2e-4
    assert abs(pixels.std() - digits.std[0]) < 2e-4


def test_fingerprint_is_stable(tmp_path):
    assert registry.create("digits").fingerprint(tmp_path) == registry.create("digits").fingerprint(tmp_path)
    assert len(registry.create("digits").fingerprint(tmp_path)) == 16
