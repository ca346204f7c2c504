"""Loads the data of a cell: training and test images, and the calibration split taken from the training pool."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from calbench.benchmark.backbones import DataConfig
from calbench.benchmark.config.cell import Cell
from calbench.benchmark.core.errors import CellError
from calbench.benchmark.core.seeds import seed_for
from calbench.datasets import Split, Splits, stratified_split


@dataclass
class CellData:
    """What a cell trains on and predicts.

    Attributes:
        train: the training split, without the calibration split.
        evaluated: the splits that are predicted, by name: calibration, test, shift-*, ood-*.
        config: image size, mean and std as the backbone wants them.
    """

    train: Split
    evaluated: dict[str, Split]
    config: DataConfig


_kept: dict[tuple[str, str], Splits] = {}
_KEEP = 2


def load_splits(cell: Cell, root: Path) -> Splits:
    """Load the dataset of a cell; the last ones stay in memory, since cells come dataset by dataset."""
    key = (repr(cell.identity["dataset"]), str(root))
    if key not in _kept:
        while len(_kept) >= _KEEP:
            _kept.pop(next(iter(_kept)))
        splits = cell.dataset.load(root)
        if cell.dataset.fingerprint(root) != cell.fingerprint:
            raise CellError(
                f"the files of {cell.dataset.spelled()} are not those that the run was planned with: they changed "
                f"since, or this machine has others. Start the run again"
            )
        _kept[key] = splits
    return _kept[key]


def prepare_data(cell: Cell, root: Path) -> CellData:
    """Load and split the data of a cell; the same seed gives the same split on every machine.

    Raises:
        CellError: the files are not those of the cell's fingerprint.
    """
    splits = load_splits(cell, root.expanduser())
    train, calibration = stratified_split(
        splits.train.labels, cell.calibration_fraction, seed_for(cell.split_seed, "calibration-split")
    )
    evaluated = {"calibration": splits.train.subset(calibration), "test": splits.test}
    evaluated |= {f"shift-{name}": split for name, split in splits.shifted.items()}
    evaluated |= {f"ood-{name}": split for name, split in splits.out_of_distribution.items()}
    return CellData(splits.train.subset(train), evaluated, cell.backbone.data_config(cell.dataset))


def random_indices(total: int, count: int) -> Tensor:
    """`count` of `total` samples in random order, always the same: folders list their images class by class.

    Example:
        >>> sorted(random_indices(3, 5).tolist())
        [0, 1, 2]
    """
    return torch.randperm(total, generator=torch.Generator().manual_seed(seed_for(0, "subset")))[:count]
