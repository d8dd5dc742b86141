"""Tracers, and the W3C trace context that calls carry."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from refusion import collect
from refusion.rpc import (
    InboundContext,
    OutboundContext,
    Proceed,
    RpcHub,
    RpcNoWait,
    RpcTracer,
    TraceContext,
    current_peer,
    current_trace,
    enter_trace,
)
from refusion.rpc._link import Link
from refusion.rpc.protocol import RpcMessage
from refusion.testing import VirtualClock, settle
from tests.unit.remote.stage import RemoteStage

from .world import RawPeer, World

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
OTHER = "00-11111111111111111111111111111111-2222222222222222-00"
TRACE = TraceContext(PARENT, "vendor=1,other=2")


class Log(RpcTracer):
    """Notes what it is told."""

    def __init__(self, name: str = "") -> None:
        self.log: list[str] = []
        self._name = name

    def inbound(self, call: InboundContext) -> Any:
        self.log.append(f"{self._name}in {call.method.name}")
        return lambda error: self.log.append(f"{self._name}in ended {error!r}")

    def outbound(self, call: OutboundContext) -> Any:
        self.log.append(f"{self._name}out {call.method.name}")
        return lambda error: self.log.append(f"{self._name}out ended {error!r}")


class Tell:
    async def trace(self) -> list[str]:
        raise NotImplementedError

    async def note(self) -> RpcNoWait:
        raise NotImplementedError

    async def call_back(self) -> list[str]:
        raise NotImplementedError

    async def inside(self) -> list[str]:
        raise NotImplementedError


class TellService(Tell):
    def __init__(self, hub: RpcHub) -> None:
        self._hub = hub
        self.noted: list[list[str]] = []

    async def trace(self) -> list[str]:
        trace = current_trace()
        return [] if trace is None else [trace.parent, trace.state]

    async def note(self) -> RpcNoWait:
        self.noted.append(await self.trace())
        return RpcNoWait()

    async def call_back(self) -> list[str]:
        return await self._hub.client(Tell, current_peer()).trace()

    async def inside(self) -> list[str]:
        await asyncio.sleep(0)
        with enter_trace(TraceContext(OTHER)):
            return await self.call_back()


@pytest.fixture
async def world(clock: VirtualClock) -> AsyncIterator[World]:
    async with World(clock) as world:
        world.server.add_service(Tell, TellService(world.server))
        world.client.add_service(Tell, TellService(world.client))
        await world.peer.wait_connected()
        yield world


def tell(world: World) -> Tell:
    return world.client.client(Tell, world.peer)


# Tracers


async def test_a_tracer_is_told_of_both_sides_of_a_call_and_of_its_end(world: World) -> None:
    server, client = Log(), Log()
    world.server.add_tracer(server)
    world.client.add_tracer(client)
    assert await world.worker.add(1, 2) == 3
    assert server.log == ["in add", "in ended None"]
    assert client.log == ["out add", "out ended None"]


async def test_a_tracer_is_told_of_the_error_that_a_call_has_ended_with(world: World) -> None:
    server, client = Log(), Log()
    world.server.add_tracer(server)
    world.client.add_tracer(client)
    with pytest.raises(ValueError):
        await world.worker.fail("no")
    assert server.log == ["in fail", "in ended ValueError('no')"]
    assert client.log[1].startswith("out ended RemoteValueError(")


async def test_a_tracer_is_told_that_a_call_was_cancelled(world: World) -> None:
    server, client = Log(), Log()
    world.server.add_tracer(server)
    world.client.add_tracer(client)
    call = world.start(world.worker.wait("a"))
    await settle()
    call.cancel()
    await settle()
    assert server.log == ["in wait", "in ended CancelledError()"]
    assert client.log == ["out wait", "out ended CancelledError()"]


async def test_tracers_are_nested_in_their_order(world: World) -> None:
    log = Log("a ")
    other = Log("b ")
    other.log = log.log
    world.server.add_tracer(log)
    world.server.add_tracer(other)
    await world.worker.add(1, 2)
    assert log.log == ["a in add", "b in add", "b in ended None", "a in ended None"]


async def test_a_tracer_of_which_nothing_is_overridden_changes_nothing(world: World) -> None:
    world.server.add_tracer(RpcTracer())
    world.client.add_tracer(RpcTracer())
    assert await world.worker.add(1, 2) == 3


@pytest.mark.parametrize("is_late", [False, True], ids=["at the start", "at the end"])
async def test_a_tracer_that_fails_changes_nothing_for_the_call(
    world: World, is_late: bool, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(RpcTracer):
        def inbound(self, call: InboundContext) -> Any:
            return self._fail(call)

        def outbound(self, call: OutboundContext) -> Any:
            return self._fail(call)

        def _fail(self, call: object) -> Any:
            def fail(error: object) -> None:
                raise RuntimeError("no disk")

            if is_late:
                return fail
            return fail(None)

    world.server.add_tracer(Failing())
    world.client.add_tracer(Failing())
    assert await world.worker.add(1, 2) == 3
    with pytest.raises(ValueError, match="no"):
        await world.worker.fail("no")
    assert caplog.text.count("a tracer failed") == 4


async def test_a_tracer_may_add_headers(world: World) -> None:
    class Sender(RpcTracer):
        def outbound(self, call: OutboundContext) -> None:
            call.headers["request-id"] = "17"

    class Receiver(RpcTracer):
        ids: list[Any] = []

        def inbound(self, call: InboundContext) -> None:
            self.ids.append(call.header("request-id"))

    receiver = Receiver()
    world.client.add_tracer(Sender())
    world.server.add_tracer(receiver)
    await world.worker.add(1, 2)
    assert receiver.ids == ["17"]


async def test_a_tracer_sees_the_trace_of_the_call(world: World) -> None:
    class Look(RpcTracer):
        seen: list[Any] = []

        def inbound(self, call: InboundContext) -> None:
            self.seen.append(current_trace())

    look = Look()
    world.server.add_tracer(look)
    with enter_trace(TRACE):
        await world.worker.add(1, 2)
    await world.worker.add(1, 2)
    assert look.seen == [TRACE, None]


# The trace context


async def test_without_a_trace_nothing_is_carried(world: World) -> None:
    assert await tell(world).trace() == []


async def test_the_trace_of_the_caller_is_that_of_the_handler(world: World) -> None:
    with enter_trace(TRACE):
        assert await tell(world).trace() == [PARENT, "vendor=1,other=2"]
    assert await tell(world).trace() == []


async def test_a_call_that_nobody_waits_for_carries_it_too(world: World) -> None:
    service: Any = world.server.service(Tell)
    with enter_trace(TRACE):
        await tell(world).note()
    await settle()
    assert service.noted == [[PARENT, "vendor=1,other=2"]]


async def test_calls_that_a_handler_makes_go_on_with_it(world: World) -> None:
    with enter_trace(TRACE):
        assert await tell(world).call_back() == [PARENT, "vendor=1,other=2"]


async def test_a_handler_may_begin_a_span_of_its_own(world: World) -> None:
    with enter_trace(TRACE):
        assert await tell(world).inside() == [OTHER, ""]


async def test_leaving_a_trace_goes_back_to_the_one_around_it() -> None:
    with enter_trace(TRACE):
        with enter_trace(None):
            assert current_trace() is None
        assert current_trace() is TRACE
    assert current_trace() is None


async def test_a_trace_goes_along_with_headers_that_middleware_adds(world: World) -> None:
    seen: list[Any] = []

    async def add(call: OutboundContext, proceed: Proceed) -> Any:
        call.headers["token"] = "t"
        return await proceed()

    async def look(call: InboundContext, proceed: Proceed) -> Any:
        seen.append(call.headers)
        return await proceed()

    world.client.add_outbound_middleware(add)
    world.server.add_inbound_middleware(look)
    with enter_trace(TRACE):
        assert await tell(world).trace() == [PARENT, "vendor=1,other=2"]
    assert seen == [(("~p", PARENT), ("~s", "vendor=1,other=2"), ("token", "t"))]


async def test_middleware_may_say_which_span_a_call_is(world: World) -> None:
    async def replace(call: OutboundContext, proceed: Proceed) -> Any:
        call.headers["~p"] = OTHER
        return await proceed()

    async def enter(call: OutboundContext, proceed: Proceed) -> Any:
        with enter_trace(TraceContext(OTHER, "own=1")):
            return await proceed()

    world.client.add_outbound_middleware(enter)
    assert await tell(world).trace() == [OTHER, "own=1"]
    world.client.add_outbound_middleware(replace)
    with enter_trace(TRACE):
        assert await tell(world).trace() == [OTHER, "own=1"]


async def test_a_call_that_is_sent_again_carries_the_same_trace(world: World) -> None:
    traces: list[Any] = []

    async def look(call: InboundContext, proceed: Proceed) -> Any:
        traces.append(current_trace())
        return await proceed()

    world.server.add_inbound_middleware(look)
    with enter_trace(TRACE):
        call = world.start(world.worker.wait("a"))
        await settle()
    await world.restart_server()
    world.server.add_inbound_middleware(look)
    await world.clock.advance(5)
    world.service.let_go("a")
    await call
    assert traces == [TRACE, TRACE]


async def test_compute_calls_carry_the_trace_of_who_asks_first() -> None:
    with VirtualClock() as clock:
        stage = RemoteStage(clock)
        await stage.start()
        traces: list[Any] = []

        async def look(call: InboundContext, proceed: Proceed) -> Any:
            traces.append(current_trace())
            return await proceed()

        stage.server.add_inbound_middleware(look)
        with enter_trace(TRACE):
            await stage.client.get("a")
        await stage.client.get("a")
        await stage.client.get("b")
        assert traces == [TRACE, None]
        await stage.aclose()
        collect()


@pytest.mark.parametrize("format", ["msgpack6", "json5np"])
@pytest.mark.parametrize(
    ("headers", "seen"),
    [
        ((("~p", PARENT),), [PARENT, ""]),
        ((("~p", PARENT), ("~s", "")), [PARENT, ""]),
        ((("~p", PARENT), ("~s", "x" * 512)), [PARENT, "x" * 512]),
        ((("~p", PARENT), ("~s", "x" * 513)), [PARENT, ""]),
        ((("~p", PARENT + "0"), ("~s", "a=1")), []),
        ((("~p", PARENT[:-1]), ("~s", "a=1")), []),
        ((("~p", ""), ("~s", "a=1")), []),
        ((("~s", "a=1"),), []),
        ((("v", "1"), ("~", "old"), ("~p", PARENT)), [PARENT, ""]),
    ],
    ids=["plain", "empty state", "long state", "too long state", "long", "short", "empty", "no parent", "others"],
)
async def test_of_the_headers_only_a_whole_trace_counts(
    world: World, format: str, headers: Any, seen: list[str]
) -> None:
    raw = await RawPeer.connect(world, format=format)
    await raw.introduce()
    await raw.send(RpcMessage("Tell.Trace:1", 1, 0, b"", headers))
    (answer,) = raw.received[1:]
    assert raw.format.result(list[str]).decode(answer.args) == (seen,)


async def test_what_goes_along_is_what_the_protocol_says(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    messages: list[RpcMessage] = []
    post = Link.post

    def note(link: Link, message: RpcMessage) -> None:
        if link is world.peer.link:
            messages.append(message)
        post(link, message)

    monkeypatch.setattr(Link, "post", note)
    with enter_trace(TraceContext(PARENT)):
        await tell(world).trace()
    with enter_trace(TRACE):
        await tell(world).trace()
    assert [message.headers for message in messages] == [
        (("~p", PARENT),),
        (("~p", PARENT), ("~s", "vendor=1,other=2")),
    ]


@pytest.mark.parametrize(("parent", "state"), [("short", ""), (PARENT + "0", ""), (PARENT, "x" * 513)])
def test_a_trace_that_cant_be_carried_is_refused_where_it_is_made(parent: str, state: str) -> None:
    with pytest.raises(ValueError, match="characters, not"):
        TraceContext(parent, state)


async def test_a_traced_call_of_a_method_that_never_suspends_is_answered_all_the_same(world: World) -> None:
    with enter_trace(TRACE):
        assert await world.worker.add(1, 2) == 3
