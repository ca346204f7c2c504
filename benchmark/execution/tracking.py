"""Optional tracking of running cells in TensorBoard."""

import re
from types import TracebackType
from typing import Any, Self

from calbench.benchmark.core.errors import InputError
from calbench.benchmark.store.folder import Folder


class Tracker:
    """Writes the metrics of one cell, epoch by epoch, under ``tensorboard`` in a local results folder.

    Args:
        folder: the results folder.
        cell: the cell's name for people; it becomes the run's name.

    Raises:
        InputError: TensorBoard is not installed, or the folder is remote.
    """

    def __init__(self, folder: Folder, cell: str) -> None:
        if not folder.is_local:
            raise InputError("--tensorboard needs a local results folder")
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise InputError("--tensorboard needs the extra: pip install 'calbench[tracking]'") from None
        name = re.sub(r"[^\w.+=-]+", "_", cell)
        self._writer = SummaryWriter(str(folder.local_path(f"tensorboard/{name}")))

    def log(self, metrics: dict[str, Any]) -> None:
        """Write what is known after an epoch; ``epoch`` is the step."""
        for name, value in metrics.items():
            if name != "epoch":
                self._writer.add_scalar(name, value, metrics["epoch"])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._writer.close()
