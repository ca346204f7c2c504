"""Predictions of further splits next to a cell's own: one file with its checksum for each split, written once."""

from typing import TYPE_CHECKING, Any

from calbench.benchmark.core.errors import InputError
from calbench.benchmark.predictions.predictions import Predictions, SplitPredictions
from calbench.benchmark.store.checked import pack, unpack, with_checksum, without_checksum
from calbench.benchmark.store.names import SEALED, SPLIT, DamagedError

if TYPE_CHECKING:
    from calbench.benchmark.store.store import Store

AFFECTS_RESULTS = False


def write_split(
    store: "Store", key: str, split: str, parts: dict[str, SplitPredictions], record: dict[str, Any]
) -> None:
    """Store the predictions of one split.

    Args:
        store: where.
        key: of the cell.
        split: of the split.
        parts: predictions by checkpoint rule.
        record: what people should know of them, as plain data.
    """
    predictions = Predictions({(rule, "extra"): part for rule, part in parts.items()})
    data = with_checksum(pack(predictions.to_tensors(), record), key, split)
    store.folder.write(_name(key, split), data)


def has_split(store: "Store", key: str, split: str) -> bool:
    """Whether the predictions of a split are there; what is in the file is not looked at."""
    return store.folder.exists(_name(key, split))


def read_split(store: "Store", key: str, split: str) -> dict[str, SplitPredictions]:
    """The predictions of one split by checkpoint rule.

    Raises:
        DamagedError: the file is missing, truncated or altered.
    """
    try:
        tensors, _ = unpack(without_checksum(store.read(key, f"{SPLIT}{split}{SEALED}"), key, split))
        return {rule: part for (rule, _), part in Predictions.from_tensors(tensors).splits.items()}
    except FileNotFoundError:
        raise DamagedError(f"cell {key}: the predictions of a further split are missing") from None
    except DamagedError:
        raise
    except (ValueError, InputError) as error:
        raise DamagedError(f"cell {key}: {SPLIT}{split}{SEALED}: {error}") from None


def forget_split(store: "Store", key: str, split: str) -> None:
    """Remove the predictions of one split, so that they are made again."""
    store.folder.remove(_name(key, split))


def _name(key: str, split: str) -> str:
    return f"cache/{key}/{SPLIT}{split}{SEALED}"
