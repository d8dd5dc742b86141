"""Plain bytes between the calls: in order, both ways, and bounded."""

import asyncio
from typing import Any

import pytest

from refusion.rpc import (
    RpcChannel,
    RpcContractError,
    RpcDisconnected,
    RpcHub,
    RpcLimitExceeded,
    RpcLimits,
    RpcPeer,
    WhenFull,
)
from refusion.rpc.formats import format_keys
from refusion.rpc.protocol import RpcMessage
from refusion.rpc.protocol._limits import SizeLimits
from refusion.rpc.protocol._system_calls import ERROR
from refusion.testing import VirtualClock, settle

from .test_backpressure import transport_of
from .world import RawPeer, Worker, WorkerService, World

SIZE = 100_000


async def take(channel: RpcChannel, count: int) -> list[bytes]:
    return [(await channel.receive())[1] for _ in range(count)]


@pytest.mark.parametrize("format", format_keys())
async def test_bytes_go_both_ways_in_order_in_every_format(clock: VirtualClock, format: str) -> None:
    messages = [bytes(range(256)), b"", b"\x1e\x1f\n", bytes(SIZE), *[b"%d" % i for i in range(300)]]
    async with World(clock, format=format) as world:
        ours, theirs = RpcChannel(world.client, "telemetry"), RpcChannel(world.server, "telemetry")
        for message in messages:
            await ours.send(world.peer, message)
        received = [await theirs.receive() for _ in messages]
        assert received == [(world.server_peer, message) for message in messages]
        for message in messages:
            await theirs.send(world.server_peer, message)
        assert await take(ours, len(messages)) == messages


async def test_any_bytes_like_object_can_be_sent_and_be_changed_afterwards(world: World) -> None:
    ours, theirs = RpcChannel(world.client, "telemetry"), RpcChannel(world.server, "telemetry")
    buffer = bytearray(b"before")
    await ours.send(world.peer, buffer)
    await ours.send(world.peer, memoryview(buffer)[2:4])
    buffer[:] = b"after!"
    assert await take(theirs, 2) == [b"before", b"fo"]
    text: Any = "text"
    with pytest.raises(TypeError, match="sends bytes, not str"):
        await ours.send(world.peer, text)


async def test_messages_keep_their_place_among_calls(world: World) -> None:
    ours, theirs = RpcChannel(world.client, "telemetry"), RpcChannel(world.server, "telemetry")
    theirs.on_message(lambda peer, data: world.log.append(data.decode()))
    await world.worker.add(0, 0)
    calls: list[asyncio.Task[int]] = []
    for number in range(1, 4):
        await ours.send(world.peer, b"before %d" % number)
        calls.append(asyncio.ensure_future(world.worker.add(number, 0)))
        await asyncio.sleep(0)
    await asyncio.gather(*calls)
    expected = [text for number in range(1, 4) for text in (f"before {number}", f"add({number}, 0)")]
    assert world.log == ["add(0, 0)", *expected]


async def test_without_a_link_a_sender_waits_or_is_told(world: World) -> None:
    ours, theirs = RpcChannel(world.client, "telemetry"), RpcChannel(world.server, "telemetry")
    assert not ours.send_nowait(world.peer, b"lost")
    await world.peer.wait_connected()
    assert ours.send_nowait(world.peer, b"sent")
    assert await take(theirs, 1) == [b"sent"]

    world.network.is_refusing = True
    await world.cut()
    waiting = [asyncio.create_task(ours.send(world.peer, b"%d" % number)) for number in range(5)]
    back = asyncio.create_task(theirs.send(world.server_peer, b"back"))
    await settle()
    assert not ours.send_nowait(world.peer, b"lost")
    waiting[2].cancel()
    await settle()
    assert [task.done() for task in waiting] == [False, False, True, False, False]
    world.network.is_refusing = False
    await world.clock.advance(5)
    await asyncio.gather(*waiting[:2], *waiting[3:], back)
    assert await take(theirs, 4) == [b"0", b"1", b"3", b"4"]
    assert await take(ours, 1) == [b"back"]
    assert not ours._turns


async def test_who_waits_for_a_link_is_told_when_there_will_be_none(world: World) -> None:
    ours = RpcChannel(world.client, "telemetry")
    await world.peer.wait_connected()
    world.network.is_refusing = True
    await world.cut()
    waiting = asyncio.create_task(ours.send(world.peer, b"x"))
    await settle()
    await world.peer.aclose()
    with pytest.raises(RpcDisconnected, match="is closed"):
        await waiting
    with pytest.raises(RpcDisconnected, match="is closed"):
        await ours.send(world.peer, b"x")


async def test_senders_wait_while_the_link_is_full_and_keep_their_order(world: World) -> None:
    ours, theirs = RpcChannel(world.client, "telemetry"), RpcChannel(world.server, "telemetry")
    await world.worker.add(0, 0)
    transport_of(world.server_peer).pause_reading()
    tasks = [asyncio.create_task(ours.send(world.peer, b"%05d" % number + bytes(SIZE))) for number in range(50)]
    await settle()
    assert transport_of(world.peer)._queued_bytes < 256 * 1024 + 2 * SIZE
    assert not tasks[-1].done()
    assert not ours.send_nowait(world.peer, b"lost")

    received = asyncio.create_task(take(theirs, 51))
    transport_of(world.server_peer).resume_reading()
    while not tasks[-1].done():
        # One more that comes when there is room again must not overtake those who have waited.
        await asyncio.sleep(0)
    await ours.send(world.peer, b"00050")
    assert [data[:5] for data in await received] == [b"%05d" % number for number in range(51)]
    await asyncio.gather(*tasks)


async def test_a_sender_lets_others_run_though_the_link_takes_everything(world: World) -> None:
    ours = RpcChannel(world.client, "telemetry")
    theirs = RpcChannel(world.server, "telemetry")
    count = 0

    def note(peer: RpcPeer, data: bytes) -> None:
        nonlocal count
        count += 1

    theirs.on_message(note)
    await world.peer.wait_connected()
    for _ in range(1_000):
        await ours.send(world.peer, b"x")
    assert count > 500


async def test_a_receiver_that_doesnt_keep_up_stops_the_sender_and_loses_nothing(world: World) -> None:
    ours, theirs = RpcChannel(world.client, "telemetry"), RpcChannel(world.server, "telemetry", max_messages=10)
    sent = 0

    async def send() -> None:
        nonlocal sent
        for number in range(500):
            await ours.send(world.peer, b"%03d" % number + bytes(20_000))
            sent = number + 1

    sending = asyncio.create_task(send())
    await settle(500)
    stopped_at = sent
    await settle(500)
    assert sent == stopped_at < 50
    assert len(theirs._inbox) <= 11

    received: list[bytes] = []
    async for _, data in theirs:
        received.append(data[:3])
        if len(received) == 500:
            break
    assert received == [b"%03d" % number for number in range(500)]
    await sending
    assert theirs.dropped_count == 0


async def test_the_link_stays_though_nothing_is_taken_for_long(world: World) -> None:
    ours, theirs = RpcChannel(world.client, "telemetry"), RpcChannel(world.server, "telemetry", max_messages=1)
    await ours.send(world.peer, b"1")
    await world.clock.advance(200)
    assert world.network.connection_count == 1
    assert await take(theirs, 1) == [b"1"]
    assert await world.worker.add(1, 2) == 3


async def test_a_large_frame_isnt_taken_further_than_there_is_room(clock: VirtualClock) -> None:
    async with World(clock, limits=RpcLimits(messages_per_turn=10, drain_timeout=0.0)) as world:
        theirs = RpcChannel(world.server, "telemetry", max_messages=20)
        raw = await RawPeer.connect(world)
        await raw.introduce()
        await raw.send(*[RpcMessage("telemetry.Send:1", 0, 0, raw.arguments(b"%d" % i)) for i in range(1_000)])
        assert 20 <= len(theirs._inbox) <= 30
        assert await take(theirs, 1_000) == [b"%d" % i for i in range(1_000)]
        assert theirs.dropped_count == 0


@pytest.mark.parametrize(
    ("when_full", "kept"), [(WhenFull.DROP_OLDEST, range(990, 1_000)), (WhenFull.DROP_NEWEST, range(10))]
)
async def test_what_is_too_much_may_be_dropped_instead(world: World, when_full: WhenFull, kept: range) -> None:
    ours = RpcChannel(world.client, "telemetry")
    theirs = RpcChannel(world.server, "telemetry", max_messages=10, when_full=when_full)
    for number in range(1_000):
        await ours.send(world.peer, b"%d" % number)
    assert await world.worker.add(1, 2) == 3
    assert await take(theirs, 10) == [b"%d" % number for number in kept]
    assert theirs.dropped_count == 990
    assert len(theirs._inbox) == 0


async def test_bytes_are_counted_too_and_one_message_may_always_wait(world: World) -> None:
    ours = RpcChannel(world.client, "telemetry")
    theirs = RpcChannel(world.server, "telemetry", max_bytes=1_000, when_full=WhenFull.DROP_OLDEST)
    for size in (400, 400, 300, 5_000, 10):
        await ours.send(world.peer, bytes(size))
    await world.worker.add(0, 0)
    assert [len(data) for data in await take(theirs, 1)] == [10]
    assert theirs.dropped_count == 4
    await ours.send(world.peer, bytes(5_000))
    assert [len(data) for data in await take(theirs, 1)] == [5_000]


async def test_who_takes_messages_may_call_the_sender_though_there_are_too_many(world: World) -> None:
    world.client.add_service(Worker, WorkerService())
    ours, theirs = RpcChannel(world.client, "telemetry"), RpcChannel(world.server, "telemetry", max_messages=2)
    sending = [asyncio.create_task(ours.send(world.peer, b"%d" % number)) for number in range(15)]
    await settle()
    back = world.server.client(Worker, world.server_peer)
    for number in range(15):
        _, data = await theirs.receive()
        assert data == b"%d" % number
        assert await back.add(number, 1) == number + 1
    await asyncio.gather(*sending)
    assert theirs.dropped_count == 0


async def test_a_flood_during_a_call_of_the_sender_is_dropped_in_the_end(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    service = WorkerService()
    world.client.add_service(Worker, service)
    ours, theirs = RpcChannel(world.client, "telemetry"), RpcChannel(world.server, "telemetry", max_messages=2)
    await world.worker.add(0, 0)
    call = world.start(world.server.client(Worker, world.server_peer).wait("a"))
    await settle()
    for number in range(50):
        await ours.send(world.peer, b"%d" % number)
    await settle()
    assert theirs.dropped_count == 30
    assert caplog.text.count("drops messages") == 1
    service.let_go("a")
    assert await call == "a done"
    assert await take(theirs, 20) == [b"%d" % number for number in range(20)]


async def test_a_handler_gets_what_waits_first_and_its_failures_are_logged(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    ours, theirs = RpcChannel(world.client, "telemetry"), RpcChannel(world.server, "telemetry", max_messages=2)
    for data in (b"1", b"2"):
        await ours.send(world.peer, data)
    await settle()
    taken: list[tuple[RpcPeer, bytes]] = []

    def handle(peer: RpcPeer, data: bytes) -> None:
        taken.append((peer, data))
        if data == b"3":
            raise ValueError("three")

    theirs.on_message(handle)
    for data in (b"3", b"4"):
        await ours.send(world.peer, data)
    await world.worker.add(0, 0)
    assert taken == [(world.server_peer, data) for data in (b"1", b"2", b"3", b"4")]
    assert "the handler of a channel failed" in caplog.text
    with pytest.raises(RuntimeError, match="has a handler already"):
        theirs.on_message(handle)

    async def wrong(peer: RpcPeer, data: bytes) -> None: ...

    handler: Any = wrong
    with pytest.raises(TypeError, match="take messages with `async for`"):
        ours.on_message(handler)


async def test_several_may_wait_for_messages_and_who_is_cancelled_takes_none(world: World) -> None:
    ours, theirs = RpcChannel(world.client, "telemetry"), RpcChannel(world.server, "telemetry")
    await world.worker.add(0, 0)
    takers = [asyncio.create_task(theirs.receive()) for _ in range(3)]
    await settle()
    takers[0].cancel()
    theirs._receive(world.server_peer, RpcMessage("telemetry.Send:1", 0, 0, b"\xc4\x011"))
    takers[1].cancel()
    await settle()
    assert (await takers[2])[1] == b"1"
    await ours.send(world.peer, b"2")
    assert await take(theirs, 1) == [b"2"]
    assert not theirs._inbox._takers


async def test_who_is_woken_and_cancelled_at_once_leaves_the_message_to_others(world: World) -> None:
    theirs = RpcChannel(world.server, "telemetry")
    await world.worker.add(0, 0)
    takers = [asyncio.create_task(theirs.receive()) for _ in range(2)]
    await settle()
    theirs._receive(world.server_peer, RpcMessage("telemetry.Send:1", 0, 0, b"\xc4\x011"))
    takers[0].cancel()
    assert (await takers[1])[1] == b"1"
    assert takers[0].cancelled()


async def test_a_closed_channel_ends_those_who_wait_and_frees_its_name(world: World) -> None:
    with RpcChannel(world.server, "telemetry") as channel:
        await world.worker.add(0, 0)
        waiting = asyncio.create_task(channel.receive())
        await settle()
    with pytest.raises(RpcDisconnected, match="channel 'telemetry' is closed"):
        await waiting
    assert [data async for _, data in channel] == []
    with pytest.raises(RpcDisconnected, match="is closed"):
        await channel.send(world.server_peer, b"x")
    channel.close()
    ours, again = RpcChannel(world.client, "telemetry"), RpcChannel(world.server, "telemetry")
    await ours.send(world.peer, b"x")
    assert await take(again, 1) == [b"x"]


async def test_a_closed_channel_lets_the_peer_be_read_on(world: World) -> None:
    ours, theirs = RpcChannel(world.client, "telemetry"), RpcChannel(world.server, "telemetry", max_messages=1)
    for _ in range(3):
        await ours.send(world.peer, b"x")
    await settle()
    assert not await answered(world)
    theirs.close()
    assert await answered(world)


async def answered(world: World) -> bool:
    call = world.start(world.worker.add(1, 2))
    await settle()
    return call.done()


async def test_a_hub_takes_its_channels_along(clock: VirtualClock) -> None:
    async with World(clock) as world:
        channel = RpcChannel(world.server, "telemetry")
        waiting = asyncio.create_task(channel.receive())
        await settle()
        await world.server.aclose()
        with pytest.raises(RpcDisconnected):
            await waiting
        assert channel.is_closed
        with pytest.raises(RpcDisconnected, match="hub of channel 'other' is closed"):
            RpcChannel(world.server, "other")


async def test_messages_go_on_after_a_reconnect(world: World) -> None:
    ours, theirs = RpcChannel(world.client, "telemetry"), RpcChannel(world.server, "telemetry", max_messages=2)
    for data in (b"1", b"2"):
        await ours.send(world.peer, data)
    await settle()
    await world.cut()
    for data in (b"3", b"4"):
        world.start(ours.send(world.peer, data))
    await world.clock.advance(5)
    assert await take(theirs, 4) == [b"1", b"2", b"3", b"4"]


async def test_on_the_wire_it_is_a_call_that_nobody_waits_for(world: World, caplog: pytest.LogCaptureFixture) -> None:
    channel = RpcChannel(world.server, "ITelemetry", method="Push")
    raw = await RawPeer.connect(world)
    await raw.introduce()
    await raw.send(RpcMessage("ITelemetry.Push:1", 0, 0, raw.arguments(b"data")))
    peer, data = await channel.receive()
    assert data == b"data"
    await channel.send(peer, b"answer")
    await settle()
    assert raw.received[-1] == RpcMessage("ITelemetry.Push:1", 0, 0, raw.arguments(b"answer"))

    await raw.send(RpcMessage("ITelemetry.Push:1", 7, 0, raw.arguments(b"data")))
    assert raw.methods[-1] == ERROR
    assert "which answers nothing" in raw.error_text(raw.received[-1])
    await raw.send(RpcMessage("ITelemetry.Push:1", 0, 0, raw.arguments("text")))
    assert "a message for channel 'ITelemetry' was dropped" in caplog.text
    assert len(channel._inbox) == 0


async def test_a_message_has_the_limits_of_a_call(clock: VirtualClock) -> None:
    sizes = SizeLimits(argument_bytes=2_000, envelope_bytes=1_024)
    async with World(clock, limits=RpcLimits(sizes=sizes, drain_timeout=0.0)) as world:
        ours, theirs = RpcChannel(world.client, "telemetry"), RpcChannel(world.server, "telemetry")
        with pytest.raises(RpcLimitExceeded, match="2,000 is the limit"):
            await ours.send(world.peer, bytes(2_000))
        await ours.send(world.peer, bytes(1_990))
        assert len((await take(theirs, 1))[0]) == 1_990


async def test_names_and_limits_are_checked_where_a_channel_is_opened(world: World) -> None:
    RpcChannel(world.server, "telemetry")
    for name in ("telemetry", "Worker"):
        with pytest.raises(RpcContractError, match="a service or a channel of this name"):
            RpcChannel(world.server, name)
    with pytest.raises(RpcContractError, match="a channel named 'Worker'"):
        RpcChannel(world.client, "Worker")
        world.client.add_service(Worker, WorkerService())
    for name in ("", "a.b", "a:1", "$sys", "a b"):
        with pytest.raises(ValueError, match="can't be a name on the wire"):
            RpcChannel(world.server, name)
    for limits in ({"max_messages": 0}, {"max_bytes": 0}):
        with pytest.raises(ValueError, match="at least a message"):
            RpcChannel(world.server, "other", **limits)
    channel = RpcChannel(world.server, "other")
    with pytest.raises(ValueError, match="belongs to another hub"):
        await channel.send(world.peer, b"x")


def test_a_channel_may_be_opened_before_there_is_an_event_loop() -> None:
    assert repr(RpcChannel(RpcHub(), "telemetry")) == "<RpcChannel telemetry>"
