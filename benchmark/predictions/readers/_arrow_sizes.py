"""How much an Arrow file or stream expands to, from its messages and without decompressing anything."""

import struct
from typing import Any, BinaryIO

_WITH_DATA = ("record batch", "dictionary")
_MESSAGE_HEADER, _DICTIONARY_DATA = 2, 1
_BUFFERS, _COMPRESSION = 2, 3


def expanded_bytes(stream: BinaryIO) -> int:
    """The bytes of all buffers of the messages from the position of `stream` on, decompressed.

    A compressed buffer begins with its size (https://arrow.apache.org/docs/format/Columnar.html#compression).

    Raises:
        ValueError: a message is malformed; errors of pyarrow where it cannot be read.
    """
    import pyarrow as pa

    total = 0
    for message in pa.ipc.MessageReader.open_stream(stream):
        if message.type in _WITH_DATA:
            total += _of_message(message)
    return total


def _of_message(message: Any) -> int:
    metadata, body = memoryview(message.metadata), memoryview(message.body)
    try:
        batch = _table_at(metadata, 0, _MESSAGE_HEADER)
        if message.type == "dictionary":
            batch = _follow(metadata, batch, _DICTIONARY_DATA)
        if batch is None or not _field(metadata, batch, _COMPRESSION):
            return len(body)
        place = _field(metadata, batch, _BUFFERS)
        if not place:
            return len(body)
        start = place + _unsigned(metadata, place)
        total = 0
        for index in range(_unsigned(metadata, start)):
            offset, length = struct.unpack_from("<qq", metadata, start + 4 + 16 * index)
            if length:
                size = struct.unpack_from("<q", body, offset)[0] if length >= 8 and offset >= 0 else -1
                total += length if size == -1 else abs(size)
    except (struct.error, TypeError) as error:
        raise ValueError(f"a malformed message: {error}") from None
    return total


def _unsigned(data: memoryview, place: int) -> int:
    if place < 0:
        raise ValueError("a malformed message")
    return struct.unpack_from("<I", data, place)[0]


def _field(data: memoryview, table: int, number: int) -> int:
    """The place of a field of a flatbuffer's table, or 0 where it has its default."""
    layout = table - struct.unpack_from("<i", data, table)[0]
    if layout < 0 or 4 + 2 * number >= struct.unpack_from("<H", data, layout)[0]:
        return 0
    offset = struct.unpack_from("<H", data, layout + 4 + 2 * number)[0]
    return table + offset if offset else 0


def _follow(data: memoryview, table: int | None, number: int) -> int | None:
    place = _field(data, table, number) if table is not None else 0
    return place + _unsigned(data, place) if place else None


def _table_at(data: memoryview, root: int, number: int) -> int | None:
    return _follow(data, root + _unsigned(data, root), number)
