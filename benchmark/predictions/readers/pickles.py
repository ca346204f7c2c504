"""Reads pickles of arrays, lists, tuples and dicts; anything that would execute code is refused."""

from typing import BinaryIO

from calbench.benchmark.core.unpickle import unpickle
from calbench.benchmark.predictions.contents import Contents
from calbench.benchmark.predictions.readers._format import Format
from calbench.benchmark.predictions.readers._nested import flatten

_PROTOCOLS = tuple(bytes([0x80, protocol]) for protocol in range(2, 6))


def _read(stream: BinaryIO) -> Contents:
    return Contents(flatten(unpickle(stream.read())))


FORMAT = Format("pickle", (".p", ".pkl", ".pickle"), _read, lambda head: head.startswith(_PROTOCOLS))
