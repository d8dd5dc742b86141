"""A server that is restarted at the same address, again and again, on the same data."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final, Protocol, final

from refusion._base._retries import RetryDelays
from refusion.remote import FusionHub
from refusion.rpc import RpcLimits
from refusion.rpc.transports import Network, Server, TransportLimits

from ._consistency_counts import ConsistencyCounts
from ._scenario import ConsistencyScenario

__all__ = ["HURRIED", "HubFactory", "ServerLives"]

HURRIED: Final = RpcLimits(
    reconnect_delays=RetryDelays(0.002, 0.1),
    premature_disconnect_threshold=0.02,
    transport=TransportLimits(connect_timeout=2.0),
    handshake_timeout=2.0,
    close_timeout=2.0,
)
"""Limits of hubs that reconnect at once, so that many cuts take little time, and don't wait long for who is gone."""

_DRAIN_SECONDS: Final = 0.1
_BIND_SECONDS: Final = 5.0
_BIND_PAUSE: Final = 0.05


class HubFactory(Protocol):
    """Makes a hub of a client or of a life of the server; `FusionHub` itself is one."""

    def __call__(self, *, transport: Network | str | None, limits: RpcLimits) -> FusionHub: ...


@final
class ServerLives:
    """One life of the server's process after the other."""

    def __init__(
        self,
        scenario: ConsistencyScenario[Any, Any],
        counts: ConsistencyCounts,
        create_hub: HubFactory,
        transport: Network | str | None,
    ) -> None:
        self.count: int = 0
        """How many lives there were, this one included."""
        self.url: str = ""
        """Where clients connect, whoever serves there."""
        self._scenario = scenario
        self._counts = counts
        self._create_hub = create_hub
        self._transport = transport
        self._port = 0
        self._editing = asyncio.Lock()
        self._restarting = asyncio.Lock()

    async def start(self) -> None:
        """Begin a life."""
        self._begin_service()
        await self._serve()

    @asynccontextmanager
    async def editing(self) -> AsyncGenerator[Any, None]:
        """Give the service of this life, which goes on at least until the edit is done."""
        async with self._editing:
            yield self._service

    async def restart(self, *, gracefully: bool) -> None:
        """End this life and begin the next one.

        As when a process is killed, all connections are gone and handlers cancelled; `gracefully` lets those that run
        come to their end first. Edits go on meanwhile.
        """
        async with self._restarting:
            if not gracefully:
                self._abort_connections()
            await self._hub.aclose(drain_timeout=_DRAIN_SECONDS if gracefully else 0.0)
            async with self._editing:
                self._begin_service()
            await self._serve()

    def cut(self, client_id: str) -> bool:
        """Cut the connection of a client at this end; returns whether it is known here."""
        for peer in self._hub.server_peers:
            if peer.client_id == client_id and peer.link is not None:
                peer.link.abort()
                return True
        return False

    async def aclose(self) -> None:
        """End the last life."""
        if self.count:
            self._abort_connections()
            await self._hub.aclose(drain_timeout=0.0)

    def _begin_service(self) -> None:
        self._service: Any = self._scenario.create_service()
        self._counts.add_service(self._service)
        self._hub = self._create_hub(transport=self._transport, limits=HURRIED)
        self._hub.add_service(self._scenario.contract, self._service)
        self.count += 1

    async def _serve(self) -> None:
        server = await self._listen()
        self._port, self.url = server.port, server.url

    async def _listen(self) -> Server:
        deadline = time.monotonic() + _BIND_SECONDS
        while True:
            try:
                return await self._hub.serve("127.0.0.1", self._port)
            except OSError:
                # What was connected to the life before may still hold the port for a moment.
                if self._port == 0 or time.monotonic() >= deadline:
                    raise
            await asyncio.sleep(_BIND_PAUSE)

    def _abort_connections(self) -> None:
        for peer in self._hub.server_peers:
            if peer.link is not None:
                peer.link.abort()
