"""What a message may bring where anything may be read: so many keys that aren't texts, and so many arrays and maps.

Nobody outside of the process can foresee where in a dict a text is put, but for numbers everybody can: putting a
million that were chosen for it into a dict takes hours. And an empty map is one byte there, and 64 here. A contract
that declares dicts by number, or lists of lists, wants them; in values of which nothing is declared, or that don't
fit what is, large numbers of them are nothing but harm.
"""

from typing import Final

from refusion.rpc._errors import RpcArgumentError

from ._msgpack_values import COUNTED, FIXED, SIZED

__all__ = ["MAX_CONTAINERS", "MAX_OTHER_KEYS", "check_untyped"]

MAX_OTHER_KEYS: Final = 16_384
"""The keys in one message that aren't texts; the worst ones of that many take less than half a second."""

_SAFE_BYTES: Final = 32_768
"""Data of this size can't have more of them."""

MAX_CONTAINERS: Final = 1_000_000
"""The arrays and maps in one message; that many maps with an entry each take 200 MB."""

_CONTAINERS: Final = bytes([*range(0x80, 0xA0), *range(0xDC, 0xE0)])
"""What arrays and maps begin with."""

_MAX_DEPTH: Final = 10_000
"""Values that are nested deeper can't be decoded anyway."""


def check_untyped(data: bytes) -> None:
    """Refuse data that has too much of either; whether it is right otherwise is for others to say.

    Raises:
        RpcArgumentError: If it has.
    """
    # Maps with more than 15 entries begin with one of two bytes; most data has none of these.
    if (len(data) > _SAFE_BYTES and (b"\xde" in data or b"\xdf" in data)) or (
        len(data) > MAX_CONTAINERS and len(data) - len(data.translate(None, _CONTAINERS)) > MAX_CONTAINERS
    ):
        _count(data)


def _count(data: bytes) -> None:
    key_count = container_count = position = 0
    # The innermost value that isn't over: how many values are still to come in it, and whether it is a map.
    remaining, is_map = len(data) + 1, False
    around: list[tuple[int, bool]] = []
    while position < len(data):
        while remaining == 0:
            remaining, is_map = around.pop()
        first = data[position]
        if is_map and remaining & 1 == 0 and not (0xA0 <= first < 0xC0 or 0xD9 <= first <= 0xDB):
            key_count += 1
            if key_count > MAX_OTHER_KEYS:
                raise RpcArgumentError(f"it has maps with more than {MAX_OTHER_KEYS:,} keys that aren't texts")
        remaining -= 1
        position += 1
        if first < 0x80 or first >= 0xE0:
            continue
        if first < 0xA0 or first in COUNTED:
            container_count += 1
            if container_count > MAX_CONTAINERS:
                raise RpcArgumentError(f"it has more than {MAX_CONTAINERS:,} arrays and maps")
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
