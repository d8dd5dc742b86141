"""Keys of maps in MessagePack that aren't texts: where anything may be read, there may be so many and no more.

Nobody outside of the process can foresee where in a dict a text is put, but for numbers everybody can: putting a
million that were chosen for it into a dict takes hours. A contract that declares a dict by number wants them;
in values of which nothing is declared, or that don't fit what is, large numbers of them are nothing but harm.
"""

from typing import Final

from refusion.rpc._errors import RpcArgumentError

from ._msgpack_values import COUNTED, FIXED, SIZED

__all__ = ["MAX_OTHER_KEYS", "check_keys"]

MAX_OTHER_KEYS: Final = 16_384
"""The keys in one message that aren't texts; the worst ones of that many take less than half a second."""

_SAFE_BYTES: Final = 32_768
"""Data of this size can't have more of them."""

_MAX_DEPTH: Final = 10_000
"""Values that are nested deeper can't be decoded anyway."""


def check_keys(data: bytes) -> None:
    """Refuse data that has too many keys that aren't texts; whether it is right otherwise is for others to say.

    Raises:
        RpcArgumentError: If it has.
    """
    # Maps with more than 15 entries begin with one of these bytes; most data has none.
    if len(data) > _SAFE_BYTES and (b"\xde" in data or b"\xdf" in data):
        _count_keys(data)


def _count_keys(data: bytes) -> None:
    count = position = 0
    # The innermost value that isn't over: how many values are still to come in it, and whether it is a map.
    remaining, is_map = len(data) + 1, False
    around: list[tuple[int, bool]] = []
    while position < len(data):
        while remaining == 0:
            remaining, is_map = around.pop()
        first = data[position]
        if is_map and remaining & 1 == 0 and not (0xA0 <= first < 0xC0 or 0xD9 <= first <= 0xDB):
            count += 1
            if count > MAX_OTHER_KEYS:
                raise RpcArgumentError(f"it has maps with more than {MAX_OTHER_KEYS:,} keys that aren't texts")
        remaining -= 1
        position += 1
        if first < 0x80 or first >= 0xE0:
            continue
        if first < 0xA0 or first in COUNTED:
            if first < 0xA0:
                size, values = first & 0x0F, 1 + (first < 0x90)
            else:
                width, values = COUNTED[first]
                size = int.from_bytes(data[position : position + width], "big")
                position += width
            if size:
                around.append((remaining, is_map))
                if len(around) > _MAX_DEPTH:
                    return
                remaining, is_map = values * size, values > 1
        elif first < 0xC0:
            position += first & 0x1F
        elif first in FIXED:
            position += FIXED[first]
        elif first in SIZED:
            width, extra = SIZED[first]
            position += width + int.from_bytes(data[position : position + width], "big") + extra
        else:
            return
