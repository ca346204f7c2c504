"""The declaration of a file format: its name, endings and reader."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

from calbench.benchmark.predictions.contents import Contents


@dataclass(frozen=True)
class Format:
    """A format of files.

    Attributes:
        name: what people call it.
        endings: the endings of its files, in lower case.
        read: reads a file from an open binary stream that can seek. It may raise any error on a damaged file, and an
            `InputError` where it knows the reason. Arrays may be read later, while the stream is still open.
        matches: whether a file's first bytes are those of this format; None if they do not decide it.
    """

    name: str
    endings: tuple[str, ...]
    read: Callable[[BinaryIO], Contents]
    matches: Callable[[bytes], bool] | None = None
