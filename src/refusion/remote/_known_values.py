"""What a hub knows of values from before: what its cache has, and which of that isn't true any more."""

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Sequence
from contextvars import Context
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, NamedTuple, final

from refusion._base._logging import log_failure, logger
from refusion.rpc import MethodDefinition, RpcClientPeer, RpcRoute

from .caches import CachedValue, ClientCache

if TYPE_CHECKING:
    from refusion.rpc import RpcHub

__all__ = ["NOTHING_KNOWN", "KnownValue", "KnownValues"]


class KnownValue(NamedTuple):
    """A value from before."""

    hash: str
    """The content hash, by which the server tells that it has no other value; empty if there is no value."""

    value: Any


NOTHING_KNOWN: Final = KnownValue("", None)
"""Asks the server for the hash of what it answers."""

_MAX_STALE: Final = 16_384
"""How many stale values are remembered at most. Of more the oldest count as unknown: their cached value is shown
once more, as one that the server has still to confirm."""


@final
class KnownValues:
    """The values in a hub's cache, and those that were invalidated since: they are asked about before they are shown.

    A cache that fails is as good as none: what it raises is logged.
    """

    def __init__(self, hub: "RpcHub", cache: ClientCache, version: str) -> None:
        self._hub = hub
        self._cache = cache
        self._version = version
        self._opening: asyncio.Task[bool] | None = None
        self._is_open = False
        self._is_failing = False
        self._stale: OrderedDict[bytes, KnownValue] = OrderedDict()
        # Replicas are invalidated in any thread.
        self._lock = threading.Lock()

    @staticmethod
    def key(peer: RpcClientPeer, route: RpcRoute, method: MethodDefinition, values: Sequence[Any]) -> bytes:
        """Return what a call is known by: whom it goes to, the method and the arguments.

        Raises:
            RpcArgumentError: If a value can't be written.
        """
        # A route may lead to any of several servers of the same data, and is named for that.
        source = peer.url if route.ref.is_fixed else route.ref.name
        args = peer.encode_arguments(method, values)
        return b"\0".join((_digest(source), method.wire_name.encode(), args))

    async def find(self, key: bytes, method: MethodDefinition, peer: RpcClientPeer) -> KnownValue | None:
        """Return what the cache has for a key."""
        if not self._is_open:
            await self._open()
        if not self._is_open:
            return None
        try:
            cached = await self._cache.get(key)
            if cached is None:
                return None
            (value,) = method.codecs[peer.format].result.decode(cached.data)
        except Exception as error:
            # Also what was written when the method had another type.
            if not self._is_failing:
                logger.warning("what is cached for %s, and perhaps more, can't be read: %s", method.full_name, error)
            self._is_failing = True
            return None
        self._is_failing = False
        return KnownValue(cached.hash, value)

    def stale(self, key: bytes) -> KnownValue | None:
        """Return a value that was invalidated since it came, until there is another one."""
        return self._stale.get(key)

    def mark_stale(self, key: bytes, known: KnownValue, replica: object = None) -> None:
        """Remember that a value was invalidated, together with the replica that had it; may be called in any thread."""
        with self._lock:
            self._stale[key] = known
            self._stale.move_to_end(key)
            if len(self._stale) > _MAX_STALE:
                self._stale.popitem(last=False)

    def confirm(self, key: bytes) -> None:
        """Be told that the server has no other value."""
        with self._lock:
            self._stale.pop(key, None)

    def learn(self, key: bytes, value: CachedValue) -> None:
        """Be told of another value."""
        self.confirm(key)
        self._change(self._cache.set, key, value)

    def learn_error(self, key: bytes) -> None:
        """Be told that the server has no value, but an error."""
        self.confirm(key)
        self._change(self._cache.remove, key)

    async def aclose(self) -> None:
        """Write what isn't written yet, and let go of the cache."""
        if self._opening is not None and await self._opening:
            self._is_open = False
            try:
                await self._cache.aclose()
            except Exception:
                log_failure("closing a client cache", self._cache)

    def _change(self, change: Any, *args: Any) -> None:
        if not self._is_open:
            return
        try:
            change(*args)
        except Exception:
            log_failure("writing to a client cache", self._cache)

    async def _open(self) -> None:
        if self._opening is None:
            # Not on behalf of whoever happens to need it first.
            opening = self._try_to_open()
            self._opening = self._hub.loop.create_task(opening, name="open client cache", context=Context())
        # Whoever is cancelled while waiting, others wait, too.
        await asyncio.shield(self._opening)

    async def _try_to_open(self) -> bool:
        try:
            await self._cache.open(self._version)
        except Exception as error:
            logger.error("the client cache can't be used, and nothing is cached: %s", error, exc_info=error)
            return False
        self._is_open = True
        return True


@lru_cache(maxsize=1_024)
def _digest(source: str) -> bytes:
    """Return what stands for a URL: in its query there may be who the client is, which no file should have."""
    return sha256(source.encode()).hexdigest()[:32].encode()
