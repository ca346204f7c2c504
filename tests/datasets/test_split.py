import pytest
import torch
from examples import at_most
from hypothesis import given
from hypothesis import strategies as st

from calbench.benchmark.core.errors import InputError
from calbench.datasets import stratified_split


def test_is_deterministic_in_the_seed_and_pinned():
    labels = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2])
    train, carved = stratified_split(labels, 0.25, seed=7)
    again, carved_again = stratified_split(labels, 0.25, seed=7)
    assert torch.equal(train, again)
    assert torch.equal(carved, carved_again)
    # Pinned: a change here changes every cached cell, and machines must agree.
    assert carved.tolist() == [0, 2, 10]
    assert stratified_split(labels, 0.25, seed=8)[1].tolist() != carved.tolist()


@at_most(60)
@given(st.lists(st.integers(0, 5), min_size=4, max_size=80), st.floats(0.05, 0.95), st.integers(0, 2**31 - 1))
def test_every_class_gets_its_share_within_one(values, fraction, seed):
    labels = torch.tensor(values)
    total = round(fraction * len(values))
    if not 0 < total < len(values):
        with pytest.raises(InputError, match="empty"):
            stratified_split(labels, fraction, seed)
        return
    train, carved = stratified_split(labels, fraction, seed)
    assert sorted(torch.cat([train, carved]).tolist()) == list(range(len(values)))
    assert len(carved) == total
    for k in set(values):
        share = total * values.count(k) / len(values)
        assert abs((labels[carved] == k).sum().item() - share) < 1


def test_a_class_of_one_sample_works():
    labels = torch.tensor([0] * 9 + [1])
    train, carved = stratified_split(labels, 0.5, seed=0)
    assert len(train) == len(carved) == 5
    assert (labels[train] == 1).sum() + (labels[carved] == 1).sum() == 1


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, 1.5])
def test_refuses_a_fraction_outside_zero_and_one(fraction):
    with pytest.raises(InputError, match="between 0 and 1"):
        stratified_split(torch.tensor([0, 1]), fraction, seed=0)
