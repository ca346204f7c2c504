"""MATLAB's .mat up to version 7; structures are read by path."""

from typing import BinaryIO

from calbench.benchmark.predictions.contents import Contents
from calbench.benchmark.predictions.readers._format import Format
from calbench.benchmark.predictions.readers._nested import flatten


def _read(stream: BinaryIO) -> Contents:
    from scipy.io import loadmat

    variables = loadmat(stream, simplify_cells=True)
    return Contents(flatten({name: value for name, value in variables.items() if not name.startswith("__")}))


FORMAT = Format("MATLAB", (".mat",), _read, lambda head: head.startswith(b"MATLAB 5.0"))
