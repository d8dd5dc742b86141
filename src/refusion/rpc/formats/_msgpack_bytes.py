"""Argument data in MessagePack that is one large byte string: it is copied once, not two or three times."""

import struct
from collections.abc import Sequence
from typing import Any, Final, final

from refusion.rpc.protocol._limits import MAX_ARGUMENT_BYTES

from ._format import ArgumentCodec, check_size

__all__ = ["BytesArgument"]

_LARGE: Final = 8 * 1024
"""From here on copying takes longer than it takes to get around it."""

_HEADERS: Final = {0xC5: struct.Struct(">BH"), 0xC6: struct.Struct(">BI")}
"""What stands before the bytes, by its first byte: that, and their number."""


@final
class BytesArgument(ArgumentCodec):
    """One byte string. A small one, and what looks otherwise, is left to the codec for any values."""

    __slots__ = ("_any",)

    def __init__(self, any_values: ArgumentCodec) -> None:
        self._any = any_values

    def encode(self, values: Sequence[Any], max_bytes: int = MAX_ARGUMENT_BYTES) -> bytes:
        if len(values) != 1 or type(values[0]) is not bytes or len(values[0]) < _LARGE:
            return self._any.encode(values, max_bytes)
        data = values[0]
        size = len(data)
        first = 0xC5 if size < 0x1_0000 else 0xC6
        header = _HEADERS[first]
        check_size("the argument data", header.size + size, max_bytes)
        return header.pack(first, size) + data

    def decode(self, data: bytes) -> tuple[Any, ...]:
        if len(data) > _LARGE and data[0] in _HEADERS:
            header = _HEADERS[data[0]]
            end = header.size + header.unpack_from(data)[1]
            if end <= len(data):
                return (data[header.size : end],)
        return self._any.decode(data)
