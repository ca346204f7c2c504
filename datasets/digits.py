"""The handwritten digits that come with scikit-learn: real images, no download."""

import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch

from calbench.benchmark.core.errors import InputError
from calbench.datasets._split import stratified_split
from calbench.datasets.base import Dataset, Split, Splits, register

_TEST_FRACTION = 0.3


@register("digits", label="Digits", paper="alpaydin1998digits")
@dataclass
class Digits(Dataset):
    """1,797 handwritten digits of 8 x 8 pixels, ten classes (the test set of UCI's optical digits).

    The test split is a fixed stratified 30 % (539 images), independent of every seed.
    """

    num_classes = 10
    channels = 1
    image_size = 8
    mean = (0.3053,)
    std = (0.3759,)

    def load(self, root: Path) -> Splits:
        """Load from the installed scikit-learn; `root` is not read. The 17 grey levels are spread over 0..255."""
        from sklearn.datasets import load_digits

        bunch = cast("Any", load_digits())  # a Bunch
        images = torch.from_numpy((bunch.images * (255 / 16)).round().astype("uint8"))[:, None]
        split = Split(images, torch.from_numpy(bunch.target.astype("int64")))
        train, test = stratified_split(split.labels, _TEST_FRACTION, seed=0)
        return Splits(split.subset(train), split.subset(test))

    def fingerprint(self, root: Path) -> str:
        """The hash of scikit-learn's data file, taken without importing scikit-learn."""
        spec = importlib.util.find_spec("sklearn")
        folders = spec.submodule_search_locations if spec else None
        for folder in folders or []:
            path = Path(folder, "datasets", "data", "digits.csv.gz")
            if path.is_file():
                return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        raise InputError("digits: the installed scikit-learn has no datasets/data/digits.csv.gz; install it again")
