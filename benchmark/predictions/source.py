"""The options for reading a prediction file: kind of scores, names of arrays, splits."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Kind = Literal["logits", "probabilities"]


@dataclass(frozen=True)
class Source:
    """How to read a file of predictions; what is None is recognised by its name.

    Attributes:
        kind: whether the numbers are logits or probabilities.
        logits_key: the name of the logits or probabilities, or that of the group that they are in; names of columns are
            joined by commas (``VF,F,M,L``), or given as the first and the last of several (``s0:s9``).
        labels_key: the name of the labels.
        labels_path: a file of the labels.
        test_labels_path: a file of the test split's labels, where that split is in a separate file.
        id_key: the name of the column by which the rows of predictions and labels are matched.
        classes: the names of the classes, in the order of the columns; labels are matched to them.
        labels_from: the number of the first class in the labels.
        normalize: whether to divide every row of probabilities by its sum: for per cent and rounded numbers.
    """

    kind: Kind | None = None
    logits_key: str | None = None
    labels_key: str | None = None
    labels_path: Path | None = None
    test_labels_path: Path | None = None
    id_key: str | None = None
    classes: tuple[str, ...] = ()
    labels_from: int | None = None
    normalize: bool = False
