"""The contract of client caches: where a hub's clients find what they knew before."""

from abc import ABC, abstractmethod
from typing import NamedTuple

__all__ = ["CachedValue", "ClientCache"]


class CachedValue(NamedTuple):
    """A value as it came over the wire."""

    data: bytes
    """The argument data of the answer."""

    hash: str
    """The content hash of `data`, by which the server tells that it has no other value."""


class ClientCache(ABC):
    """Keeps values of other processes beyond the life of this one, for clients that start slowly or offline.

    It is asked once for each value that isn't known yet, and told of each value that has come. What it gives may be
    old: a hub serves it at once, and asks the server about it. So a cache that has lost something, or can't be read,
    costs time and nothing else.

    A cache is used in one event loop at a time, by one hub or several.
    """

    @abstractmethod
    async def open(self, version: str) -> None:
        """Get ready; called before anything else, once by each hub that uses the cache.

        What was written under another version can't be read any more, and is cleared.

        Raises:
            ValueError: If it is open with another version.
            Exception: If it can't be used. Hubs go on without it then.
        """

    @abstractmethod
    async def get(self, key: bytes) -> CachedValue | None:
        """Return what was set for `key`, flushed or not; None if there is nothing.

        Raises:
            Exception: If it can't be read. Hubs log that and ask the server.
        """

    @abstractmethod
    def set(self, key: bytes, value: CachedValue) -> None:
        """Remember a value; it is readable at once, and persistent after a flush."""

    @abstractmethod
    def remove(self, key: bytes) -> None:
        """Forget what was set for `key`, if anything."""

    @abstractmethod
    async def flush(self) -> None:
        """Return when everything that was set or removed before is persistent; raises what that has raised."""

    @abstractmethod
    async def clear(self) -> None:
        """Forget everything."""

    @abstractmethod
    async def aclose(self) -> None:
        """Flush, and let go of files and threads when all who have opened it are done; `open` opens it again."""
