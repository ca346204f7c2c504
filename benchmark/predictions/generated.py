"""Generated files of predictions in the layout of CalArena: a group per dataset and model with four arrays.

Suites on files of others read them in their smoke form, through the same reader and by the same names.
"""

from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

SPREAD = 2.0
"""Standard deviation of the true logits."""
OVERCONFIDENCE = 2.5
"""Factor of the logits of the network, whose temperature is too low by this much."""


class Generated(BaseModel):
    """The sizes of a generated file of predictions.

    Attributes:
        classes: their number. Example: ``10``.
        calibration: samples of the calibration split. Example: ``300``.
        test: samples of the test split. Example: ``300``.
        seed: of the generator. Example: ``1``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    classes: Annotated[int, Field(ge=2)] = 10
    calibration: Annotated[int, Field(ge=1)] = 300
    test: Annotated[int, Field(ge=1)] = 300
    seed: Annotated[int, Field(ge=0)] = 0


def write_generated(path: Path, group: str, sizes: Generated) -> None:
    """Write an HDF5 file with ``{group}/{probas_cal, labels_cal, probas_test, labels_test}``.

    Labels are drawn from softmax(z), z normal with a standard deviation of 2; the probabilities are softmax(2.5 z), so
    that the optimal temperature is 2.5.

    Args:
        path: of the file, which is replaced.
        group: the place in the file, ``dataset/model``.
        sizes: numbers of classes and samples, and the seed.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_generated(Path(folder, "cv.h5"), "c10/lenet5", Generated(classes=3, calibration=5, test=4))
        ...     h5py = __import__("h5py")
        ...     h5py.File(Path(folder, "cv.h5"))["c10/lenet5/probas_cal"].shape
        (5, 3)
    """
    import h5py

    rng = np.random.default_rng(sizes.seed)
    with h5py.File(path, "w") as file:
        for split, rows in (("cal", sizes.calibration), ("test", sizes.test)):
            logits = rng.normal(0, SPREAD, (rows, sizes.classes))
            # the largest of logits plus Gumbel noise is a draw from their softmax
            labels = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
            weights = np.exp(OVERCONFIDENCE * (logits - logits.max(axis=1, keepdims=True)))
            file[f"{group}/probas_{split}"] = weights / weights.sum(axis=1, keepdims=True)
            file[f"{group}/labels_{split}"] = labels
