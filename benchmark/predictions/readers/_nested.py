"""Flattens nested lists, tuples and dicts (from pickle, JSON, torch and MATLAB files) to named arrays."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from calbench.benchmark.core.errors import InputError
from calbench.benchmark.core.limits import limit, refusal
from calbench.benchmark.core.sparse import dense_of_compressed
from calbench.benchmark.predictions.contents import Leaf, join_path
from calbench.benchmark.predictions.names import GROUPS, is_label_name, is_score_name, normal
from calbench.benchmark.predictions.readers._bounds import texts

_PAIR = ("logits", "labels")
_ROWS = ("scores", "labels")
_SPLITS = ("val", "test")
_DENSE = 1 << 30
"""Bytes of a sparse tensor that is made dense."""
_SPARSE = 10_000_000
"""Values that may be missing in a list of records."""
_FEW = 8
"""Lines of a file that has a line for each array."""
_SCALARS = (str, bytes, bool, int, float)


def flatten(value: Any, path: str = "") -> dict[str, Leaf]:
    """The arrays in `value` by path.

    A pair of a matrix and as many labels becomes ``logits`` and ``labels``; a pair of such pairs ``val`` and ``test``,
    as in Kängsepp's files ((logits_val, y_val), (logits_test, y_test)); three pairs and more are batches. A list of
    records becomes a table, and so does a dict of records that have a label each, by their ids. A list of batches,
    arrays that differ only in their first dimension, becomes one array; scores by the name of the class, a dict or a
    list of ``{"label": ..., "score": ...}`` per row, become a column per class.
    """
    value = _plain(value)
    if isinstance(value, np.ndarray):
        return _array(value, path)
    if isinstance(value, dict):
        return _mapping(value, path)
    if isinstance(value, list | tuple):
        return _sequence([_plain(part) for part in value], path)
    if value is None:
        return {}
    if isinstance(value, _SCALARS):
        return {path: Leaf.of(np.asarray(_text(value)))}
    name = type(value).__name__
    return {path: Leaf.unreadable(name, f"{path or 'it'} is a {name}, not an array of numbers")}


def _plain(value: Any) -> Any:
    """Tensors and single values of NumPy as arrays; anything else as it is."""
    if type(value).__module__.partition(".")[0] == "torch" and hasattr(value, "detach"):
        tensor = value.detach().cpu()
        if tensor.is_sparse:
            size, most = tensor.numel() * tensor.itemsize, limit(_DENSE)
            if size > most:
                raise InputError(f"a sparse tensor: {refusal(size, most)}")
            tensor = tensor.to_dense()
        return (tensor.float() if tensor.is_floating_point() and tensor.itemsize < 4 else tensor).numpy()
    if type(value).__module__.startswith("scipy.sparse"):  # MATLAB's sparse matrices
        value = value if value.format in ("csc", "csr") else value.tocsc()  # COO in SciPy before 1.17
        return dense_of_compressed(value.shape, value.indptr, value.indices, value.data, by_row=value.format == "csr")
    return np.asarray(value) if isinstance(value, np.generic) else value


def _text(value: Any) -> Any:
    return value.decode("latin1") if isinstance(value, bytes) else value


def _array(array: np.ndarray, path: str) -> dict[str, Leaf]:
    if array.dtype.names:
        fields = {join_path(path, name): array[name] for name in array.dtype.names}
        return {name: leaf for key, part in fields.items() for name, leaf in _array(part, key).items()}
    if array.dtype.kind == "O":
        return flatten(array.tolist(), path)
    return {path: Leaf.of(array)}


def _mapping(values: dict[Any, Any], path: str) -> dict[str, Leaf]:
    if _are_records(values):
        return flatten([{"id": _text(key)} | record for key, record in values.items()], path)
    if len(values) > 1 and [str(key) for key in values] == [str(n) for n in range(len(values))]:
        return flatten(list(values.values()), path)  # a column of a table, as pandas writes it in JSON
    if _are_columns_by_id(values):
        ids = next(iter(values.values()))
        return flatten(
            [{"id": _text(key)} | {name: column[key] for name, column in values.items()} for key in ids], path
        )
    return _children({join_path(path, _text(key)): value for key, value in values.items()})


def _children(values: dict[str, Any]) -> dict[str, Leaf]:
    return {name: leaf for path, value in values.items() for name, leaf in flatten(value, path).items()}


def _sequence(values: list[Any], path: str) -> dict[str, Leaf]:
    if values and all(isinstance(value, dict) for value in values):
        keys = dict.fromkeys(key for value in values for key in value)
        if 1 < len(values) <= _FEW and len(keys) == sum(
            map(len, values)
        ):  # a line for the logits, and one for the labels
            return _mapping({key: one for value in values for key, one in value.items()}, path)
        if len(keys) * len(values) > limit(_SPARSE) + 20 * sum(map(len, values)):
            reason = f"{len(values):,} records with {len(keys):,} different names"
            raise InputError(f"{path or 'it'} is a list of {reason}; write one record per row, with the same names")
        models = _models(values, list(keys))
        if models:
            return _children({join_path(path, name): model for name, model in models.items()})
        if is_score_name(path) and all(_is_score_of_classes(value, keys) for value in values):
            return {f"{path}_{key}": Leaf.of(np.array([value[key] for value in values], dtype=float)) for key in keys}
        return _children({join_path(path, key): [value.get(key) for value in values] for key in keys})
    if _is_hf_output(values) and is_score_name(path):
        rows = [{one["label"]: one["score"] for one in sorted(value, key=_label_of)} for value in values]
        return _sequence(rows, path)
    if is_pair(values):
        return _children({join_path(path, name): part for name, part in zip(_PAIR, values, strict=True)})
    if len(values) > 2 and all(isinstance(value, list | tuple) and is_pair(value) for value in values):
        columns = ([value[column] for value in values] for column in (0, 1))
        return _children({join_path(path, name): list(part) for name, part in zip(_PAIR, columns, strict=True)})
    if len(values) > 2 and len({_row_shape(value) for value in values}) == 1 and _row_shape(values[0]):
        columns = ([value[column] for value in values] for column in (0, 1))
        return _children({join_path(path, name): list(part) for name, part in zip(_ROWS, columns, strict=True)})
    if len(values) == 2 and all(isinstance(value, list | tuple) and is_pair(value) for value in values):
        return _children({join_path(path, split): pair for split, pair in zip(_SPLITS, values, strict=True)})
    if all(value is None or isinstance(value, _SCALARS) for value in values):
        return {path: Leaf.of(_scalars(values))}
    shapes = {_shape(value) for value in values}
    if _are_ragged(values):
        reason = f"{path or 'it'} is a list of rows that differ in length"
        return {path: Leaf.unreadable("rows of different lengths", reason, (len(values),))}
    if all(shapes) and (len(shapes) == 1 or _are_batches(shapes)):
        return {path: Leaf.of(_rows(values, path))}
    return _children({join_path(path, number): value for number, value in enumerate(values)})


def _are_records(values: dict[Any, Any]) -> bool:
    """Whether these are three records or more, of the same fields, each with one row of scores and one label."""
    records = list(values.values())
    if len(records) < 3 or not all(isinstance(record, dict) and record for record in records):
        return False
    fields = records[0].keys()
    if any(record.keys() != fields for record in records) or "id" in fields:
        return False
    labels = [field for field in fields if is_label_name(str(_text(field)))]
    return any(all(isinstance(record[field], int | str) for record in records) for field in labels)


def _are_columns_by_id(values: dict[Any, Any]) -> bool:
    """Whether these are columns of the same three ids or more, with scores and labels: ``{"logits": {id: ...}}``."""
    columns = list(values.values())
    if len(columns) < 2 or not all(isinstance(column, dict) and len(column) > 2 for column in columns):
        return False
    if "id" in values or any(column.keys() != columns[0].keys() for column in columns):
        return False
    labels = [column for name, column in values.items() if is_label_name(str(_text(name)))]
    are_labels = any(all(isinstance(label, int | str) for label in column.values()) for column in labels)
    return are_labels and any(is_score_name(str(_text(name))) for name in values)


def _models(values: Sequence[dict[Any, Any]], keys: Sequence[Any]) -> dict[str, dict[Any, Any]]:
    """Records of a matrix and its labels each, by the model or split that they name; none of other records."""
    if len(values) < 2 or not all(_is_split(value) for value in values):
        return {}
    for key in (key for key in keys if normal(str(key)) in GROUPS):
        names = [value.get(key) for value in values]
        if all(isinstance(name, str) and name for name in names) and len(set(names)) == len(names):
            return {str(value[key]): {name: v for name, v in value.items() if name != key} for value in values}
    return {}


def _is_split(value: dict[Any, Any]) -> bool:
    """Whether a record has a matrix of two rows or more, and one number for each of them."""
    shapes = [_shape(one) for one in value.values()]
    return any(len(shape) == 2 and shape[0] > 1 and (shape[0],) in shapes for shape in shapes)


def _is_score_of_classes(value: dict[Any, Any], classes: Iterable[Any]) -> bool:
    return value.keys() == set(classes) and all(isinstance(one, int | float) for one in value.values())


def _is_hf_output(values: Sequence[Any]) -> bool:
    """Whether these are lists of ``{"label": ..., "score": ...}``, as Hugging Face's pipelines write them."""
    return bool(values) and all(
        isinstance(value, list) and value and all(isinstance(o, dict) and o.keys() == {"label", "score"} for o in value)
        for value in values
    )


def _label_of(one: dict[str, Any]) -> str:
    return str(one["label"])


def _row_shape(value: Any) -> tuple[int, ...]:
    """The shape of the scores in a pair of one row of scores and its label; () for anything else."""
    if not isinstance(value, list | tuple) or len(value) != 2:
        return ()
    scores, label = value
    is_label = isinstance(label, int | str) or (isinstance(label, np.ndarray) and label.shape in ((), (1,)))
    shape = _shape(scores)
    return shape if is_label and len(shape) == 1 and shape[0] > 1 else ()


def is_pair(values: Sequence[Any]) -> bool:
    """Whether these are a matrix and one number for each of its rows."""
    if len(values) != 2:
        return False
    first, second = _shape(values[0]), _shape(values[1])
    return len(first) == 2 and first[1] > 1 and second in ((first[0],), (first[0], 1))


def _shape(value: Any) -> tuple[int, ...]:
    """The shape of an array or of lists in lists, by their first elements; () for anything else."""
    value = _plain(value)
    if isinstance(value, np.ndarray):
        return value.shape
    if isinstance(value, list | tuple) and value:
        return (len(value), *_shape(value[0]))
    return ()


def _are_ragged(values: Sequence[Any]) -> bool:
    """Whether these are lists of numbers whose lengths differ otherwise than by a last, smaller batch."""
    if not all(isinstance(value, list | tuple) and len(_shape(value)) == 1 for value in values):
        return False
    lengths = [len(value) for value in values]
    return len(set(lengths[:-1])) > 1 or lengths[-1] > lengths[0]


def _are_batches(shapes: set[tuple[int, ...]]) -> bool:
    return len({shape[1:] for shape in shapes}) == 1


def _scalars(values: Sequence[Any]) -> np.ndarray:
    """A list of numbers, where None is NaN, or of text, where None is empty."""
    if any(isinstance(value, str | bytes) for value in values):
        return texts(["" if value is None else str(_text(value)) for value in values])
    if any(value is None for value in values):
        return np.array([np.nan if value is None else value for value in values], dtype=np.float64)
    array = np.asarray(values)
    return array if array.dtype.kind != "O" else array.astype(np.float64)  # whole numbers beyond 64 bits


def _rows(values: Sequence[Any], path: str) -> np.ndarray:
    """Rows of equal length, or batches of such rows, as one array."""
    try:
        arrays = [
            np.asarray([np.nan if x is None else x for x in v] if isinstance(v, list | tuple) else v) for v in values
        ]
        same = len({array.shape for array in arrays}) == 1
        return np.stack(arrays) if same else np.concatenate(arrays)
    except ValueError:
        raise InputError(f"{path or 'a list'} has rows of different lengths") from None
