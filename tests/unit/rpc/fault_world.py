"""A world with calls of all kinds: regular ones, compute calls, and streams."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any, Self

from refusion import FusionHub, collect, compute_method
from refusion.rpc import RpcHub, RpcStream
from refusion.testing import settle

from .world import World


class Ledger:
    """What is called in all kinds of ways."""

    async def run(self, key: str) -> str:
        raise NotImplementedError

    async def quick(self, key: str) -> str:
        raise NotImplementedError

    @compute_method
    async def value(self, key: str) -> int:
        raise NotImplementedError

    async def feed(self, key: str, count: int) -> RpcStream[int]:
        raise NotImplementedError


class LedgerService(Ledger):
    """Waits in the midst of each call until it is let go."""

    def __init__(self, world: "FaultWorld") -> None:
        self._world = world

    async def run(self, key: str) -> str:
        self._world.runs[f"run {key}"] += 1
        await self._world.gate.wait()
        return f"{key} done"

    async def quick(self, key: str) -> str:
        self._world.runs[f"quick {key}"] += 1
        return f"{key} done"

    @compute_method
    async def value(self, key: str) -> int:
        self._world.runs[f"value {key}"] += 1
        value = self._world.values[key]
        await self._world.gate.wait()
        return value

    async def feed(self, key: str, count: int) -> RpcStream[int]:
        self._world.runs[f"feed {key}"] += 1
        return RpcStream(self._count(count), ack_period=10, ack_advance=20)

    async def _count(self, count: int) -> AsyncIterator[int]:
        for number in range(count):
            if number == count // 2:
                await self._world.gate.wait()
            yield number


class FaultWorld(World):
    """A server whose process may be replaced by another one, and a client that uses it in all kinds of ways."""

    async def __aenter__(self) -> Self:
        self.gate = asyncio.Event()
        self.runs: Counter[str] = Counter()
        self.values: Counter[str] = Counter()
        await super().__aenter__()
        self.api = self.client.client(Ledger, self.peer)
        await self.peer.wait_connected()
        await settle()
        return self

    async def __aexit__(self, *error: object) -> None:
        self.gate.set()
        await super().__aexit__(*error)
        collect()

    async def open_hub(self) -> RpcHub:
        hub = FusionHub(transport=self.network, format=self.format, limits=self.limits)
        return await self._stack.enter_async_context(hub)

    async def start_server(self, port: int = 0) -> None:
        await super().start_server(port)
        self.ledger = LedgerService(self)
        self.server.add_service(Ledger, self.ledger)

    def change(self, key: str, value: int) -> None:
        self.values[key] = value
        self.ledger.value.invalidate(key)

    async def break_link(self) -> None:
        """Cut the connection, and let nobody connect."""
        self.network.is_refusing = True
        self.network.cut()
        await settle()

    async def mend_link(self) -> None:
        self.network.is_refusing = False
        self.network.fault = lambda direction, frame: None
        await self.clock.advance(15)
        await self.peer.wait_connected()
        await settle()

    async def finish(self) -> None:
        """Let what waits in the service go on."""
        self.gate.set()
        await settle(40)

    async def collect_feed(self, key: str = "a", count: int = 100) -> list[int]:
        return [number async for number in await self.api.feed(key, count)]

    def tables(self) -> dict[str, int]:
        """Return what is in the tables of both sides."""
        peers: list[Any] = [self.peer, *self.server.server_peers]
        return {
            "outbound": sum(len(peer.outbound) for peer in peers),
            "inbound": sum(len(peer.inbound) for peer in peers),
            "waiting": sum(len(peer._waiting) for peer in peers),
            "running": sum(len(peer.admission.tasks) for peer in peers),
            "shared": sum(peer.streams.shared_count for peer in peers),
            "read": sum(peer.streams.remote_count for peer in peers),
            "ends": sum(len(peer.streams._ends) + len(peer.streams._held_up) for peer in peers),
            "cancellations": sum(len(peer.cancellations) for peer in peers),
        }

    async def expect_nothing_left(self) -> None:
        """Check that all that has ended was forgotten on both sides, and the client in the end, too."""
        # The time in which a stream is released that nobody has begun to read.
        await self.clock.advance(160)
        assert not any(self.tables().values()), self.tables()
        if self.server.server_peers:
            assert len(self.server.server_peers) == 1
        await self.client.aclose()
        await self.clock.advance(self.limits.server_peer_max_retention + 10)
        assert self.server.server_peers == ()
