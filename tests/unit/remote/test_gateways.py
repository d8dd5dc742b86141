"""Gateways: hubs that serve a contract by being clients of it elsewhere."""

import asyncio
import gc
import itertools
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from refusion import FusionHub, collect
from refusion.remote import MemoryCache
from refusion.rpc import (
    LOCAL,
    InboundContext,
    OutboundContext,
    Proceed,
    RpcCallCancelled,
    RpcContractError,
    RpcRemoteError,
    RpcStream,
    RpcStreamLost,
    TraceContext,
    current_headers,
    enter_trace,
    hide_internals,
)
from refusion.rpc.transports.asgi import RpcEndpoint
from refusion.rpc.transports.memory import Fault, MemoryNetwork
from refusion.testing import VirtualClock, settle

from .gateway_stage import LIMITS, URL, GatewayStage, PriceApi, PriceService


@pytest.fixture(params=[1])
async def stage(request: pytest.FixtureRequest) -> AsyncIterator[GatewayStage]:
    with VirtualClock() as clock:
        stage = GatewayStage(clock, request.param)
        await stage.start()
        yield stage
        await stage.aclose()
        collect()


every_depth = pytest.mark.parametrize("stage", [1, 3], indirect=True)


# Compute methods


@every_depth
async def test_an_answer_is_the_value_of_the_origin_and_is_asked_for_once(stage: GatewayStage) -> None:
    stage.values["a"] = 5
    assert [await stage.client.get("a") for _ in range(10)] == [5] * 10
    assert await stage.client.total("a", b="a") == 10
    assert stage.service.log == ["a"]
    assert [stage.upstream_peer(index).call_count for index in range(len(stage.gateways))] == [2] * len(stage.gateways)


@pytest.mark.no_cover
async def test_a_thousand_clients_cost_one_upstream_call_for_each_value(stage: GatewayStage) -> None:
    clients = [stage.open_client()[1] for _ in range(1_000)]
    for value in range(1, 4):
        stage.service.change("a", value)
        await settle(60)
        assert await asyncio.gather(*[client.get("a") for client in clients]) == [value] * 1_000
        assert stage.service.log == ["a"] * value
        assert stage.upstream_peer().call_count == value


@every_depth
async def test_an_invalidation_travels_down_the_chain_and_tells_each_client_once(stage: GatewayStage) -> None:
    order: list[str] = []
    clients = [stage.open_client()[1] for _ in range(3)]
    replicas = {f"client {index}": await client.get.capture("a") for index, client in enumerate(clients)}
    for index, upstream in enumerate(stage.upstreams):
        replicas[f"gateway {index}"] = await upstream.get.capture("a")
    for name, replica in replicas.items():
        replica.on_invalidated(lambda _, name=name: order.append(name))

    stage.service.change("a", 1)
    await settle(60)

    gateways = [f"gateway {index}" for index in range(len(stage.gateways))]
    assert order[: len(gateways)] == gateways
    assert sorted(order[len(gateways) :]) == ["client 0", "client 1", "client 2"]
    assert stage.open_calls == [(0, 0)] * len(stage.links)
    assert stage.service.log == ["a"]


@every_depth
async def test_every_change_of_the_origin_reaches_a_follower_at_the_edge(stage: GatewayStage) -> None:
    seen: list[int] = []

    async def follow() -> None:
        async for computed in (await stage.client.total.capture("a")).changes():
            seen.append(computed.value)

    task = asyncio.create_task(follow())
    await settle(60)
    for value in range(1, 5):
        stage.service.change("a", value)
        await stage.clock.advance(0.1, settle_turns=60)
    task.cancel()
    assert seen == [0, 1, 2, 3, 4]


async def test_local_readers_of_a_gateway_share_the_replica_of_its_clients(stage: GatewayStage) -> None:
    await stage.client.get("a")
    assert await stage.upstreams[0].get("a") == 0
    assert stage.upstream_peer().call_count == 1


@every_depth
async def test_an_error_keeps_its_type_and_stands_until_it_is_invalidated(stage: GatewayStage) -> None:
    stage.service.fail_with["a"] = KeyError("no a")
    for _ in range(3):
        with pytest.raises(KeyError, match="no a"):
            await stage.client.get("a")
    assert stage.service.log == ["a"]
    del stage.service.fail_with["a"]
    stage.service.get.invalidate("a")
    await settle(60)
    assert await stage.client.get("a") == 0


@every_depth
async def test_a_cancellation_by_the_origin_is_an_error_that_goes_away(stage: GatewayStage) -> None:
    stage.service.fail_with["a"] = asyncio.CancelledError()
    call = asyncio.create_task(stage.client.get("a"))
    await stage.clock.advance(30)
    with pytest.raises(RpcCallCancelled, match="was cancelled by the server"):
        await call
    # The origin has tried ten times for each of two calls, however long the chain is.
    assert stage.service.log == ["a"] * 20
    del stage.service.fail_with["a"]
    await stage.clock.advance(2)
    assert await stage.client.get("a") == 0


async def test_a_value_that_was_stale_at_once_is_followed_by_its_invalidation(stage: GatewayStage) -> None:
    stage.service.gates["a"] = asyncio.Event()
    call = asyncio.create_task(stage.client.get.capture("a"))
    await settle()
    stage.service.change("a", 9)
    stage.service.gates["a"].set()
    replica = await call
    await settle(60)
    assert (replica.value, replica.is_invalidated) == (0, True)
    assert await stage.client.get("a") == 9


@every_depth
async def test_cancelling_the_only_reader_cancels_the_computation_of_the_origin(stage: GatewayStage) -> None:
    stage.service.gates["a"] = asyncio.Event()
    call = asyncio.create_task(stage.client.get("a"))
    await settle(60)
    call.cancel()
    await settle(60)
    assert stage.service.cancelled == ["a"]
    assert stage.open_calls == [(0, 0)] * len(stage.links)


async def test_cancelling_one_of_two_readers_leaves_the_other_one_its_answer(stage: GatewayStage) -> None:
    stage.service.gates["a"] = asyncio.Event()
    leaver = asyncio.create_task(stage.client.get("a"))
    await settle()
    other = asyncio.create_task(stage.open_client()[1].get("a"))
    await settle()
    leaver.cancel()
    await settle()
    stage.service.gates["a"].set()
    assert await other == 0


# Regular methods


@every_depth
async def test_regular_calls_pass_with_their_results_and_errors(stage: GatewayStage) -> None:
    assert await stage.client.add(2) == 3
    assert await stage.client.add(2, b=3) == 5
    stage.service.fail_with["a"] = PermissionError("no a")
    with pytest.raises(PermissionError, match="no a") as caught:
        await stage.client.wait("a")
    assert isinstance(caught.value, RpcRemoteError)
    stage.service.fail_with["a"] = asyncio.CancelledError()
    with pytest.raises(RpcCallCancelled):
        await stage.client.wait("a")


@every_depth
async def test_a_command_passes_and_what_it_changes_comes_back(stage: GatewayStage) -> None:
    replica = await stage.client.get.capture("a")
    await stage.client.set("a", 7)
    await settle(60)
    assert replica.is_invalidated
    assert await stage.client.get("a") == 7


@every_depth
async def test_a_call_that_nobody_waits_for_passes(stage: GatewayStage) -> None:
    await stage.client.note("hello")
    await settle(60)
    assert stage.service.log == ["hello"]


@every_depth
async def test_cancelling_a_caller_cancels_the_method_of_the_origin(stage: GatewayStage) -> None:
    stage.service.gates["a"] = asyncio.Event()
    call = asyncio.create_task(stage.client.wait("a"))
    await settle(60)
    call.cancel()
    await settle(60)
    assert stage.service.cancelled == ["a"]
    assert stage.open_calls == [(0, 0)] * len(stage.links)


@every_depth
async def test_the_time_limit_of_a_command_ends_it_everywhere(stage: GatewayStage) -> None:
    stage.service.gates["a"] = asyncio.Event()
    call = asyncio.create_task(stage.client.set("a", 1))
    await stage.clock.advance(11)
    with pytest.raises(TimeoutError, match=r"set wasn't answered within 10 s"):
        await call
    await settle(60)
    assert stage.service.cancelled == ["a"]
    assert stage.open_calls == [(0, 0)] * len(stage.links)


async def test_a_command_times_out_while_the_origin_is_away_as_it_would_without_a_gateway(stage: GatewayStage) -> None:
    await stage.cut(0)
    call = asyncio.create_task(stage.client.set("a", 1))
    await stage.clock.advance(2)
    with pytest.raises(TimeoutError, match=r"couldn't be sent within 1.5 s"):
        await call


# Streams


@every_depth
async def test_a_result_that_is_a_stream_passes_and_ends(stage: GatewayStage) -> None:
    stage.service.feeds["a"] = list(range(100))
    assert [tick async for tick in await stage.client.ticks("a")] == list(range(100))
    await settle(60)
    assert (stage.service.closed, stage.open_streams) == (["a"], 0)


@every_depth
async def test_an_argument_that_is_a_stream_passes(stage: GatewayStage) -> None:
    assert await stage.client.sum_up(RpcStream(range(100))) == 4950
    await settle(60)
    assert (stage.service.taken, stage.open_streams) == (list(range(100)), 0)


@every_depth
async def test_a_reader_that_stops_reading_holds_up_the_source(stage: GatewayStage) -> None:
    stage.service.feeds["a"] = list(range(1_000))
    reader = aiter(await stage.client.ticks("a"))
    assert await anext(reader) == 0
    await settle(200)
    # One window for each link, and nothing that grows.
    window, links = 4, len(stage.links)
    assert len(stage.service.taken) <= (window + 1) * links
    assert [await anext(reader) for _ in range(20)] == list(range(1, 21))


@every_depth
@pytest.mark.parametrize("is_begun", [False, True])
async def test_leaving_a_stream_ends_its_source(stage: GatewayStage, is_begun: bool) -> None:
    stage.service.feeds["a"] = list(range(1_000))
    stream = await stage.client.ticks("a")
    if is_begun:
        await anext(aiter(stream))
    await stream.aclose()
    await settle(100)
    assert stage.open_streams == 0
    assert stage.service.closed == (["a"] if is_begun else [])


async def test_a_stream_that_nobody_reads_is_dropped_by_all(stage: GatewayStage) -> None:
    stream = await stage.client.ticks("a")
    await stage.clock.advance(140)
    assert stage.open_streams == 0
    with pytest.raises(RpcStreamLost):
        await anext(aiter(stream))


@every_depth
async def test_a_failing_source_fails_the_reader_behind_what_came(stage: GatewayStage) -> None:
    stage.service.feeds["a"] = [1, 2, KeyError("no more")]
    seen: list[int] = []
    with pytest.raises(KeyError, match="no more"):
        async for tick in await stage.client.ticks("a"):
            seen.append(tick)
    assert seen == [1, 2]


@every_depth
async def test_a_stream_is_lost_with_the_origin(stage: GatewayStage) -> None:
    stage.service.gates["a"] = asyncio.Event()
    stage.service.feeds["a"] = [1, 2]
    reader = aiter(await stage.client.ticks("a"))
    assert [await anext(reader), await anext(reader)] == [1, 2]
    await stage.stop_origin()
    await stage.start_origin()
    await stage.settle_down()
    with pytest.raises(RpcStreamLost):
        await anext(reader)
    await settle(60)
    assert stage.open_streams == 0


@every_depth
async def test_a_stream_is_lost_with_a_gateway_and_its_source_ends(stage: GatewayStage) -> None:
    stage.service.gates["a"] = asyncio.Event()
    stage.service.feeds["a"] = [1, 2]
    reader = aiter(await stage.client.ticks("a"))
    assert [await anext(reader), await anext(reader)] == [1, 2]
    await stage.stop_gateway()
    await stage.start_gateway()
    await stage.settle_down()
    with pytest.raises(RpcStreamLost):
        await anext(reader)
    # What is above has to notice that nobody reads on.
    await stage.clock.advance(140)
    assert stage.service.closed == ["a"]
    assert stage.open_streams == 0


@every_depth
@pytest.mark.parametrize("index", [0, -1])
async def test_a_stream_goes_on_over_a_link_that_broke(stage: GatewayStage, index: int) -> None:
    stage.service.feeds["a"] = list(range(50))
    reader = aiter(await stage.client.ticks("a"))
    seen = [await anext(reader) for _ in range(3)]
    await stage.cut(index)
    await stage.heal(index)
    await stage.settle_down()
    seen += [tick async for tick in reader]
    assert seen == list(range(50))


@every_depth
async def test_what_a_real_time_stream_leaves_out_is_up_to_its_giver(stage: GatewayStage) -> None:
    stage.service.feeds["a"] = list(range(1_001))
    frames = await stage.client.frames("a")
    assert frames.is_real_time
    reader = aiter(frames)
    seen = [await anext(reader) for _ in range(5)]
    await settle(1_000)
    assert len(stage.service.taken) == 1_001

    seen += [frame async for frame in reader]

    # What follows a gap makes sense by itself, wherever on the way there was no room.
    gaps = [after for before, after in itertools.pairwise(seen) if after != before + 1]
    assert gaps
    assert all(after % 3 == 0 for after in gaps)
    assert seen[-2:] == [999, 1_000]


# What goes along


@every_depth
async def test_the_trace_of_a_call_goes_on_to_the_origin(stage: GatewayStage) -> None:
    parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    with enter_trace(TraceContext(parent)):
        assert await stage.client.trace() == parent


async def test_headers_of_ones_own_end_at_the_gateway_unless_it_passes_them_on(stage: GatewayStage) -> None:
    async def sign(call: OutboundContext, proceed: Proceed) -> Any:
        call.headers["tenant"] = "t1"
        return await proceed()

    async def pass_on(call: OutboundContext, proceed: Proceed) -> Any:
        call.headers.update({name: value for name, value in current_headers() if name == "tenant"})
        return await proceed()

    stage.hub.add_outbound_middleware(sign)
    assert await stage.client.header("tenant") is None
    stage.gateways[0].add_outbound_middleware(pass_on)
    assert await stage.client.header("tenant") == "t1"


async def test_the_hash_of_what_a_client_knows_is_not_passed_on_even_with_all_its_headers(stage: GatewayStage) -> None:
    async def pass_on(call: OutboundContext, proceed: Proceed) -> Any:
        call.headers.update(current_headers())
        return await proceed()

    cache = MemoryCache()
    stage.values["a"] = 1
    for _ in range(2):
        stage.gateways[0].add_outbound_middleware(pass_on)
        async with FusionHub(transport=stage.links[-1], limits=LIMITS, cache=cache) as hub:
            client = hub.client(PriceApi, URL)
            await client.get("a")
            await settle()
            await hub.synchronized()
            assert await client.get("a") == 1
        # It has nothing that the next client knows.
        await stage.stop_gateway()
        await stage.start_gateway()


async def test_middleware_of_the_gateway_decides_who_may_ask(stage: GatewayStage) -> None:
    async def authenticate(call: InboundContext, proceed: Proceed) -> Any:
        if call.header("token") != "secret":
            raise PermissionError("who are you?")
        return await proceed()

    async def sign(call: OutboundContext, proceed: Proceed) -> Any:
        call.headers["token"] = "secret"
        return await proceed()

    stage.gateways[0].add_inbound_middleware(authenticate)
    for call in (stage.client.add(1), stage.client.get("a")):
        with pytest.raises(PermissionError, match="who are you"):
            await call
    assert stage.service.log == []

    hub, client = stage.open_client()
    hub.add_outbound_middleware(sign)
    assert (await client.add(1), await client.get("a")) == (2, 0)
    with pytest.raises(PermissionError):
        await stage.client.get("b")


# Trouble with links


class Follower:
    """Somebody at the edge who only looks at what changes."""

    def __init__(self, stage: GatewayStage) -> None:
        self.seen: list[int] = []
        self._stage = stage
        self._task = asyncio.create_task(self._follow())

    async def _follow(self) -> None:
        async for computed in (await self._stage.client.get.capture("a")).changes():
            self.seen.append(computed.value)

    async def aclose(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


@pytest.fixture
async def follower(stage: GatewayStage) -> AsyncIterator[Follower]:
    follower = Follower(stage)
    await settle(60)
    yield follower
    await follower.aclose()


TROUBLE = ("origin", "origin link", "gateway", "client link")
COMBINATIONS = [parts for size in (1, 2, 3, 4) for parts in itertools.combinations(TROUBLE, size)]


async def break_part(stage: GatewayStage, part: str) -> None:
    match part:
        case "origin":
            await stage.stop_origin()
        case "gateway":
            await stage.stop_gateway()
        case "origin link":
            await stage.cut(0)
        case _:
            await stage.cut(-1)


async def mend_part(stage: GatewayStage, part: str) -> None:
    match part:
        case "origin":
            await stage.start_origin()
        case "gateway":
            await stage.start_gateway()
        case "origin link":
            await stage.heal(0)
        case _:
            await stage.heal(-1)


@pytest.mark.parametrize("moments", [(), ("broken",), ("mending",), ("broken", "mending")], ids=" and ".join)
@pytest.mark.parametrize("is_mended_in_reverse", [False, True])
@pytest.mark.parametrize("parts", COMBINATIONS, ids=" and ".join)
@every_depth
async def test_whatever_breaks_the_edge_has_the_truth_in_the_end(
    stage: GatewayStage,
    follower: Follower,
    parts: tuple[str, ...],
    is_mended_in_reverse: bool,
    moments: tuple[str, ...],
) -> None:
    value = 0
    for part in parts:
        await break_part(stage, part)
    await stage.clock.advance(3)
    if "broken" in moments:
        value += 1
        stage.service.change("a", value)
    await stage.clock.advance(3)
    for part in reversed(parts) if is_mended_in_reverse else parts:
        await mend_part(stage, part)
        await stage.clock.advance(1)
        if "mending" in moments:
            value += 1
            stage.service.change("a", value)
    await stage.settle_down()

    assert follower.seen[-1] == value
    assert stage.open_calls == [(1, 1)] * len(stage.links)
    if not {"origin", "gateway"} & set(parts) and not moments:
        # Nobody has forgotten anything, so nothing was asked for again.
        assert (follower.seen, stage.service.log) == ([0], ["a"])

    # And it goes on as before.
    stage.service.change("a", 99)
    await stage.settle_down()
    assert follower.seen[-1] == 99


@pytest.mark.parametrize("index", [0, -1])
async def test_a_link_that_has_died_in_silence_is_replaced_and_what_it_lost_is_made_up_for(
    stage: GatewayStage, follower: Follower, index: int
) -> None:
    stage.links[index].fault = lambda direction, frame: Fault.LOSE
    stage.service.change("a", 1)
    await stage.clock.advance(20)
    assert follower.seen == [0]
    stage.links[index].fault = lambda direction, frame: None
    await stage.clock.advance(30)
    await stage.settle_down()
    assert follower.seen[-1] == 1


@every_depth
async def test_without_its_origin_a_gateway_serves_what_was_last_true_and_a_new_key_waits(stage: GatewayStage) -> None:
    stage.values.update(a=1, new=2)
    await stage.client.get("a")
    await stage.cut(0)
    stage.values["a"] = 9
    _, newcomer = stage.open_client()
    assert await newcomer.get("a") == 1
    waiting = asyncio.create_task(newcomer.get("new"))
    await stage.clock.advance(60)
    assert not waiting.done()
    assert await stage.client.get("a") == 1

    await stage.heal(0)
    await stage.settle_down()
    assert await waiting == 2


async def test_a_regular_call_waits_for_the_link_to_the_origin_too(stage: GatewayStage) -> None:
    await stage.cut(0)
    call = asyncio.create_task(stage.client.add(1))
    await stage.clock.advance(60)
    assert not call.done()
    await stage.heal(0)
    await stage.settle_down()
    assert await call == 2


@pytest.mark.parametrize("parts", COMBINATIONS, ids=" and ".join)
@every_depth
async def test_a_call_in_flight_is_answered_whatever_breaks(stage: GatewayStage, parts: tuple[str, ...]) -> None:
    gate = stage.service.gates["a"] = stage.service.gates["b"] = asyncio.Event()
    value, answer = asyncio.create_task(stage.client.get("a")), asyncio.create_task(stage.client.wait("b"))
    await settle(60)
    for part in parts:
        await break_part(stage, part)
    gate.set()
    await stage.clock.advance(3)
    for part in parts:
        await mend_part(stage, part)
    await stage.settle_down()
    assert (await value, await answer) == (0, "b")
    assert stage.open_calls == [(1, 1)] * len(stage.links)


# Letting go


@pytest.mark.no_cover
async def test_when_its_clients_are_gone_a_gateway_releases_what_it_kept_for_them(stage: GatewayStage) -> None:
    for index in range(1_000):
        hub, client = stage.open_client()
        assert await client.get(f"key {index % 10}") == 0
        await hub.aclose()
    assert (stage.upstream_peer().call_count, len(stage.upstream_peer().outbound)) == (10, 10)

    # They might come back, and then a value is kept for a minute.
    await stage.clock.advance(LIMITS.server_peer_min_retention + 10)
    assert [len(peer.inbound) for peer in stage.gateways[0].server_peers] == [0]
    gc.collect()
    assert len(stage.upstream_peer().outbound) == 10
    await stage.clock.advance(70)
    gc.collect()
    await settle()
    assert stage.open_calls == [(0, 0), (0, 0)]
    assert [len(peer.inbound) for peer in stage.origin.server_peers] == [0]


@every_depth
async def test_a_client_that_releases_a_value_lets_the_whole_chain_release_it(stage: GatewayStage) -> None:
    await stage.client.total("a")
    assert stage.open_calls == [(1, 1)] * len(stage.links)
    # The contract says five seconds for each replica; one after the other is let go.
    for _ in stage.links:
        await stage.clock.advance(16, settle_turns=60)
        gc.collect()
        await settle(60)
    assert stage.open_calls == [(0, 0)] * len(stage.links)


async def test_the_origin_forgets_a_gateway_that_was_killed(stage: GatewayStage) -> None:
    await stage.client.get("a")
    await stage.stop_gateway()
    await stage.start_gateway()
    await stage.settle_down()
    assert [len(peer.inbound) for peer in stage.origin.server_peers] == [1, 0]
    await stage.clock.advance(200)
    assert [len(peer.inbound) for peer in stage.origin.server_peers] == [0]


async def test_a_filter_may_show_what_comes_from_the_origin_and_hide_the_rest(stage: GatewayStage) -> None:
    def from_origin(error: BaseException) -> BaseException:
        return error if isinstance(error, RpcRemoteError) else hide_internals(error)

    stage.service.fail_with["a"] = PermissionError("not a")
    stage.gateways[0]._error_filter = hide_internals
    with pytest.raises(RpcRemoteError, match="internal error"):
        await stage.client.wait("a")
    stage.gateways[0]._error_filter = from_origin
    with pytest.raises(PermissionError, match="not a"):
        await stage.client.wait("a")
    # The address of the origin is nobody's business.
    await stage.cut(0)
    call = asyncio.create_task(stage.client.wait("b"))
    await settle()
    await stage.upstream_peer().aclose()
    with pytest.raises(RpcRemoteError, match="internal error"):
        await call


# Plain HTTP


@every_depth
async def test_a_gateway_answers_plain_http(stage: GatewayStage) -> None:
    stage.values["a"] = 5
    stage.service.feeds["a"] = [1, 2]
    app = RpcEndpoint(stage.gateways[-1])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://edge/rpc/http/PriceApi/") as http:
        for _ in range(3):
            assert (await http.post("get", json=["a"])).json() == 5
        assert stage.service.log == ["a"]
        assert (await http.post("add", json={"a": 1, "b": 2})).json() == 3
        assert (await http.post("ticks", json=["a"])).text == "1\n2\n"
        assert (await http.post("note", json=["hello"])).status_code == 202
        stage.service.fail_with["b"] = PermissionError("not b")
        refused = await http.post("wait", json=["b"])
        assert (refused.status_code, refused.json()["detail"]) == (403, "not b")
        await stage.client.set("a", 6)
        await settle(60)
        assert (await http.post("get", json=["a"])).json() == 6


# Circles


async def every_kind_of_call(client: PriceApi) -> list[str]:
    """Return what comes of a compute call, a regular one, and one that nobody waits for."""
    await client.note("nobody hears this")
    outcomes = await asyncio.gather(client.get("a"), client.add(1), return_exceptions=True)
    return [str(outcome) for outcome in outcomes]


async def test_a_gateway_to_itself_refuses_its_calls(caplog: pytest.LogCaptureFixture) -> None:
    with VirtualClock():
        network = MemoryNetwork()
        async with FusionHub(transport=network, limits=LIMITS) as hub:
            client = hub.client(PriceApi, URL)
            hub.add_service(PriceApi, client)
            await hub.serve("memory", 1)
            async with FusionHub(transport=network, limits=LIMITS) as other:
                for reader in (client, other.client(PriceApi, URL)):
                    for problem in await asyncio.wait_for(every_kind_of_call(reader), 5):
                        assert "has no origin: gateways pass its calls on in a circle, this hub to itself" in problem
        assert "a message was dropped: PriceApi.note has no origin" in caplog.text


async def test_two_gateways_to_each_other_refuse_their_calls_and_go_on_once_there_is_an_origin() -> None:
    with VirtualClock() as clock:
        network = MemoryNetwork()
        hubs = [FusionHub(transport=network, limits=LIMITS) for _ in range(2)]
        for index, hub in enumerate(hubs):
            hub.add_service(PriceApi, hub.client(PriceApi, f"ws://memory:{2 - index}"))
            await hub.serve("memory", index + 1)
        readers = [FusionHub(transport=network, limits=LIMITS) for _ in range(2)]
        clients = [reader.client(PriceApi, f"ws://memory:{index + 1}") for index, reader in enumerate(readers)]
        # From both sides at once, so that each hub waits for the other one.
        outcomes = await asyncio.wait_for(asyncio.gather(*[every_kind_of_call(client) for client in clients]), 5)
        for problem in itertools.chain(*outcomes):
            assert "in a circle, two hubs to each other; let one of them serve an implementation" in problem

        await hubs[1].aclose()
        hubs[1] = FusionHub(transport=network, limits=LIMITS)
        hubs[1].add_service(PriceApi, PriceService({"a": 5}))
        await hubs[1].serve("memory", 2)
        await clock.advance(30)
        assert [await client.get("a") for client in clients] == [5, 5]
        for hub in (*readers, *hubs):
            await hub.aclose()


async def test_a_hub_may_ask_a_gateway_for_what_it_serves_that_gateway(stage: GatewayStage) -> None:
    # A device that is reached through a hub it has connected to, and asks there about itself.
    device = FusionHub(transport=stage.links[0], limits=LIMITS)
    device.add_service(PriceApi, PriceService({"a": 5}))
    async with FusionHub(transport=stage.links[0], limits=LIMITS) as hub, device:
        await hub.serve("memory", 2)
        itself = device.client(PriceApi, "ws://memory:2")
        await device.peer("ws://memory:2").wait_connected()
        hub.add_service(PriceApi, hub.client(PriceApi, hub.server_peers[0]))
        assert (await itself.get("a"), await itself.add(1)) == (5, 2)


async def test_a_client_of_the_service_here_cant_be_that_service() -> None:
    async with FusionHub(transport=MemoryNetwork()) as hub:
        with pytest.raises(RpcContractError, match="a client of LOCAL would serve itself"):
            hub.add_service(PriceApi, hub.client(PriceApi, LOCAL))
