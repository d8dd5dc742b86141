"""Faults by name, on calls of every kind: each call ends once with its own result, and nothing is left of it.

How often a handler runs is what the protocol promises: a call that the server still knows isn't run again. It
knows a regular call until it is answered, even if the answer is lost, and a compute call until it is invalidated.
A server that was restarted knows none.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

import pytest

from refusion.rpc import RpcConnectError, RpcStreamLost
from refusion.rpc.transports import TransportLimits
from refusion.rpc.transports._serving import connection_request
from refusion.rpc.transports.memory import Direction, Fault, _MemoryTransport
from refusion.testing import VirtualClock, settle

from .fault_world import FaultWorld

TO_CLIENT, TO_SERVER = Direction.TO_CLIENT, Direction.TO_SERVER
Begin = Callable[[], "asyncio.Task[Any]"]
Scenario = Callable[[FaultWorld, Begin], Awaitable["asyncio.Task[Any]"]]


@pytest.fixture(params=["msgpack6c", "json5np"])
async def world(request: pytest.FixtureRequest, clock: VirtualClock) -> AsyncIterator[FaultWorld]:
    async with FaultWorld(clock, format=request.param) as world:
        yield world


async def cut_before_send(world: FaultWorld, begin: Begin) -> asyncio.Task[Any]:
    await world.break_link()
    call = begin()
    await world.clock.advance(5)
    await world.mend_link()
    await world.finish()
    return call


async def cut_while_it_is_sent(world: FaultWorld, begin: Begin) -> asyncio.Task[Any]:
    world.fault_once(TO_SERVER, Fault.LOSE_AND_CUT)
    call = begin()
    await settle()
    await world.mend_link()
    await world.finish()
    return call


async def cut_after_send(world: FaultWorld, begin: Begin) -> asyncio.Task[Any]:
    world.fault_once(TO_SERVER, Fault.DELIVER_AND_CUT)
    call = begin()
    await settle()
    await world.mend_link()
    await world.finish()
    return call


async def cut_before_the_result(world: FaultWorld, begin: Begin) -> asyncio.Task[Any]:
    call = begin()
    await settle(40)
    await world.break_link()
    await world.mend_link()
    await world.finish()
    return call


async def the_result_falls_into_the_outage(world: FaultWorld, begin: Begin) -> asyncio.Task[Any]:
    call = begin()
    await settle(40)
    await world.break_link()
    await world.finish()
    await world.mend_link()
    return call


async def cut_while_the_result_is_sent(world: FaultWorld, begin: Begin) -> asyncio.Task[Any]:
    call = begin()
    await settle(40)
    world.fault_once(TO_CLIENT, Fault.LOSE_AND_CUT)
    await world.finish()
    await world.mend_link()
    return call


async def cut_after_the_result(world: FaultWorld, begin: Begin) -> asyncio.Task[Any]:
    call = begin()
    await settle(40)
    world.fault_once(TO_CLIENT, Fault.DELIVER_AND_CUT)
    await world.finish()
    await world.mend_link()
    return call


async def cut_again_before_open_calls_are_settled(world: FaultWorld, begin: Begin) -> asyncio.Task[Any]:
    call = begin()
    await settle(40)
    for skip in range(4):
        await world.break_link()
        world.network.is_refusing = False
        world.fault_once(TO_SERVER, Fault.LOSE_AND_CUT, skip=skip)
        await world.clock.advance(1)
    await world.mend_link()
    await world.finish()
    return call


async def half_open_before_the_result(world: FaultWorld, begin: Begin) -> asyncio.Task[Any]:
    call = begin()
    await settle(40)
    world.network.fault = lambda direction, frame: Fault.LOSE
    await world.clock.advance(24)
    await world.mend_link()
    await world.finish()
    return call


async def half_open_while_the_result_is_sent(world: FaultWorld, begin: Begin) -> asyncio.Task[Any]:
    call = begin()
    await settle(40)
    world.network.fault = lambda direction, frame: Fault.LOSE
    await world.finish()
    await world.clock.advance(24)
    await world.mend_link()
    return call


async def half_open_in_one_direction(world: FaultWorld, begin: Begin) -> asyncio.Task[Any]:
    call = begin()
    await settle(40)
    world.network.fault = lambda direction, frame: Fault.LOSE if direction is TO_CLIENT else None
    await world.finish()
    await world.clock.advance(24)
    await world.mend_link()
    return call


async def every_frame_comes_twice(world: FaultWorld, begin: Begin) -> asyncio.Task[Any]:
    world.network.fault = lambda direction, frame: Fault.DUPLICATE
    call = begin()
    await settle(60)
    await world.finish()
    await settle(100)
    world.network.fault = lambda direction, frame: None
    return call


async def every_frame_comes_twice_after_a_reconnect(world: FaultWorld, begin: Begin) -> asyncio.Task[Any]:
    call = begin()
    await settle(40)
    await world.break_link()
    world.network.is_refusing = False
    world.network.fault = lambda direction, frame: Fault.DUPLICATE
    await world.clock.advance(5)
    await world.finish()
    await settle(100)
    world.network.fault = lambda direction, frame: None
    return call


async def an_old_connection_comes_after_a_newer_one(world: FaultWorld, begin: Begin) -> asyncio.Task[Any]:
    """The client gives an attempt up, whose other end gets through to the server when the next one has succeeded."""
    call = begin()
    await settle(40)
    connect = world.network.connect
    held: list[Any] = []

    async def connect_late(url: str, receiver: Any, limits: TransportLimits, ssl: Any = None) -> Any:
        if held:
            return await connect(url, receiver, limits, ssl)
        parts = urlsplit(url)
        held.append(world.server.accept(connection_request(f"{parts.path}?{parts.query}", (), "memory")))
        raise RpcConnectError("it took too long")

    world.network.connect = connect_late  # type: ignore[method-assign]
    await world.break_link()
    await world.mend_link()
    before = world.network.connection_count
    (late,) = held
    dead_end = _MemoryTransport(world.network, late, TransportLimits(), TO_CLIENT, 1)
    late.connected(dead_end)
    await settle()
    await world.clock.advance(5)
    dead_end.lost(1006, "")
    await world.clock.advance(15)
    assert world.network.connection_count == before + 1
    await world.finish()
    return call


async def host_switch_before_send(world: FaultWorld, begin: Begin) -> asyncio.Task[Any]:
    await world.break_link()
    call = begin()
    await settle()
    await world.restart_server()
    await world.mend_link()
    await world.finish()
    return call


async def host_switch_before_the_result(world: FaultWorld, begin: Begin) -> asyncio.Task[Any]:
    call = begin()
    await settle(40)
    await world.restart_server()
    await world.mend_link()
    await world.finish()
    return call


async def host_switch_twice(world: FaultWorld, begin: Begin) -> asyncio.Task[Any]:
    call = begin()
    await settle(40)
    for _ in range(2):
        await world.restart_server()
        await world.mend_link()
        await settle(40)
    await world.finish()
    return call


SCENARIOS: dict[Scenario, tuple[int, int, int | None]] = {
    # How often a regular call, a compute call, and a method with a stream are run; None if the stream is lost. Such
    # a method is answered at once, so its answer is what is lost together with the connection that the call came on.
    cut_before_send: (1, 1, 1),
    cut_while_it_is_sent: (1, 1, 1),
    cut_after_send: (1, 1, 2),
    cut_before_the_result: (1, 1, 1),
    the_result_falls_into_the_outage: (2, 1, 1),
    cut_while_the_result_is_sent: (2, 1, 1),
    cut_after_the_result: (1, 1, 1),
    cut_again_before_open_calls_are_settled: (1, 1, 1),
    half_open_before_the_result: (1, 1, 1),
    half_open_while_the_result_is_sent: (2, 1, 1),
    half_open_in_one_direction: (2, 1, 1),
    every_frame_comes_twice: (1, 1, 2),
    every_frame_comes_twice_after_a_reconnect: (1, 1, 1),
    an_old_connection_comes_after_a_newer_one: (1, 1, 1),
    host_switch_before_send: (1, 1, 1),
    host_switch_before_the_result: (2, 2, None),
    host_switch_twice: (3, 3, None),
}
ALL = pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__.replace("_", " "))


@ALL
async def test_a_regular_call_ends_once_with_its_result(world: FaultWorld, scenario: Scenario) -> None:
    ended: list[str] = []

    def begin() -> asyncio.Task[Any]:
        call = world.start(world.api.run("a"))
        call.add_done_callback(lambda call: ended.append(call.result()))
        return call

    call = await scenario(world, begin)

    assert await call == "a done"
    assert ended == ["a done"]
    assert world.runs == {"run a": SCENARIOS[scenario][0]}
    await world.expect_nothing_left()


@ALL
async def test_a_hundred_regular_calls_each_end_with_their_own_result(world: FaultWorld, scenario: Scenario) -> None:
    async def run_all() -> list[str]:
        return await asyncio.gather(*[world.api.run(str(i)) for i in range(100)])

    call = await scenario(world, lambda: world.start(run_all()))

    assert await call == [f"{i} done" for i in range(100)]
    # They share several frames, and a fault happens to one: to others it is as if the result fell into the outage.
    assert max(world.runs.values()) <= max(2, SCENARIOS[scenario][0])
    assert len(world.runs) == 100
    await world.expect_nothing_left()


@ALL
async def test_a_compute_call_ends_once_with_its_value_and_tells_when_that_changes(
    world: FaultWorld, scenario: Scenario
) -> None:
    world.values["a"] = 7

    call = await scenario(world, lambda: world.start(world.api.value.capture("a")))

    replica = await call
    assert replica.value == 7
    assert world.runs == {"value a": SCENARIOS[scenario][1]}
    assert replica.is_consistent
    world.change("a", 8)
    await settle(40)
    assert replica.is_invalidated
    assert await world.api.value("a") == 8
    world.change("a", 9)
    await settle(40)
    await world.expect_nothing_left()


@ALL
async def test_a_stream_brings_every_item_once_and_in_order(world: FaultWorld, scenario: Scenario) -> None:
    runs = SCENARIOS[scenario][2]

    call = await scenario(world, lambda: world.start(world.collect_feed("a", 100)))

    if runs is None:
        with pytest.raises(RpcStreamLost, match="the other side was restarted"):
            await call
    else:
        assert await call == list(range(100))
        assert world.runs == {"feed a": runs}
    await world.expect_nothing_left()


# During an invalidation


async def told(world: FaultWorld) -> None:
    await settle(40)


async def invalidated_during_the_outage(world: FaultWorld) -> None:
    await world.break_link()
    world.change("a", 8)
    await world.mend_link()


async def cut_while_the_invalidation_is_sent(world: FaultWorld) -> None:
    world.fault_once(TO_CLIENT, Fault.LOSE_AND_CUT)
    world.change("a", 8)
    await settle()
    await world.mend_link()


async def cut_after_the_invalidation(world: FaultWorld) -> None:
    world.fault_once(TO_CLIENT, Fault.DELIVER_AND_CUT)
    world.change("a", 8)
    await settle()
    await world.mend_link()


async def the_invalidation_comes_twice(world: FaultWorld) -> None:
    world.network.fault = lambda direction, frame: Fault.DUPLICATE
    world.change("a", 8)
    await settle(40)
    world.network.fault = lambda direction, frame: None


async def the_invalidation_is_swallowed_by_a_half_open_link(world: FaultWorld) -> None:
    world.network.fault = lambda direction, frame: Fault.LOSE
    world.change("a", 8)
    await world.clock.advance(24)
    await world.mend_link()


async def the_invalidation_comes_with_the_end_of_the_server(world: FaultWorld) -> None:
    await world.break_link()
    world.change("a", 8)
    await world.restart_server()
    await world.mend_link()


async def cut_again_before_the_invalidation_is_told(world: FaultWorld) -> None:
    await world.break_link()
    world.change("a", 8)
    for skip in range(4):
        world.network.is_refusing = False
        world.fault_once(TO_CLIENT, Fault.LOSE_AND_CUT, skip=skip)
        await world.clock.advance(1)
        await world.break_link()
    await world.mend_link()


@pytest.mark.parametrize(
    "fault",
    [
        invalidated_during_the_outage,
        cut_while_the_invalidation_is_sent,
        cut_after_the_invalidation,
        the_invalidation_comes_twice,
        the_invalidation_is_swallowed_by_a_half_open_link,
        the_invalidation_comes_with_the_end_of_the_server,
        cut_again_before_the_invalidation_is_told,
    ],
    ids=lambda fault: fault.__name__.replace("_", " "),
)
async def test_no_invalidation_is_missed(world: FaultWorld, fault: Callable[[FaultWorld], Awaitable[None]]) -> None:
    world.gate.set()
    world.values["a"] = 7
    replica = await world.api.value.capture("a")
    other = await world.api.value.capture("b")

    await fault(world)

    assert replica.is_invalidated
    assert await world.api.value("a") == 8
    if other.is_consistent:
        assert world.runs["value b"] == 1
    for key in "ab":
        world.change(key, 99)
    await settle(40)
    assert other.is_invalidated
    await world.expect_nothing_left()


# During a batch of a stream


@pytest.mark.parametrize("fault", [Fault.LOSE_AND_CUT, Fault.DELIVER_AND_CUT, Fault.DUPLICATE])
@pytest.mark.parametrize("direction", list(Direction))
@pytest.mark.parametrize("skip", range(7))
async def test_a_fault_at_any_frame_of_a_stream_loses_and_repeats_nothing(
    world: FaultWorld, direction: Direction, fault: Fault, skip: int
) -> None:
    world.gate.set()
    world.fault_once(direction, fault, skip=skip)
    call = world.start(world.collect_feed("a", 200))
    await settle(100)
    await world.mend_link()
    await settle(100)
    assert await call == list(range(200))
    await world.expect_nothing_left()


# At any frame of a conversation


async def converse(world: FaultWorld) -> list[Any]:
    """Do a bit of everything."""
    first = await asyncio.gather(*[world.api.quick(str(i)) for i in range(3)])
    replica = await world.api.value.capture("a")
    running = asyncio.gather(*[world.api.run(str(i)) for i in range(3)])
    await asyncio.sleep(0)
    world.change("a", 5)
    world.gate.set()
    numbers = await world.collect_feed("f", 30)
    await replica.wait_invalidated()
    return [first, await running, numbers, await world.api.value("a")]


@pytest.mark.parametrize("fault", [Fault.LOSE_AND_CUT, Fault.DELIVER_AND_CUT, Fault.DUPLICATE])
@pytest.mark.parametrize("direction", list(Direction))
@pytest.mark.parametrize("skip", range(10))
async def test_a_fault_at_any_frame_changes_nothing_of_what_calls_come_to(
    world: FaultWorld, direction: Direction, fault: Fault, skip: int
) -> None:
    world.gate.set()
    world.fault_once(direction, fault, skip=skip)
    call = world.start(converse(world))
    for _ in range(4):
        await settle(60)
        await world.clock.advance(2)
    assert call.done()
    done = [f"{i} done" for i in range(3)]
    assert call.result() == [done, done, list(range(30)), 5]
    for key, count in world.runs.items():
        # Once, and once more if its answer was in the frame that was lost; the value was computed twice in any case.
        assert count <= (3 if key == "value a" else 2), world.runs
    world.change("a", 6)
    await settle(40)
    await world.expect_nothing_left()


@pytest.mark.parametrize("skip", range(10))
async def test_a_host_switch_at_any_frame_leaves_every_call_with_a_result_of_its_own(
    world: FaultWorld, skip: int
) -> None:
    world.gate.set()
    left = skip

    def decide(direction: Direction, frame: bytes) -> Fault | None:
        nonlocal left
        left -= 1
        if left == 0:
            world.network.is_refusing = True
            return Fault.LOSE_AND_CUT
        return None

    world.network.fault = decide
    call = world.start(converse(world))
    await settle(100)
    if world.network.is_refusing:
        await world.restart_server()
        world.network.is_refusing = False
        if world.values["a"] == 5:
            world.change("a", 5)
    for _ in range(8):
        await world.clock.advance(2)
        await settle(60)
    assert call.done()
    if isinstance(call.exception(), RpcStreamLost):
        assert world.runs["feed f"] == 1
    else:
        done = [f"{i} done" for i in range(3)]
        assert call.result() == [done, done, list(range(30)), 5]
    world.change("a", 6)
    await settle(40)
    await world.expect_nothing_left()
