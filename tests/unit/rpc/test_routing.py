"""Calls that go to whom a ref or a router says, also when that changes while they run."""

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest

from refusion.rpc import (
    LOCAL,
    InboundContext,
    Proceed,
    RpcCallTimeout,
    RpcContractError,
    RpcDisconnected,
    RpcExecutionMode,
    RpcHub,
    RpcLimits,
    RpcNoWait,
    RpcRef,
    RpcRerouted,
    RpcRoute,
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
        return inbound + sum(len(peer.outbound) for peer in self.client.client_peers)

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
    assert len(ref.route._handlers) == 1  # that of the peer


async def test_an_answered_call_isnt_made_again_when_the_route_changes(town: Town) -> None:
    ref = RpcRef(town.urls[0])
    assert await town.client_of(ref).add(1, 2) == 3
    assert len(ref.route._handlers) == 1  # that of the peer
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
    shards = RpcShards(256, ["ws://a", "ws://b", "ws://c"])
    before = [ref.route.target for ref in shards.refs]
    assert {target: before.count(target) > 50 for target in before} == {"ws://a": True, "ws://b": True, "ws://c": True}

    shards.assign(["ws://b", "ws://c"])
    without = [ref.route.target for ref in shards.refs]
    assert all(now == then for now, then in zip(without, before, strict=True) if then != "ws://a")

    shards.assign(["ws://d", "ws://c", "ws://b"])
    after = [ref.route.target for ref in shards.refs]
    assert all(now in (then, "ws://d") for now, then in zip(after, without, strict=True))
    assert after.count("ws://d") > 50


def test_every_process_puts_shards_to_the_same_place() -> None:
    one, other = RpcShards(64, ["ws://a", "ws://b", "ws://c"]), RpcShards(64, ["ws://x"])
    other.assign(["ws://c", "ws://a", "ws://b"])
    assert [ref.route.target for ref in one.refs] == [ref.route.target for ref in other.refs]
    # One of them is a target itself.
    one.assign([LOCAL, "ws://b", "ws://c"], names=["ws://a", "ws://b", "ws://c"])
    assert ["ws://a" if ref.route.is_local else ref.route.target for ref in one.refs] == [
        ref.route.target for ref in other.refs
    ]


def test_shards_that_cant_be_are_refused() -> None:
    with pytest.raises(ValueError, match="there has to be a shard"):
        RpcShards(0, ["ws://a"])
    with pytest.raises(ValueError, match="have to be somewhere"):
        RpcShards(4, [])
    with pytest.raises(ValueError, match="1 targets and 2 names"):
        RpcShards(4, ["ws://a"]).assign(["ws://a"], names=["ws://a", "ws://b"])


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


async def test_servers_that_crash_soon_after_each_start_see_growing_pauses(town: Town) -> None:
    town.client.failover(*town.urls)
    for _ in range(200):
        await settle(3)
        town.network.cut()
    assert town.network.connection_count < 10


async def test_a_fail_over_that_is_closed_stays_where_it_is(town: Town) -> None:
    ref = town.client.failover(*town.urls)
    worker = town.client_of(ref)
    await worker.add(1, 2)
    await ref.aclose()
    await ref.aclose()
    town.network.stop(1)
    await town.clock.advance(5)
    assert ref.route.target == town.urls[0]


@pytest.mark.parametrize("url", ["http://backup:80", "backup:80", ""])
async def test_a_url_that_isnt_one_of_a_websocket_is_refused_where_it_is_given(town: Town, url: str) -> None:
    with pytest.raises(ValueError, match="ws:// or wss://"):
        town.client.failover(town.urls[0], url)


@pytest.mark.parametrize("url", ["backup:80", "://backup:80", ""])
async def test_a_ref_leads_to_no_string_that_isnt_a_url(town: Town, url: str) -> None:
    with pytest.raises(ValueError, match="at a URL, as ws://"):
        RpcRef(url)
    ref = RpcRef(town.urls[0])
    with pytest.raises(ValueError, match="at a URL, as ws://"):
        ref.reroute(url)
    assert ref.route.target == town.urls[0]


async def test_a_ref_to_a_url_that_the_transport_doesnt_connect_to_fails_its_calls(town: Town) -> None:
    ref = RpcRef("tcp://backup:80")
    worker = town.client_of(ref)
    with pytest.raises(ValueError, match="a peer is reached at ws:// or wss://, not at 'tcp://backup:80'"):
        await worker.add(1, 2)
    ref.reroute(town.urls[0])
    assert await worker.add(1, 2) == 3


# What routes leave behind


async def test_the_peer_of_a_former_route_is_closed_when_nothing_is_open_with_it(town: Town) -> None:
    ref = RpcRef(town.urls[0])
    await town.client_of(ref).add(1, 2)
    for port in range(100, 150):
        ref.reroute(f"ws://memory:{port}")
        call = asyncio.ensure_future(town.client_of(ref).add(1, 2))
        await settle()
        call.cancel()
        await settle()
    ref.reroute(town.urls[1])
    await town.client_of(ref).add(1, 2)
    await settle(40)
    assert [peer.url for peer in town.client.client_peers] == [town.urls[1]]


async def test_a_peer_that_somebody_asked_for_stays_when_its_route_changes(town: Town) -> None:
    ref = RpcRef(town.urls[0])
    await town.client_of(ref).add(1, 2)
    kept = town.client.peer(town.urls[0])
    ref.reroute(town.urls[1])
    await town.client_of(ref).add(1, 2)
    await settle(40)
    assert town.client.peer(town.urls[0]) is kept
    assert kept.is_connected


# Time


async def test_the_time_of_a_call_isnt_prolonged_by_making_it_again(town: Town) -> None:
    class Shop:
        @rpc_method(is_command=True)
        async def buy(self) -> None:
            raise NotImplementedError

    class ShopService(Shop):
        async def buy(self) -> None:
            raise RpcRerouted("somebody else's")

    town.servers[0].add_service(Shop, ShopService())
    call = asyncio.ensure_future(town.client.client(Shop, RpcRef(town.urls[0])).buy())
    await town.clock.advance(20)
    with pytest.raises(RpcCallTimeout, match="within 10 s"):
        await call


async def test_a_call_that_is_sent_on_again_and_again_is_given_up(town: Town) -> None:
    async def refuse(call: InboundContext, proceed: Proceed) -> Any:
        raise RpcRerouted("not mine any more")

    town.servers[0].add_inbound_middleware(refuse)
    call = asyncio.ensure_future(town.client_of(RpcRef(town.urls[0])).add(1, 2))
    await town.clock.advance(120)
    with pytest.raises(RpcRerouted, match="not mine any more"):
        await call


# Threads


def test_rerouting_in_many_threads_leaves_one_current_route_and_tells_all_others() -> None:
    ref = RpcRef("ws://0")
    routes = {ref.route}
    told: list[RpcRoute] = []
    lock = threading.Lock()

    def reroute(number: int) -> None:
        for index in range(200):
            ref.reroute(f"ws://{number}-{index}")
            route = ref.route
            with lock:
                is_new = route not in routes
                routes.add(route)
            if is_new:
                route.on_changed(lambda route=route: told.append(route))

    threads = [threading.Thread(target=reroute, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [route for route in routes if not route.is_changed] == [ref.route]
    assert len(set(told)) == len(told)
    assert {*told, ref.route} >= routes - {min(routes, key=lambda route: route.version)}


async def test_calls_arrive_at_the_new_owner_in_the_order_they_were_made(town: Town) -> None:
    ref = RpcRef(town.urls[0])
    calls = [asyncio.ensure_future(town.client_of(ref).wait(key)) for key in "abcdefgh"]
    await settle()
    ref.reroute(town.urls[1])
    await settle()
    assert town.logs[1] == [f"wait({key})" for key in "abcdefgh"]
    for key in "abcdefgh":
        town.services[1].let_go(key)
    await asyncio.gather(*calls)


# Here, once more


async def test_nobody_waits_for_a_local_no_wait_call_either(town: Town, caplog: pytest.LogCaptureFixture) -> None:
    class Sink:
        async def put(self, text: str) -> RpcNoWait:
            raise NotImplementedError

    class SinkService(Sink):
        async def put(self, text: str) -> RpcNoWait:
            await asyncio.sleep(0)
            raise ValueError(text)

    town.client.add_service(Sink, SinkService())
    sink: Sink = town.client.client(Sink, LOCAL)
    await sink.put("mine")
    await settle()
    assert "Sink.put failed, and nobody waits for it" in caplog.text


async def test_a_hub_waits_for_local_calls_before_it_closes(town: Town) -> None:
    own = WorkerService()
    town.client.add_service(Worker, own)
    call = asyncio.ensure_future(town.client.client(Worker, LOCAL).wait("a"))
    await settle()
    closing = asyncio.ensure_future(town.client.aclose(drain_timeout=30.0))
    await settle()
    assert not closing.done()
    own.let_go("a")
    assert await call == "a done"
    await closing


async def test_shards_and_this_hub_can_be_called_as_they_are(town: Town) -> None:
    own = WorkerService()
    town.client.add_service(Worker, own)
    assert await town.client.client(Worker, LOCAL).add(1, 2) == 3

    class Keyed:
        async def of(self, key: str) -> str:
            raise NotImplementedError

    class KeyedService(Keyed):
        async def of(self, key: str) -> str:
            return key

    town.servers[0].add_service(Keyed, KeyedService())
    assert await town.client.client(Keyed, RpcShards(4, town.urls[:1])).of("a") == "a"


def test_shards_with_a_target_that_has_no_url_need_names() -> None:
    with pytest.raises(ValueError, match="has no name that others know"):
        RpcShards(4, [LOCAL, "ws://b"])
    shards = RpcShards(64, [LOCAL, "ws://b"], names=["ws://a", "ws://b"])
    others = RpcShards(64, ["ws://a", LOCAL], names=["ws://a", "ws://b"])
    for here, there in zip(shards.refs, others.refs, strict=True):
        assert here.route.is_local != there.route.is_local


def test_fail_over_needs_urls_that_differ() -> None:
    async def check() -> None:
        async with RpcHub(transport=MemoryNetwork()) as hub:
            for urls in ((), ("ws://a", "ws://a")):
                with pytest.raises(ValueError, match="URLs that differ"):
                    hub.failover(*urls)

    asyncio.run(check())
