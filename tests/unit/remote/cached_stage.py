"""A compute service and clients of it that share a cache, one after another or at once."""

from typing import Any

from refusion import Computed, FusionHub
from refusion.remote import MemoryCache
from refusion.testing import VirtualClock, settle

from .stage import LIMITS, URL, CounterApi, RemoteStage

__all__ = ["CachedStage"]


class CachedStage(RemoteStage):
    """A server, and any number of client processes with one cache."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__(clock)
        self.cache = MemoryCache()
        self.hubs: list[FusionHub] = []

    def open_client(self, **options: Any) -> CounterApi:
        """Start another client process."""
        self.hub = FusionHub(transport=self.network, limits=LIMITS, cache=self.cache, **options)
        self.hubs.append(self.hub)
        self.client = self.hub.client(CounterApi, URL)
        return self.client

    async def open_online_client(self, **options: Any) -> CounterApi:
        """Start another client process, and wait until it is connected."""
        client = self.open_client(**options)
        await self.peer.wait_connected()
        await settle()
        return client

    async def remember(self, **values: int) -> None:
        """Let a first client learn these values, and leave."""
        self.values.update(values)
        first = await self.open_online_client()
        for key in values:
            await first.get(key)
        await self.hub.aclose()

    async def replica(self, key: str) -> Computed[int]:
        """Return what the latest client has for a key."""
        return await self.client.get.capture(key)

    @property
    def open_calls(self) -> tuple[int, int]:
        """How many calls the latest client and the server's side of it have in their tables."""
        return len(self.peer.outbound), len(self.server.server_peers[-1].inbound)

    @property
    def keys(self) -> list[bytes]:
        """What is in the cache."""
        return list(self.cache._entries)

    @property
    def reads(self) -> list[str]:
        """What the service has computed."""
        return self.service.log

    async def aclose(self) -> None:
        for hub in self.hubs:
            await hub.aclose()
        await super().aclose()
