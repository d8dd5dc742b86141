"""A compute service on one hub and its client on another, with a memory network between them."""

import asyncio
from typing import Any

from refusion import FusionHub, compute_method
from refusion.rpc import RpcLimits
from refusion.rpc.transports.memory import MemoryNetwork
from refusion.testing import VirtualClock, settle

URL = "ws://memory:1"
LIMITS = RpcLimits(drain_timeout=0.0)


class CounterApi:
    @compute_method
    async def get(self, key: str) -> int:
        raise NotImplementedError

    @compute_method(min_cache_duration=5)
    async def total(self, a: str, b: str = "b") -> int:
        raise NotImplementedError

    async def set(self, key: str, value: int) -> None:
        raise NotImplementedError


class CounterService(CounterApi):
    def __init__(self, values: dict[str, int] | None = None) -> None:
        self.values = values if values is not None else {}
        self.log: list[str] = []
        self.gates: dict[str, asyncio.Event] = {}
        self.cancelled: list[str] = []
        self.fail_with: dict[str, BaseException] = {}

    @compute_method
    async def get(self, key: str) -> int:
        self.log.append(key)
        value = self.values.get(key, 0)
        if key in self.gates:
            try:
                await self.gates[key].wait()
            except asyncio.CancelledError:
                self.cancelled.append(key)
                raise
        if key in self.fail_with:
            raise self.fail_with[key]
        return value

    @compute_method
    async def total(self, a: str, b: str = "b") -> int:
        return await self.get(a) + await self.get(b)

    async def set(self, key: str, value: int) -> None:
        self.change(key, value)

    def change(self, key: str, value: int) -> None:
        self.values[key] = value
        self.get.invalidate(key)


class RemoteStage:
    """Both sides; the server can be restarted as a process that knows nothing but the data."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.network = MemoryNetwork()
        self.values: dict[str, int] = {}
        self.service = CounterService(self.values)
        self.server = FusionHub(transport=self.network, limits=LIMITS)
        self.hub = FusionHub(transport=self.network, limits=LIMITS)

    async def start(self) -> CounterApi:
        await self.start_server()
        self.client = self.hub.client(CounterApi, URL)
        await self.peer.wait_connected()
        await settle()
        return self.client

    async def start_server(self) -> None:
        self.server = FusionHub(transport=self.network, limits=LIMITS)
        self.server.add_service(CounterApi, self.service)
        await self.server.serve("memory", 1)

    async def stop_server(self) -> None:
        self.network.cut()
        await self.server.aclose()
        await settle()

    async def restart_server(self) -> None:
        await self.stop_server()
        self.service = CounterService(self.values)
        await self.start_server()

    async def cut(self) -> None:
        self.network.is_refusing = True
        self.network.cut()
        await settle()

    async def reconnect(self) -> None:
        self.network.is_refusing = False
        await self.clock.advance(20)
        await self.peer.wait_connected()
        await settle()

    @property
    def peer(self) -> Any:
        return self.hub.peer(URL)

    @property
    def open_calls(self) -> tuple[int, int]:
        """How many calls the client and the server have in their tables."""
        return len(self.peer.outbound), sum(len(peer.inbound) for peer in self.server.server_peers)

    async def aclose(self) -> None:
        await self.hub.aclose()
        await self.server.aclose()
