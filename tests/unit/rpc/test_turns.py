"""Large frames and many frames at once: handled in order, a part in each turn of the event loop."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from refusion.rpc import RpcLimits, RpcPeer
from refusion.rpc.protocol import RpcMessage
from refusion.rpc.protocol._system_calls import CANCEL, OK
from refusion.rpc.transports.memory import _MemoryTransport
from refusion.testing import VirtualClock, settle

from .world import RawPeer, Worker, World

LIMITS = RpcLimits(messages_per_turn=10, drain_timeout=0.0)


@pytest.fixture
async def world(clock: VirtualClock) -> AsyncIterator[World]:
    async with World(clock, limits=LIMITS) as world:
        await world.peer.wait_connected()
        yield world


async def connect(world: World) -> RawPeer:
    raw = await RawPeer.connect(world)
    await raw.introduce()
    return raw


def add(raw: RawPeer, number: int) -> RpcMessage:
    return RpcMessage("Worker.Add:3", number, 0, raw.arguments(number, 0))


def send(raw: RawPeer, *messages: RpcMessage) -> None:
    assert raw.transport is not None
    raw.transport.send(raw.frame(*messages))


async def test_the_calls_of_a_large_frame_are_run_and_answered_in_order(world: World) -> None:
    raw = await connect(world)
    send(raw, *[add(raw, i) for i in range(1, 501)])
    await settle(10)
    assert 0 < len(world.log) <= 110
    await settle(100)
    assert world.log == [f"add({i}, 0)" for i in range(1, 501)]
    assert raw.methods == [OK] * 500
    assert [message.related_id for message in raw.received[1:]] == list(range(1, 501))


async def test_what_comes_behind_a_large_frame_comes_after_it(world: World) -> None:
    raw = await connect(world)
    send(raw, *[add(raw, i) for i in range(1, 101)])
    send(raw, add(raw, 101))
    await settle(1)
    send(raw, add(raw, 102))
    await settle(60)
    assert world.log == [f"add({i}, 0)" for i in range(1, 103)]


async def test_others_have_their_turn_while_a_large_frame_is_handled(world: World) -> None:
    raw = await connect(world)
    send(raw, *[add(raw, i) for i in range(1, 501)])
    await world.worker.add(0, 1)
    assert world.log.index("add(0, 1)") < 200


async def test_many_small_frames_at_once_are_no_more_than_a_large_one(world: World) -> None:
    raw = await connect(world)
    for i in range(100):
        send(raw, *[add(raw, 5 * i + n) for n in range(1, 6)])
    await world.worker.add(0, 1)
    assert world.log.index("add(0, 1)") < 200
    await settle(100)
    assert [line for line in world.log if line != "add(0, 1)"] == [f"add({i}, 0)" for i in range(1, 501)]


async def test_calls_without_answers_are_counted_too(world: World) -> None:
    raw = await connect(world)
    for turn in range(5):
        for i in range(100):
            send(raw, *[RpcMessage("Worker.Wait:2", 0, 0, raw.arguments(f"{turn} {i}"))] * 5)
        await settle(1)
    await world.worker.add(0, 1)
    assert world.log.index("add(0, 1)") < 400
    await settle(1_000)
    assert len(world.log) == 2_501


async def test_a_cancellation_far_behind_its_call_in_the_same_frame_cancels_it(world: World) -> None:
    raw = await connect(world)
    wait = RpcMessage("Worker.Wait:2", 1_000, 0, raw.arguments("a"))
    send(raw, wait, *[add(raw, i) for i in range(1, 51)], RpcMessage(CANCEL, 1_000, 0, b""))
    await settle(60)
    assert world.service.cancelled == ["a"]
    assert raw.methods == [OK] * 50
    assert len(world.log) == 51


async def test_a_cancellation_right_behind_its_call_keeps_it_from_running(world: World) -> None:
    raw = await connect(world)
    send(raw, RpcMessage("Worker.Wait:2", 1, 0, raw.arguments("a")), RpcMessage(CANCEL, 1, 0, b""), add(raw, 2))
    await settle(60)
    assert world.log == ["add(2, 0)"]
    assert raw.methods == [OK]


async def test_a_full_queue_holds_the_rest_of_a_large_frame(clock: VirtualClock) -> None:
    limits = RpcLimits(messages_per_turn=10, max_running_calls=2, max_queued_calls=4, drain_timeout=0.0)
    async with World(clock, limits=limits) as world:
        raw = await connect(world)
        (peer,) = [peer for peer in world.server.server_peers if peer.client_id == "raw"]
        send(raw, *[RpcMessage("Worker.Wait:2", i, 0, raw.arguments(str(i))) for i in range(1, 201)])
        await settle(200)
        assert len(peer.inbound) == 2 + 4
        for i in range(1, 201):
            world.service.let_go(str(i))
        await settle(600)
        assert raw.methods == [OK] * 200
        assert world.log == [f"wait({i})" for i in range(1, 201)]


async def test_the_rest_of_a_large_frame_waits_until_answers_are_taken(clock: VirtualClock) -> None:
    async with World(clock, limits=RpcLimits(messages_per_turn=1, drain_timeout=0.0)) as world:
        raw = await connect(world)
        assert isinstance(raw.transport, _MemoryTransport)
        raw.transport.pause_reading()
        send(raw, *[RpcMessage("Worker.Zeros:2", i, 0, raw.arguments(5_000)) for i in range(1, 201)])
        await settle(300)
        assert raw.transport.other is not None
        assert raw.transport.other._queued_bytes < 256 * 1024 + 6_000
        raw.transport.resume_reading()
        await settle(600)
        assert raw.methods == [OK] * 200


async def test_the_rest_of_a_frame_goes_with_its_connection(world: World) -> None:
    raw = await connect(world)
    send(raw, *[add(raw, i) for i in range(1, 501)])
    await settle(5)
    world.network.cut()
    await settle(100)
    assert len(world.log) < 100


async def test_the_rest_of_a_frame_isnt_handled_when_a_newer_connection_has_taken_over(world: World) -> None:
    raw = await connect(world)
    send(raw, *[add(raw, i) for i in range(1, 501)])
    await settle(5)
    second = await RawPeer.connect(world)
    count = len(world.log)
    await settle(100)
    assert len(world.log) <= count + 10
    await second.introduce()
    send(second, add(second, 1_000))
    await settle(10)
    assert world.log[-1] == "add(1000, 0)"


async def test_ten_thousand_calls_in_one_frame_are_all_answered(clock: VirtualClock) -> None:
    async with World(clock) as world:
        raw = await connect(world)
        send(raw, *[RpcMessage("Worker.Wait:2", i, 0, raw.arguments(str(i % 7))) for i in range(1, 10_001)])
        for i in range(7):
            world.service.let_go(str(i))
        await settle(100)
        assert raw.methods == [OK] * 10_000
        (peer,) = [peer for peer in world.server.server_peers if peer.client_id == "raw"]
        assert len(peer.inbound) == 0
        assert not peer.admission.tasks


async def test_the_client_takes_answers_in_turns_as_well(world: World) -> None:
    await world.worker.add(0, 0)
    calls = [world.start(world.worker.add(i, 0)) for i in range(300)]
    assert await asyncio.gather(*calls) == list(range(300))
    other = await world.open_hub()
    assert await other.client(Worker, world.url).add(1, 1) == 2


async def test_a_handler_that_raises_behind_others_ends_the_connection_too(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(peer: RpcPeer, message: RpcMessage) -> None:
        raise RuntimeError("a bug of a kind of calls")

    world.server.table.set_handler("$sys-x.Fail", fail)
    raw = await connect(world)
    send(raw, *[add(raw, i) for i in range(1, 51)], RpcMessage("$sys-x.Fail", 0), add(raw, 51))
    await settle(60)
    assert raw.closed == (1011, "Internal error.")
    assert "add(50, 0)" in world.log
    assert "add(51, 0)" not in world.log
    assert "a bug of a kind of calls" in caplog.text


async def test_messages_that_nobody_takes_are_few_lines_in_the_log(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    raw = await connect(world)
    send(raw, *[RpcMessage("Nobody.Takes:0", 0)] * 500)
    await settle(100)
    assert [record.getMessage().partition("dropped: ")[2] for record in caplog.records] == [
        "Endpoint not found: 'Nobody.Takes:0'."
    ]
    await world.clock.advance(1)
    await raw.send(RpcMessage("Nobody.Takes:0", 0))
    assert "and 499 others before" in caplog.records[-1].getMessage()
    assert len(caplog.records) == 2
