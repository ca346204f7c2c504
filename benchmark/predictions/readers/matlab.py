"""Reads MATLAB's .mat files up to version 7; structures are read by path."""

import math
from typing import Any, BinaryIO, cast

from calbench.benchmark.core.errors import InputError
from calbench.benchmark.core.limits import most_bytes, refusal
from calbench.benchmark.predictions.contents import Contents
from calbench.benchmark.predictions.readers._format import Format
from calbench.benchmark.predictions.readers._matlab_elements import check_elements
from calbench.benchmark.predictions.readers._nested import flatten


def _read(stream: BinaryIO) -> Contents:
    from scipy.io import loadmat, whosmat

    most = most_bytes(stream)
    check_elements(stream.read(), most)
    stream.seek(0)
    total = sum(8 * math.prod(map(int, shape)) for _, shape, _ in whosmat(cast("Any", stream)))
    if total > most:
        raise InputError(refusal(total, most))
    stream.seek(0)
    variables = loadmat(cast("Any", stream), simplify_cells=True)
    return Contents(flatten({name: value for name, value in variables.items() if not name.startswith("__")}))


FORMAT = Format("MATLAB", (".mat",), _read, lambda head: head.startswith(b"MATLAB 5.0"))
