"""Reads files of ``torch.save``: tensors in tuples, lists and dicts, from any device."""

from typing import BinaryIO

from calbench.benchmark.core.torch_files import is_torch, read_torch
from calbench.benchmark.predictions.contents import Contents
from calbench.benchmark.predictions.readers._format import Format
from calbench.benchmark.predictions.readers._nested import flatten


def _read(stream: BinaryIO) -> Contents:
    return Contents(flatten(read_torch(stream)))


FORMAT = Format("torch", (".pt", ".pth", ".bin", ".ckpt"), _read, is_torch)
