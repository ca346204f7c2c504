"""Makes sparse matrices from files dense; every index is checked before it is used."""

import numpy as np

from calbench.benchmark.core.errors import InputError


def dense_of_coordinates(shape: tuple[int, ...], indices: np.ndarray, values: np.ndarray) -> np.ndarray:
    """A dense array of a sparse one in coordinate form; values at one place are added.

    Args:
        shape: the shape of the dense array, of D dimensions.
        indices: whole numbers (D, number of values).
        values: numbers or booleans (number of values,).

    Raises:
        InputError: an index outside of `shape`, or arrays that do not match.

    Example:
        >>> dense_of_coordinates((2, 2), np.array([[0, 1], [1, 0]]), np.array([3.0, 4.0]))
        array([[0., 3.],
               [4., 0.]])
    """
    if indices.dtype.kind not in "iu" or values.dtype.kind not in "fiub":
        raise InputError("a sparse matrix is malformed: its indices are not whole numbers, or its values not numbers")
    if indices.shape != (len(shape), *values.shape) or values.ndim != 1:
        raise InputError("a sparse matrix is malformed: its numbers of indices and values differ")
    for size, places in zip(shape, indices, strict=True):
        if len(places) and not 0 <= int(places.min()) <= int(places.max()) < size:
            raise InputError(f"a sparse matrix is malformed: an index is outside of its shape {shape}")
    dense = np.zeros(shape, values.dtype)
    np.add.at(dense, tuple(indices), values)
    return dense


def dense_of_compressed(
    shape: tuple[int, ...], pointers: np.ndarray, indices: np.ndarray, values: np.ndarray, *, by_row: bool
) -> np.ndarray:
    """A dense matrix of one in compressed form: CSR, or CSC where `by_row` is false.

    Args:
        shape: rows and columns.
        pointers: where each row (or column) begins in `indices`, and where the last ends.
        indices: the column (or row) of each value.
        values: numbers or booleans.
        by_row: whether the rows are compressed.

    Raises:
        InputError: not two dimensions, or arrays that do not match.

    Example:
        >>> pointers, indices = np.array([0, 1, 2]), np.array([1, 0])
        >>> dense_of_compressed((2, 2), pointers, indices, np.array([3.0, 4.0]), by_row=True)
        array([[0., 3.],
               [4., 0.]])
    """
    if len(shape) != 2:
        raise InputError(f"a sparse matrix has {len(shape)} dimensions, expected 2; save it as a dense array")
    lines = shape[0] if by_row else shape[1]
    if pointers.dtype.kind not in "iu" or pointers.shape != (lines + 1,):
        raise InputError("a sparse matrix is malformed: its pointers do not match its shape")
    counts = np.diff(pointers.astype(np.int64))
    if int(pointers[0]) != 0 or int(pointers[-1]) != len(values) or counts.min(initial=0) < 0:
        raise InputError("a sparse matrix is malformed: its pointers do not match its values")
    outer = np.repeat(np.arange(lines), counts)
    if indices.shape != outer.shape:
        raise InputError("a sparse matrix is malformed: its numbers of indices and values differ")
    inner = indices.astype(np.int64) if indices.dtype.kind in "iu" else indices
    return dense_of_coordinates(shape, np.stack([outer, inner] if by_row else [inner, outer]), values)
