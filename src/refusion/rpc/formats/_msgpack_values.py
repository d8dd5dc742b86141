"""Where a value in MessagePack ends: values that follow each other have to be told apart."""

from typing import Final

from refusion.rpc._errors import RpcArgumentError

__all__ = ["COUNTED", "FIXED", "SIZED", "value_end"]

FIXED: Final = {
    0xC0: 0,
    0xC2: 0,
    0xC3: 0,
    0xCA: 4,
    0xCB: 8,
    0xCC: 1,
    0xCD: 2,
    0xCE: 4,
    0xCF: 8,
    0xD0: 1,
    0xD1: 2,
    0xD2: 4,
    0xD3: 8,
    0xD4: 2,
    0xD5: 3,
    0xD6: 5,
    0xD7: 9,
    0xD8: 17,
}
"""How many bytes follow a first byte."""

SIZED: Final = {
    0xC4: (1, 0),
    0xC5: (2, 0),
    0xC6: (4, 0),
    0xC7: (1, 1),
    0xC8: (2, 1),
    0xC9: (4, 1),
    0xD9: (1, 0),
    0xDA: (2, 0),
    0xDB: (4, 0),
}
"""How many bytes a size has that follows the first byte, and what comes on top of that size."""

COUNTED: Final = {0xDC: (2, 1), 0xDD: (4, 1), 0xDE: (2, 2), 0xDF: (4, 2)}
"""How many bytes a count has that follows the first byte, and how many values are counted as one."""


def value_end(data: bytes, position: int) -> int:
    """Return the position behind the value at `position`. However deep it is nested, this doesn't recurse.

    Raises:
        RpcArgumentError: If there is no whole value.
    """
    remaining = 1
    while remaining:
        if position >= len(data):
            raise RpcArgumentError("its data ends within a value")
        first = data[position]
        position += 1
        remaining -= 1
        if first < 0x80 or first >= 0xE0:
            continue
        if first < 0x90:
            remaining += 2 * (first & 0x0F)
        elif first < 0xA0:
            remaining += first & 0x0F
        elif first < 0xC0:
            position += first & 0x1F
        elif first in FIXED:
            position += FIXED[first]
        elif first in SIZED:
            width, extra = SIZED[first]
            position += width + int.from_bytes(data[position : position + width], "big") + extra
        elif first in COUNTED:
            width, values = COUNTED[first]
            remaining += values * int.from_bytes(data[position : position + width], "big")
            position += width
        else:
            raise RpcArgumentError("a byte in its data begins no value")
    if position > len(data):
        raise RpcArgumentError("its data ends within a value")
    return position
