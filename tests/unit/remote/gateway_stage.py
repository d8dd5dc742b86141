"""An origin, gateways in a chain, and clients of the last one; each link is a memory network of its own."""

import asyncio
from collections.abc import AsyncIterator
from ssl import SSLContext
from typing import Any, final

from refusion import FusionHub, compute_method
from refusion.rpc import RpcLimits, RpcNoWait, RpcStream, current_headers, current_trace, rpc_method
from refusion.rpc.transports import Accept, Network, Receiver, Server, Transport, TransportLimits
from refusion.rpc.transports.memory import MemoryNetwork
from refusion.testing import VirtualClock, settle

URL = "ws://memory:1"
LIMITS = RpcLimits(drain_timeout=0.0)


class PriceApi:
    """One method of each kind that a gateway has to pass."""

    @compute_method
    async def get(self, key: str) -> int:
        raise NotImplementedError

    @compute_method(min_cache_duration=5)
    async def total(self, a: str, b: str = "b") -> int:
        raise NotImplementedError

    async def add(self, a: int, *, b: int = 1) -> int:
        raise NotImplementedError

    async def wait(self, key: str) -> str:
        raise NotImplementedError

    @rpc_method(is_command=True)
    async def set(self, key: str, value: int) -> None:
        raise NotImplementedError

    async def note(self, text: str) -> RpcNoWait:
        raise NotImplementedError

    async def ticks(self, key: str) -> RpcStream[int]:
        raise NotImplementedError

    async def frames(self, key: str) -> RpcStream[int]:
        raise NotImplementedError

    async def sum_up(self, numbers: RpcStream[int]) -> int:
        raise NotImplementedError

    async def trace(self) -> str | None:
        raise NotImplementedError

    async def header(self, name: str) -> str | None:
        raise NotImplementedError


class PriceService(PriceApi):
    """Knows what it was asked, and waits or fails where a test says so."""

    def __init__(self, values: dict[str, int]) -> None:
        self.values = values
        self.log: list[str] = []
        self.gates: dict[str, asyncio.Event] = {}
        self.cancelled: list[str] = []
        self.fail_with: dict[str, BaseException] = {}
        self.taken: list[int] = []
        self.closed: list[str] = []
        self.feeds: dict[str, list[Any]] = {}

    @compute_method
    async def get(self, key: str) -> int:
        self.log.append(key)
        value = self.values.get(key, 0)
        await self._pass(key)
        return value

    @compute_method
    async def total(self, a: str, b: str = "b") -> int:
        return await self.get(a) + await self.get(b)

    async def add(self, a: int, *, b: int = 1) -> int:
        return a + b

    async def wait(self, key: str) -> str:
        await self._pass(key)
        return key

    async def set(self, key: str, value: int) -> None:
        await self._pass(key)
        self.change(key, value)

    async def note(self, text: str) -> RpcNoWait:
        self.log.append(text)
        return RpcNoWait()

    async def ticks(self, key: str) -> RpcStream[int]:
        return RpcStream(self._feed(key), ack_period=2, ack_advance=4)

    async def frames(self, key: str) -> RpcStream[int]:
        return RpcStream(
            self._feed(key),
            ack_period=2,
            ack_advance=4,
            buffer_size=10,
            is_real_time=True,
            can_skip_to=lambda item: item % 3 == 0,
        )

    async def sum_up(self, numbers: RpcStream[int]) -> int:
        self.taken = [number async for number in numbers]
        return sum(self.taken)

    async def trace(self) -> str | None:
        trace = current_trace()
        return None if trace is None else trace.parent

    async def header(self, name: str) -> str | None:
        return dict(current_headers()).get(name)

    def change(self, key: str, value: int) -> None:
        self.values[key] = value
        self.get.invalidate(key)

    async def _pass(self, key: str) -> None:
        try:
            if key in self.gates:
                await self.gates[key].wait()
        except asyncio.CancelledError:
            self.cancelled.append(key)
            raise
        if key in self.fail_with:
            raise self.fail_with[key]

    async def _feed(self, key: str) -> AsyncIterator[int]:
        """Give what is in the feed, and wait for the gate of the key behind it, if there is one."""
        try:
            for item in self.feeds.get(key, []):
                if isinstance(item, BaseException):
                    raise item
                self.taken.append(item)
                yield item
            if key in self.gates:
                await self.gates[key].wait()
        finally:
            self.closed.append(key)


@final
class Between(Network):
    """Connects over one network and listens in another, so that the links of a chain break one by one."""

    def __init__(self, above: MemoryNetwork, below: MemoryNetwork) -> None:
        self._above = above
        self._below = below

    async def connect(
        self, url: str, receiver: Receiver, limits: TransportLimits, ssl: SSLContext | None = None
    ) -> Transport:
        return await self._above.connect(url, receiver, limits, ssl)

    async def listen(
        self, host: str, port: int, accept: Accept, limits: TransportLimits, ssl: SSLContext | None = None
    ) -> Server:
        return await self._below.listen(host, port, accept, limits, ssl)


class GatewayStage:
    """Link 0 is that of the origin and the first gateway, the last one that of the edge and the clients.

    A hub can be restarted, as a process that knows nothing but the data; a link can be cut, and healed.
    """

    def __init__(self, clock: VirtualClock, depth: int = 1) -> None:
        self.clock = clock
        self.links = [MemoryNetwork() for _ in range(depth + 1)]
        self.values: dict[str, int] = {}
        self.gateways: list[FusionHub] = []
        self.upstreams: list[PriceApi] = []
        """What each gateway serves: a client of the hub above it."""
        self._extra: list[FusionHub] = []

    async def start(self) -> None:
        await self.start_origin()
        for index in range(len(self.links) - 1):
            self.gateways.append(FusionHub())
            self.upstreams.append(PriceApi())
            await self.start_gateway(index)
        self.hub, self.client = self.open_client()
        await self.peer.wait_connected()
        await settle()

    async def start_origin(self) -> None:
        self.service = PriceService(self.values)
        self.origin = FusionHub(transport=self.links[0], limits=LIMITS)
        self.origin.add_service(PriceApi, self.service)
        await self.origin.serve("memory", 1)

    async def start_gateway(self, index: int = -1) -> None:
        index %= len(self.gateways)
        hub = FusionHub(transport=Between(self.links[index], self.links[index + 1]), limits=LIMITS)
        client = hub.client(PriceApi, URL)
        hub.add_service(PriceApi, client)
        await hub.serve("memory", 1)
        self.gateways[index], self.upstreams[index] = hub, client

    def open_client(self) -> tuple[FusionHub, PriceApi]:
        """Return another client of the edge, with its hub."""
        hub = FusionHub(transport=self.links[-1], limits=LIMITS)
        self._extra.append(hub)
        return hub, hub.client(PriceApi, URL)

    async def stop_origin(self) -> None:
        """Kill the origin."""
        self.links[0].cut()
        await self.origin.aclose()
        await settle()

    async def stop_gateway(self, index: int = -1) -> None:
        """Kill a gateway, by default that at the edge."""
        index %= len(self.gateways)
        for link in self.links[index : index + 2]:
            link.cut()
        await self.gateways[index].aclose()
        await settle()

    async def cut(self, index: int) -> None:
        """Break a link, so that it stays broken."""
        self.links[index].is_refusing = True
        self.links[index].cut()
        await settle()

    async def heal(self, index: int) -> None:
        """Let a link be made again."""
        self.links[index].is_refusing = False

    async def settle_down(self) -> None:
        """Wait until all links are there, and everybody has asked what was missed."""
        await self.clock.advance(30)

    @property
    def peer(self) -> Any:
        """The edge, as the client sees it."""
        return self.hub.peer(URL)

    def upstream_peer(self, index: int = 0) -> Any:
        """What is above a gateway, as that sees it."""
        return self.gateways[index].peer(URL)

    @property
    def open_calls(self) -> list[tuple[int, int]]:
        """How many calls are open on each link, as the side below and the side above have it; clients that are gone
        aren't counted.
        """
        below = [*[gateway.peer(URL) for gateway in self.gateways], self.peer]
        above = [self.origin, *self.gateways]
        return [
            (len(client.outbound), sum(len(peer.inbound) for peer in server.server_peers if peer.is_connected))
            for client, server in zip(below, above, strict=True)
        ]

    @property
    def open_streams(self) -> int:
        """How many streams are in the tables of all peers."""
        hubs = [self.origin, *self.gateways]
        peers: list[Any] = [peer for hub in hubs for peer in hub.server_peers]
        peers += [*[gateway.peer(URL) for gateway in self.gateways], self.peer]
        return sum(peer.streams.shared_count + peer.streams.remote_count for peer in peers)

    async def aclose(self) -> None:
        for hub in (*self._extra, *reversed(self.gateways), self.origin):
            await hub.aclose()
