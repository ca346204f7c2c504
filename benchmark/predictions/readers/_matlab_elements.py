"""What a MATLAB file of version 5 to 7 declares, from the heads of its elements and before anything is allocated.

SciPy's reader calls itself for each level of cells and structures, and allocates an array of cells before it reads the
first: a small file could end the interpreter, or take all memory.
"""

import math
import struct
import zlib

from calbench.benchmark.core.errors import InputError
from calbench.benchmark.core.limits import refusal

_HEADER, _COMPRESSED, _MATRIX, _CHUNK = 128, 15, 14, 1 << 22
_CELL, _STRUCTURE, _OBJECT, _SPARSE = 1, 2, 3, 5
_CONTAINERS = (_CELL, _STRUCTURE, _OBJECT, _SPARSE)
_MAX_DEPTH = 32
"""Levels of cells and structures inside each other."""
_POINTER = 8


def check_elements(data: bytes, most: int) -> None:
    """Refuse a file whose elements expand or declare more than `most` bytes, or are nested too deeply.

    What is inside of a structure or cell has no size outside. Sparse matrices count as if they were dense.

    Raises:
        InputError: they do.
        ValueError: an element is malformed.
    """
    order = "<" if data[126:128] == b"IM" else ">"
    budget = _Budget(most)
    for kind, part in _elements(data, _HEADER, order):
        if kind == _COMPRESSED:
            part = budget.decompress(part)
            for inner, content in _elements(part, 0, order):
                budget.declare(inner, content, order)
        else:
            budget.declare(kind, part, order)


class _Budget:
    def __init__(self, most: int) -> None:
        self.most, self.expanded, self.declared = most, 0, 0

    def decompress(self, part: bytes | memoryview) -> bytes:
        reader, parts = zlib.decompressobj(), []
        while part and not reader.eof:
            parts.append(reader.decompress(part, _CHUNK))
            part, self.expanded = reader.unconsumed_tail, self.expanded + len(parts[-1])
            if self.expanded > self.most:
                raise InputError(refusal(self.expanded, self.most))
        return b"".join(parts)

    def declare(self, kind: int, part: bytes | memoryview, order: str) -> None:
        """Count the containers of a matrix and of those inside of it."""
        inside = [(kind, memoryview(part), 1)]
        while inside:
            kind, content, depth = inside.pop()
            if kind != _MATRIX or not len(content):
                continue
            if depth > _MAX_DEPTH:
                raise InputError(f"its cells and structures are nested more than {_MAX_DEPTH} levels deep")
            parts = list(_elements(content, 0, order))
            if len(parts) < 2:
                continue
            flags, sizes = parts[0][1], parts[1][1]
            if len(flags) and flags[0 if order == "<" else -5 if len(flags) >= 5 else -1] in _CONTAINERS:
                shape = struct.unpack(f"{order}{len(sizes) // 4}i", sizes[: len(sizes) // 4 * 4])
                self.declared += _POINTER * math.prod(max(size, 0) for size in shape)
                if self.declared > self.most:
                    raise InputError(refusal(self.declared, self.most))
            inside += [(kind, content, depth + 1) for kind, content in parts[2:]]


def _elements(data: bytes | memoryview, place: int, order: str) -> list[tuple[int, memoryview]]:
    """Type and content of the elements from `place` on; those of up to four bytes have a short head."""
    found, view = [], memoryview(data)
    while place + 8 <= len(view):
        kind, size = struct.unpack_from(f"{order}II", view, place)
        if kind >> 16:
            kind, size, start = kind & 0xFFFF, kind >> 16, place + 4
            place += 8
        else:
            start = place + 8
            place = start + size + (0 if kind == _COMPRESSED else -size % 8)
        found.append((kind, view[start : start + size]))
    return found
