"""Stratified subsets: the same in every run, every class in proportion."""

import pytest
import torch

from calbench.benchmark.core.errors import InputError
from calbench.datasets import Split, stratified_subset


def test_a_subset_keeps_the_classes_in_proportion_and_is_the_same_every_time():
    labels = torch.arange(3).repeat_interleave(torch.tensor([600, 300, 100]))
    split = Split(torch.arange(1000).view(-1, 1, 1, 1), labels)
    subset, again = stratified_subset(split, 100), stratified_subset(split, 100)
    assert subset.labels.bincount().tolist() == [60, 30, 10]
    assert torch.equal(subset.images, again.images)
    assert torch.equal(labels[subset.images.flatten()], subset.labels)
    assert stratified_subset(split, None) is split


@pytest.mark.parametrize(("size", "message"), [(1001, "there are 1000"), (2, "all 3 classes")])
def test_a_subset_that_cannot_be_taken_is_refused(size, message):
    labels = torch.arange(1000) % 3
    with pytest.raises(InputError, match=message):
        stratified_subset(Split(torch.zeros(1000, 1, 1, 1), labels), size)
