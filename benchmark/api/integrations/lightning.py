"""A Lightning callback that logs calbench's metrics of the validation set; needs lightning or pytorch-lightning."""

# pyright: reportMissingImports=false
# Either of the two packages may be missing.
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from calbench.benchmark.core.bins import DEFAULT_BINS
from calbench.benchmark.core.errors import InputError
from calbench.benchmark.metrics import evaluate
from calbench.benchmark.metrics.base import make_all

if TYPE_CHECKING:
    from lightning.pytorch.callbacks import Callback
else:
    try:
        from lightning.pytorch.callbacks import Callback
    except ImportError:
        try:
            from pytorch_lightning.callbacks import Callback
        except ImportError as error:
            needed = "calbench.integrations.lightning needs lightning: pip install lightning"
            raise InputError(f"{needed} ({error})") from None

Read = Callable[[Any, Any], tuple[Tensor, Tensor]]


def _read(outputs: Any, batch: Any) -> tuple[Tensor, Tensor]:
    """The logits and labels of a step that returns a dict with ``logits`` and, unless the batch has them, labels."""
    if not isinstance(outputs, dict) or "logits" not in outputs:
        raise InputError("CalibrationCallback: let the step return a dict with 'logits', or pass read=")
    labels = outputs["labels"] if "labels" in outputs else batch[1]
    return outputs["logits"], labels


class CalibrationCallback(Callback):
    """Log metrics of all validation and test samples at the end of each epoch, as ``val/ece`` or ``test/ece``.

    The step must return a dict with ``logits`` (N, K), and with ``labels`` (N,) unless the batch is a pair of inputs
    and labels. The samples of all processes, and of several data loaders, are taken together.

    Args:
        metrics: names of metrics.
        bins: number of bins of binned metrics.
        read: from the outputs of a step and its batch to logits and labels, for other steps.

    Raises:
        InputError: an unknown metric.

    Example:
        >>> callback = CalibrationCallback(["ece", "nll"])  # Trainer(callbacks=[callback])
    """

    def __init__(
        self, metrics: Sequence[str] = ("ece", "nll", "brier"), *, bins: int = DEFAULT_BINS, read: Read = _read
    ) -> None:
        make_all(metrics, bins)
        self.metrics, self.bins, self.read = list(metrics), bins, read
        self._batches: list[tuple[Tensor, Tensor]] = []

    def on_validation_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Forget the samples of the last epoch."""
        self._batches.clear()

    def on_validation_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Keep the logits and labels of a batch."""
        logits, labels = self.read(outputs, batch)
        self._batches.append((logits.detach().cpu(), labels.detach().cpu()))

    def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Log the metrics of all samples of the epoch."""
        self._log(pl_module, "val")

    def on_test_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Forget the samples of the last epoch."""
        self._batches.clear()

    def on_test_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Keep the logits and labels of a batch."""
        self.on_validation_batch_end(trainer, pl_module, outputs, batch, batch_idx, dataloader_idx)

    def on_test_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Log the metrics of all samples of the epoch."""
        self._log(pl_module, "test")

    def _log(self, module: Any, stage: str) -> None:
        batches = self._batches
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            gathered: list[Any] = [None] * torch.distributed.get_world_size()
            torch.distributed.all_gather_object(gathered, batches)  # by every process: one may have had no batch
            batches = [batch for part in gathered for batch in part]
        if not batches:
            return
        logits, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
        values = evaluate(logits=logits, labels=labels, metrics=self.metrics, bins=self.bins)
        # Every process has the same values; their mean over the processes, which is what sync_dist logs, is the value.
        module.log_dict({f"{stage}/{name}": value for name, value in values.items()}, sync_dist=True)
        self._batches.clear()
