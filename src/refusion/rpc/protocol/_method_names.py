"""Wire names of methods, and the hashes that stand for them in compact formats."""

from collections.abc import Callable
from functools import lru_cache
from typing import Final, final

from ._system_calls import SYSTEM_METHODS

__all__ = ["MethodNames", "method_hash"]

_PREFIX_FACTOR: Final = 67_211


@lru_cache(maxsize=4_096)
def method_hash(name: str) -> int:
    """Return the 32-bit hash of a wire name.

    It is the low half of XXH3-64 over a four-byte length prefix and the UTF-8 name (ActualLab.Rpc's RpcMethodRef).
    """
    # Imported here, so that who only computes doesn't load it.
    import xxhash

    data = name.encode()
    prefix = (_PREFIX_FACTOR * len(data) & 0xFFFF_FFFF).to_bytes(4, "little")
    return int(xxhash.xxh3_64_intdigest(prefix + data)) & 0xFFFF_FFFF


@lru_cache(maxsize=4_096)
def wire_hash(name: str) -> bytes:
    """Return the hash of a wire name as it is written in a message."""
    return method_hash(name).to_bytes(4, "little")


@final
class MethodNames:
    """The methods that one hub answers to, by hash.

    Two names with the same hash can't be told apart in compact formats, so neither is found there.
    """

    def __init__(self) -> None:
        self._by_wire: dict[bytes, str | None] = {}
        self.find: Callable[[bytes], str | None] = self._by_wire.get
        """Returns the name with a hash (four bytes, as written in a message), or None; once per message."""
        for name in SYSTEM_METHODS:
            self.add(name)

    def add(self, name: str) -> None:
        """Make `name` known; adding it again changes nothing."""
        wire = wire_hash(name)
        known = self._by_wire.setdefault(wire, name)
        if known != name:
            self._by_wire[wire] = None
