"""The files of a cell's folder, and the errors of those that cannot be read."""

from calbench.benchmark.core.errors import InputError

AFFECTS_RESULTS = False
MANIFEST, PREDICTIONS, WEIGHTS = "manifest.json", "predictions.safetensors", "weights.safetensors"
FAILURE, STATE, LOG = "failure.json", "state.safetensors", "log.txt"
EVALUATION, SPLIT, SEALED = "evaluation-", "split-", ".safetensors"


class UnreadableError(InputError):
    """A stored file that this version cannot read."""


class DamagedError(UnreadableError):
    """A stored file that is truncated or altered: it can be made again."""


class NewerError(UnreadableError):
    """A stored file of a newer calbench: it is not changed."""
