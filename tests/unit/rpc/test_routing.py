"""Calls that go to whom a ref or a router says, also when that changes while they run."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest

from refusion.rpc import (
    LOCAL,
    InboundContext,
    Proceed,
    RpcContractError,
    RpcDisconnected,
    RpcExecutionMode,
    RpcHub,
    RpcLimits,
    RpcNoWait,
    RpcRef,
    RpcRerouted,
    RpcServiceNotFound,
    RpcShards,
    route_by_hash,
    rpc_method,
    stable_hash,
)
from refusion.rpc.transports.memory import MemoryNetwork
from refusion.testing import VirtualClock, settle

from .world import Worker, WorkerService

LIMITS = RpcLimits(drain_timeout=0.0)


class Town:
    """A client, and several servers with a service each."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.network = MemoryNetwork()
        self.client = RpcHub(transport=self.network, limits=LIMITS)
        self.servers: list[RpcHub] = []
        self.services: list[WorkerService] = []
        self.urls: list[str] = []

    async def build(self, count: int) -> None:
        for _ in range(count):
            await self.start(WorkerService())

    async def start(self, service: WorkerService, port: int = 0) -> None:
        server = RpcHub(transport=self.network, limits=LIMITS)
        server.add_service(Worker, service)
        listener = await server.serve(port=port)
        self.servers.append(server)
        self.services.append(service)
        self.urls.append(listener.url)

    def client_of(self, target: Any) -> Worker:
        return self.client.client(Worker, target)

    @property
    def logs(self) -> list[list[str]]:
        return [service.log for service in self.services]

    @property
    def open_calls(self) -> int:
        inbound = sum(len(peer.inbound) for server in self.servers for peer in server.server_peers)
        return inbound + sum(len(peer.outbound) for peer in self.client._client_peers.values())

    async def aclose(self) -> None:
        for hub in (self.client, *self.servers):
            await hub.aclose()


@pytest.fixture
async def town(clock: VirtualClock) -> AsyncIterator[Town]:
    town = Town(clock)
    await town.build(3)
    yield town
    await town.aclose()


# Refs


async def test_calls_go_along_the_current_route_of_a_ref(town: Town) -> None:
    ref = RpcRef(town.urls[0])
    worker = town.client_of(ref)
    await worker.add(1, 1)
    ref.reroute(town.urls[1])
    await worker.add(2, 2)
    ref.reroute(town.client.peer(town.urls[2]))
    await worker.add(3, 3)
    assert town.logs == [["add(1, 1)"], ["add(2, 2)"], ["add(3, 3)"]]


async def test_a_call_under_way_is_cancelled_there_and_made_once_at_the_new_owner(town: Town) -> None:
    ref = RpcRef(town.urls[0])
    call = asyncio.ensure_future(town.client_of(ref).wait("a"))
    await settle()
    assert town.logs[0] == ["wait(a)"]

    ref.reroute(town.urls[1])
    await settle()
    assert town.services[0].cancelled == ["a"]
    assert town.logs == [["wait(a)"], ["wait(a)"], []]

    town.services[1].let_go("a")
    assert await call == "a done"
    await settle()
    assert town.logs == [["wait(a)"], ["wait(a)"], []]
    assert town.open_calls == 0


async def test_a_call_that_waits_for_a_link_never_reaches_the_old_owner(town: Town) -> None:
    await town.client_of(town.urls[0]).add(0, 0)
    ref = RpcRef(town.urls[0])
    town.network.is_refusing = True
    town.network.cut()
    await settle()
    call = asyncio.ensure_future(town.client_of(ref).add(1, 2))
    await settle()
    town.network.is_refusing = False
    ref.reroute(town.urls[1])
    await town.clock.advance(5)
    assert await call == 3
    assert town.logs == [["add(0, 0)"], ["add(1, 2)"], []]


async def test_a_call_may_be_rerouted_several_times(town: Town) -> None:
    ref = RpcRef(town.urls[0])
    call = asyncio.ensure_future(town.client_of(ref).wait("a"))
    for url in (town.urls[1], town.urls[2], town.urls[0]):
        await settle()
        ref.reroute(url)
    await settle()
    town.services[0].let_go("a")
    assert await call == "a done"
    assert town.logs == [["wait(a)"] * 2, ["wait(a)"], ["wait(a)"]]
    assert town.open_calls == 0


async def test_rerouting_to_where_it_leads_already_changes_nothing(town: Town) -> None:
    ref = RpcRef(town.urls[0])
    route = ref.route
    call = asyncio.ensure_future(town.client_of(ref).wait("a"))
    await settle()
    ref.reroute(town.urls[0])
    await settle()
    assert ref.route is route
    assert not route.is_changed
    town.services[0].let_go("a")
    assert await call == "a done"
    assert town.logs[0] == ["wait(a)"]


async def test_cancelling_a_routed_call_cancels_its_handler_and_forgets_the_route(town: Town) -> None:
    ref = RpcRef(town.urls[0])
    call = asyncio.ensure_future(town.client_of(ref).wait("a"))
    await settle()
    call.cancel()
    await settle()
    assert town.services[0].cancelled == ["a"]
    assert not ref.route._handlers


async def test_an_answered_call_isnt_made_again_when_the_route_changes(town: Town) -> None:
    ref = RpcRef(town.urls[0])
    assert await town.client_of(ref).add(1, 2) == 3
    assert not ref.route._handlers
    ref.reroute(town.urls[1])
    await settle()
    assert town.logs == [["add(1, 2)"], [], []]


async def test_a_call_that_may_not_be_sent_again_fails_when_its_route_changes(town: Town) -> None:
    class Once:
        @rpc_method(mode=RpcExecutionMode.AWAIT_CONNECTION | RpcExecutionMode.ALLOW_RECONNECT)
        async def pay(self, key: str) -> str:
            raise NotImplementedError

    class OnceService(Once):
        def __init__(self, worker: WorkerService) -> None:
            self.worker = worker

        async def pay(self, key: str) -> str:
            return await self.worker.wait(key)

    for server, service in zip(town.servers, town.services, strict=True):
        server.add_service(Once, OnceService(service))
    ref = RpcRef(town.urls[0])
    call = asyncio.ensure_future(town.client.client(Once, ref).pay("a"))
    await settle()
    ref.reroute(town.urls[1])
    with pytest.raises(RpcDisconnected, match="may not be sent again"):
        await call
    assert town.logs == [["wait(a)"], [], []]


async def test_a_no_wait_call_goes_along_the_route(town: Town) -> None:
    class Sink:
        async def put(self, text: str) -> RpcNoWait:
            raise NotImplementedError

    class SinkService(Sink):
        def __init__(self) -> None:
            self.log: list[str] = []

        async def put(self, text: str) -> RpcNoWait:
            self.log.append(text)
            return RpcNoWait()

    sinks = [SinkService() for _ in town.servers]
    for server, sink in zip(town.servers, sinks, strict=True):
        server.add_service(Sink, sink)
    ref = RpcRef(town.urls[1])
    await town.client.peer(town.urls[1]).wait_connected()
    await town.client.client(Sink, ref).put("hello")
    await settle()
    assert [sink.log for sink in sinks] == [[], ["hello"], []]


async def test_who_is_asked_in_vain_sends_the_caller_on_and_the_caller_comes_again(town: Town) -> None:
    async def refuse(call: InboundContext, proceed: Proceed) -> Any:
        raise RpcRerouted("not mine any more")

    town.servers[0].add_inbound_middleware(refuse)
    ref = RpcRef(town.urls[0])
    call = asyncio.ensure_future(town.client_of(ref).add(1, 2))
    await town.clock.advance(1)
    assert not call.done()
    ref.reroute(town.urls[1])
    await town.clock.advance(6)
    assert await call == 3
    assert town.logs == [[], ["add(1, 2)"], []]


async def test_a_fixed_peer_that_sends_on_is_an_error(town: Town) -> None:
    async def refuse(call: InboundContext, proceed: Proceed) -> Any:
        raise RpcRerouted("not mine any more")

    town.servers[0].add_inbound_middleware(refuse)
    for target in (town.urls[0], RpcRef(town.urls[0], is_fixed=True)):
        with pytest.raises(RpcRerouted, match="not mine any more"):
            await town.client_of(target).add(1, 2)


def test_a_fixed_ref_cant_be_rerouted() -> None:
    with pytest.raises(ValueError, match="is fixed"):
        RpcRef("ws://a", is_fixed=True).reroute("ws://b")


async def test_a_route_tells_once_that_it_has_changed(caplog: pytest.LogCaptureFixture) -> None:
    ref = RpcRef("ws://a", name="owner")
    route = ref.route
    told: list[str] = []

    def fail() -> None:
        raise ValueError("oops")

    route.on_changed(lambda: told.append("a"))
    route.on_changed(fail)
    route.on_changed(lambda: told.append("taken back"))()
    waiting = asyncio.ensure_future(route.wait_changed())
    await settle()
    assert (route.version, route.is_changed, waiting.done()) == (0, False, False)

    ref.reroute("ws://b")
    await waiting
    assert told == ["a"]
    assert "oops" in caplog.text
    route.on_changed(lambda: told.append("late"))
    assert told == ["a", "late"]
    assert repr(route) == "<RpcRoute owner v0 -> 'ws://a', changed>"
    assert repr(ref) == "<RpcRef owner -> 'ws://b'>"
    assert (ref.route.version, ref.route.is_changed) == (1, False)


# Here


async def test_a_local_route_leads_to_the_service_of_this_hub_through_its_middleware(town: Town) -> None:
    seen: list[str] = []

    async def watch(call: InboundContext, proceed: Proceed) -> Any:
        seen.append(call.method.name)
        assert call.peer is None
        return await proceed()

    own = WorkerService()
    town.client.add_service(Worker, own)
    town.client.add_inbound_middleware(watch)
    ref = RpcRef(LOCAL)
    worker = town.client_of(ref)
    assert await worker.add(1, b=2) == 3
    ref.reroute(town.urls[0])
    assert await worker.add(3, 4) == 7
    assert own.log == ["add(1, 2)"]
    assert seen == ["add"]
    assert town.logs[0] == ["add(3, 4)"]


async def test_a_local_route_without_a_service_says_so(town: Town) -> None:
    with pytest.raises(RpcServiceNotFound, match="no service named 'Worker' here"):
        await town.client_of(RpcRef(LOCAL)).add(1, 2)


# Routers


async def test_a_router_decides_for_each_call(town: Town) -> None:
    refs = [RpcRef(url) for url in town.urls]
    worker = town.client_of(lambda method, values: refs[values[0] % 3])
    for number in range(5):
        await worker.add(number, 0)
    assert town.logs == [["add(0, 0)", "add(3, 0)"], ["add(1, 0)", "add(4, 0)"], ["add(2, 0)"]]


async def test_by_its_hash_a_key_always_has_the_same_server(town: Town) -> None:
    worker = town.client_of(route_by_hash(town.urls))
    for service in town.services:
        for key in "abcdefgh":
            service.let_go(key)
    for _ in range(2):
        for key in "abcdefgh":
            await worker.wait(key)
    assert sum(len(log) for log in town.logs) == 16
    for log in town.logs:
        half = len(log) // 2
        assert log[:half] == log[half:]
    assert all(town.logs)


def test_the_hash_of_a_key_is_the_same_everywhere() -> None:
    assert stable_hash("chat-1") == stable_hash(b"chat-1") == 0xD799BD1768052FB
    assert stable_hash(17) == stable_hash("17")
    assert stable_hash(UUID(int=1)) == stable_hash(UUID(int=1).bytes)
    with pytest.raises(TypeError, match="a key to route by is a str, bytes, int or UUID, not float"):
        stable_hash(1.5)  # type: ignore[arg-type]


async def test_what_cant_be_a_key_is_refused_before_anything_is_sent(town: Town) -> None:
    class Odd:
        async def none(self) -> None:
            raise NotImplementedError

        async def point(self, at: list[int]) -> None:
            raise NotImplementedError

    odd = town.client.client(Odd, route_by_hash(town.urls))
    with pytest.raises(RpcContractError, match="no parameter to route its calls by"):
        await odd.none()
    with pytest.raises(RpcContractError, match="can't be routed by a list"):
        await odd.point([1])
    with pytest.raises(ValueError, match="nobody to route calls to"):
        route_by_hash([])


def test_shards_move_only_from_who_goes_and_to_who_comes() -> None:
    shards = RpcShards(256, ["a", "b", "c"])
    before = [ref.route.target for ref in shards.refs]
    assert {target: before.count(target) > 50 for target in "abc"} == {"a": True, "b": True, "c": True}

    shards.assign(["b", "c"])
    without = [ref.route.target for ref in shards.refs]
    assert all(now == then for now, then in zip(without, before, strict=True) if then != "a")

    shards.assign(["d", "c", "b"])
    after = [ref.route.target for ref in shards.refs]
    assert all(now in (then, "d") for now, then in zip(after, without, strict=True))
    assert after.count("d") > 50


def test_every_process_puts_shards_to_the_same_place() -> None:
    one, other = RpcShards(64, ["a", "b", "c"]), RpcShards(64, ["x"])
    other.assign(["c", "a", "b"])
    assert [ref.route.target for ref in one.refs] == [ref.route.target for ref in other.refs]
    # One of them is a target itself.
    one.assign([LOCAL, "b", "c"], names=["a", "b", "c"])
    assert ["a" if ref.route.is_local else ref.route.target for ref in one.refs] == [
        ref.route.target for ref in other.refs
    ]


def test_shards_that_cant_be_are_refused() -> None:
    with pytest.raises(ValueError, match="there has to be a shard"):
        RpcShards(0, ["a"])
    with pytest.raises(ValueError, match="have to be somewhere"):
        RpcShards(4, [])
    with pytest.raises(ValueError, match="1 targets and 2 names"):
        RpcShards(4, ["a"]).assign(["a"], names=["a", "b"])


async def test_calls_of_a_shard_move_with_it(town: Town) -> None:
    shards = RpcShards(8, town.urls[:2])
    worker = town.client_of(shards.router())
    keys = [f"k{index}" for index in range(20)]
    calls = [asyncio.ensure_future(worker.wait(key)) for key in keys]
    await settle()
    assert sorted(town.logs[0] + town.logs[1]) == sorted(f"wait({key})" for key in keys)
    moved = list(town.services[0].log)

    shards.assign(town.urls[1:2])
    await settle()
    assert sorted(town.services[1].log[-len(moved) :]) == sorted(moved)
    for key in keys:
        town.services[1].let_go(key)
    assert await asyncio.gather(*calls) == [f"{key} done" for key in keys]
    assert town.open_calls == 0


# Fail-over


async def test_when_a_server_is_lost_its_calls_go_on_at_the_next_one(town: Town) -> None:
    ref = town.client.failover(*town.urls)
    worker = town.client_of(ref)
    assert await worker.add(1, 2) == 3
    call = asyncio.ensure_future(worker.wait("a"))
    await settle()

    town.network.stop(1)
    await settle()
    town.services[1].let_go("a")
    assert await call == "a done"
    assert await worker.add(3, 4) == 7
    assert town.logs == [["add(1, 2)", "wait(a)"], ["wait(a)", "add(3, 4)"], []]


async def test_a_server_that_isnt_there_is_passed_over(town: Town) -> None:
    ref = town.client.failover("ws://memory:99", "ws://memory:98", town.urls[2])
    call = asyncio.ensure_future(town.client_of(ref).add(1, 2))
    await settle(40)
    assert await call == 3
    assert town.logs[2] == ["add(1, 2)"]


async def test_it_stays_where_it_has_found_a_server_until_that_is_lost(town: Town) -> None:
    ref = town.client.failover(town.urls[0], town.urls[1])
    worker = town.client_of(ref)
    await worker.add(1, 1)
    town.network.stop(1)
    await settle()
    await worker.add(2, 2)
    await town.start(town.services[0], port=1)
    await town.clock.advance(60)
    await worker.add(3, 3)
    assert ref.route.target == town.urls[1]
    town.network.stop(2)
    await town.clock.advance(5)
    await worker.add(4, 4)
    assert town.services[0].log == ["add(1, 1)", "add(4, 4)"]
    assert town.services[1].log == ["add(2, 2)", "add(3, 3)"]


async def test_while_no_server_is_there_attempts_come_with_growing_pauses(town: Town) -> None:
    attempts = 0
    connect = town.network.connect

    async def count(*args: Any) -> Any:
        nonlocal attempts
        attempts += 1
        return await connect(*args)

    town.network.connect = count  # type: ignore[method-assign]
    town.network.is_refusing = True
    ref = town.client.failover(*town.urls)
    call = asyncio.ensure_future(town.client_of(ref).add(1, 2))
    await town.clock.advance(60)
    first_minute = attempts
    await town.clock.advance(60)
    assert first_minute < 120
    assert attempts - first_minute < 60
    town.network.is_refusing = False
    await town.clock.advance(15)
    assert await call == 3


def test_fail_over_needs_urls_that_differ() -> None:
    async def check() -> None:
        async with RpcHub(transport=MemoryNetwork()) as hub:
            for urls in ((), ("ws://a", "ws://a")):
                with pytest.raises(ValueError, match="URLs that differ"):
                    hub.failover(*urls)

    asyncio.run(check())
