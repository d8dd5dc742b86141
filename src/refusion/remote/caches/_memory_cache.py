"""A client cache in memory."""

from collections import OrderedDict
from typing import final

from ._cache import CachedValue, ClientCache

__all__ = ["MemoryCache"]


@final
class MemoryCache(ClientCache):
    """Keeps values as long as this object lives: for tests, and for hubs of one process that follow each other.

    It is bounded: what wasn't used for the longest time goes first. Closing keeps what is in it for the next `open`.
    """

    def __init__(self, *, max_bytes: int | None = 64 * 1024 * 1024, max_entries: int | None = 100_000) -> None:
        """Create an empty cache.

        Args:
            max_bytes: How many bytes keys and data may have together; None is no limit. Python takes about 300 bytes
                for each entry besides.
            max_entries: How many values are kept at most; None is no limit.

        Raises:
            ValueError: If a limit is negative.
        """
        self._max_bytes = _limit("max_bytes", max_bytes)
        self._max_entries = _limit("max_entries", max_entries)
        self._entries: OrderedDict[bytes, CachedValue] = OrderedDict()
        self._size = 0
        self._version: str | None = None
        self._users = 0

    async def open(self, version: str) -> None:
        if self._version == version:
            self._users += 1
            return
        if self._users > 0:
            raise ValueError(f"the cache is open with version {self._version!r}, and can't be with {version!r} as well")
        await self.clear()
        self._version = version
        self._users = 1

    async def get(self, key: bytes) -> CachedValue | None:
        if self._users == 0 or key not in self._entries:
            return None
        self._entries.move_to_end(key)
        return self._entries[key]

    def set(self, key: bytes, value: CachedValue) -> None:
        if self._users == 0:
            return
        self.remove(key)
        self._entries[key] = value
        self._size += len(key) + len(value.data)
        while self._size > self._max_bytes or len(self._entries) > self._max_entries:
            oldest, dropped = self._entries.popitem(last=False)
            self._size -= len(oldest) + len(dropped.data)

    def remove(self, key: bytes) -> None:
        if self._users > 0 and (removed := self._entries.pop(key, None)) is not None:
            self._size -= len(key) + len(removed.data)

    async def flush(self) -> None:
        pass

    async def clear(self) -> None:
        self._entries.clear()
        self._size = 0

    async def aclose(self) -> None:
        self._users = max(0, self._users - 1)


def _limit(name: str, value: int | None) -> float:
    if value is None:
        return float("inf")
    if value < 0:
        raise ValueError(f"{name} is a number from 0 on, or None for no limit; not {value}")
    return value
