import pytest
import torch

from calbench.benchmark.core.folds import stratified_folds


@pytest.mark.parametrize(
    "labels", [torch.arange(1000) % 10, torch.arange(1000) // 100, torch.arange(1000).square() % 7]
)
def test_every_fold_has_its_part_of_every_class(labels):
    fold = stratified_folds(labels, 5)
    counts = torch.stack([labels[fold == k].bincount(minlength=10) for k in range(5)]).double()
    assert (counts - labels.bincount(minlength=10) / 5).abs().max() <= 1
    assert (fold.bincount() == 200).all()
    assert torch.equal(fold, stratified_folds(labels, 5))


def test_folds_are_random_within_a_class():
    fold = stratified_folds(torch.zeros(1000, dtype=torch.long), 5)
    assert not torch.equal(fold, torch.arange(1000) % 5)
    assert abs(float(fold[:500].double().mean()) - 2) < 0.3


def test_fewer_rows_than_folds():
    assert sorted(stratified_folds(torch.tensor([1, 0, 1]), 5).tolist()) == [0, 1, 2]
