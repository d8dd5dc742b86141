"""Unsigned LEB128 numbers of up to 64 bits, and ascending id lists made of them."""

from collections.abc import Iterable
from typing import Final

from refusion.rpc._errors import RpcProtocolError

from ._limits import MAX_IDS

__all__ = ["ids_from_bytes", "ids_to_bytes", "read_leb128", "write_leb128"]

_MAX_BYTES: Final = 10


def write_leb128(buffer: bytearray, value: int) -> None:
    """Append `value`, which must be zero or more and fit 64 bits."""
    if value < 0 or value >> 64:
        raise RpcProtocolError(f"{value} isn't an unsigned 64-bit number")
    while value > 0x7F:
        buffer.append(value & 0x7F | 0x80)
        value >>= 7
    buffer.append(value)


def read_leb128(data: bytes, position: int) -> tuple[int, int]:
    """Return the number at `position` and the position behind it; longer forms than needed are accepted.

    Raises:
        RpcProtocolError: If the data ends within the number, or it has more than 64 bits.
    """
    value = shift = 0
    for index in range(position, min(len(data), position + _MAX_BYTES)):
        byte = data[index]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value >> 64:
                break
            return value, index + 1
        shift += 7
    raise RpcProtocolError(f"no 64-bit number at byte {position}")


def ids_to_bytes(ids: Iterable[int]) -> bytes:
    """Return an ascending list of ids as the differences between them."""
    buffer = bytearray()
    previous = 0
    for number in ids:
        write_leb128(buffer, number - previous)
        previous = number
    return bytes(buffer)


def ids_from_bytes(data: bytes) -> list[int]:
    """Return the ids that `ids_to_bytes` has written.

    Raises:
        RpcProtocolError: If the data isn't such a list, or has more than `MAX_IDS`.
    """
    ids: list[int] = []
    position = previous = 0
    while position < len(data):
        difference = data[position]
        position += 1
        if difference > 0x7F:
            difference, position = read_leb128(data, position - 1)
        previous += difference
        ids.append(previous)
        if len(ids) > MAX_IDS:
            raise RpcProtocolError(f"a list of more than {MAX_IDS:,} ids")
    if previous >> 64:
        raise RpcProtocolError("a list of ids that has more than 64-bit numbers")
    return ids
