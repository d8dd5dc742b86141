"""Compute methods whose calls go along routes: here or elsewhere, and elsewhere again when that changes."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from refusion import FusionHub, compute_method
from refusion.rpc import LOCAL, OutboundContext, Proceed, RpcRef
from refusion.rpc.transports.memory import MemoryNetwork
from refusion.testing import VirtualClock, settle

from .stage import LIMITS, CounterApi, CounterService


class Town:
    """A client, and two servers with counters of their own."""

    def __init__(self) -> None:
        self.network = MemoryNetwork()
        self.hub = FusionHub(transport=self.network, limits=LIMITS)
        self.servers: list[FusionHub] = []
        self.services = [CounterService(), CounterService()]
        self.urls: list[str] = []

    async def start(self) -> None:
        for service in self.services:
            server = FusionHub(transport=self.network, limits=LIMITS)
            server.add_service(CounterApi, service)
            self.urls.append((await server.serve()).url)
            self.servers.append(server)

    @property
    def inbound_counts(self) -> list[int]:
        return [sum(len(peer.inbound) for peer in server.server_peers) for server in self.servers]

    async def aclose(self) -> None:
        for hub in (self.hub, *self.servers):
            await hub.aclose()


@pytest.fixture
async def town() -> AsyncIterator[Town]:
    with VirtualClock():
        town = Town()
        await town.start()
        yield town
        await town.aclose()


async def test_a_replica_is_stale_when_its_route_changes_and_is_fetched_from_the_new_owner(town: Town) -> None:
    town.services[0].change("a", 1)
    town.services[1].change("a", 2)
    ref = RpcRef(town.urls[0])
    counters = town.hub.client(CounterApi, ref)
    computed = await counters.get.capture("a")
    assert computed.value == 1

    ref.reroute(town.urls[1])
    assert computed.is_invalidated
    assert "its route has changed" in str(computed.invalidation_source)
    assert await counters.get("a") == 2
    await settle()
    assert town.inbound_counts == [0, 1]


async def test_what_is_built_on_a_replica_follows_the_route(town: Town) -> None:
    town.services[0].change("a", 1)
    town.services[1].change("a", 2)
    ref = RpcRef(town.urls[0])
    counters = town.hub.client(CounterApi, ref)

    class Board:
        @compute_method
        async def shown(self) -> str:
            return f"a is {await counters.get('a')}"

    board = Board()
    computed = await board.shown.capture()
    assert computed.value == "a is 1"
    ref.reroute(town.urls[1])
    assert computed.is_invalidated
    assert await board.shown() == "a is 2"


async def test_a_fetch_under_way_is_made_once_at_the_new_owner(town: Town) -> None:
    for service in town.services:
        service.gates["a"] = asyncio.Event()
    ref = RpcRef(town.urls[0])
    fetch = asyncio.ensure_future(town.hub.client(CounterApi, ref).get("a"))
    await settle()
    ref.reroute(town.urls[1])
    await settle()
    assert [service.log for service in town.services] == [["a"], ["a"]]
    assert town.services[0].cancelled == ["a"]
    town.services[1].gates["a"].set()
    assert await fetch == 0
    assert town.inbound_counts == [0, 1]


async def test_a_local_route_computes_here_and_depends_on_what_it_finds(town: Town) -> None:
    own = CounterService({"a": 10})
    town.hub.add_service(CounterApi, own)
    town.services[0].change("a", 1)
    ref = RpcRef(LOCAL)
    counters = town.hub.client(CounterApi, ref)
    first = await counters.get.capture("a")
    assert first.value == 10
    own.change("a", 11)
    assert first.is_invalidated
    second = await counters.get.capture("a")
    assert second.value == 11

    ref.reroute(town.urls[0])
    assert second.is_invalidated
    assert await counters.get("a") == 1


async def test_what_middleware_answers_is_stale_when_the_route_changes(town: Town) -> None:
    async def answer(call: OutboundContext, proceed: Proceed) -> Any:
        return 7 if call.peer is town.hub.peer(town.urls[0]) else await proceed()

    town.hub.add_outbound_middleware(answer)
    ref = RpcRef(town.urls[0])
    counters = town.hub.client(CounterApi, ref)
    assert await counters.get("a") == 7
    ref.reroute(town.urls[1])
    assert await counters.get("a") == 0


async def test_a_route_forgets_replicas_that_are_gone(town: Town) -> None:
    ref = RpcRef(town.urls[0])
    counters = town.hub.client(CounterApi, ref)
    for index in range(10):
        await counters.get(str(index))
    assert len(ref.route._handlers) == 11  # one is that of the peer
    for index in range(10):
        town.services[0].change(str(index), 1)
    await settle()
    assert len(ref.route._handlers) == 1
