"""Streams on links that break: nothing is lost, nothing comes twice, nothing is left."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from refusion.rpc import RpcRemoteError, RpcStream, RpcStreamLost
from refusion.rpc.transports.memory import Direction, Fault
from refusion.testing import VirtualClock, settle

from .stream_world import StreamWorld

TO_CLIENT, TO_SERVER = Direction.TO_CLIENT, Direction.TO_SERVER


async def finish(streams: StreamWorld, reading: "asyncio.Task[Any]") -> Any:
    """Let time pass until a task is done; it has to be so before long."""
    for _ in range(200):
        if reading.done():
            break
        await streams.clock.advance(1)
    return await asyncio.wait_for(reading, 1)


async def collect(stream: RpcStream[Any]) -> list[Any]:
    return [item async for item in stream]


async def test_a_stream_goes_on_after_a_broken_link_and_its_source_was_run_once(streams: StreamWorld) -> None:
    got: list[int] = []
    async for number in await streams.api.count(200, 10, 20):
        got.append(number)
        if number in (30, 31, 77):
            await streams.cut()
            await streams.clock.advance(15)
    assert got == streams.taken == list(range(200))
    await streams.expect_nothing_left()


@pytest.mark.parametrize("fault", [Fault.LOSE_AND_CUT, Fault.DELIVER_AND_CUT, Fault.DUPLICATE])
@pytest.mark.parametrize("direction", [TO_CLIENT, TO_SERVER])
async def test_a_fault_at_any_frame_loses_and_repeats_nothing(
    clock: VirtualClock, direction: Direction, fault: Fault
) -> None:
    for skip in range(100):
        async with StreamWorld(clock) as streams:
            stream = await streams.api.count(100, 5, 10)
            frames = 0

            def decide(way: Direction, frame: bytes, *, at: int = skip) -> Fault | None:
                nonlocal frames
                frames += way is direction
                return fault if way is direction and frames == at + 1 else None

            streams.network.fault = decide
            assert await finish(streams, streams.start(collect(stream))) == list(range(100))
            assert streams.taken == list(range(100))
            # The word that the reader is done may be what was lost.
            await clock.advance(140)
            await streams.expect_nothing_left()
            if frames <= skip:
                break
    else:
        raise AssertionError("there were more frames than faults")
    assert skip > 10


async def test_a_fault_at_any_frame_of_an_argument_loses_and_repeats_nothing(clock: VirtualClock) -> None:
    for skip in range(60):
        async with StreamWorld(clock) as streams:
            await streams.worker.add(1, 2)
            stream = RpcStream(range(100), ack_period=5, ack_advance=10)
            call = streams.start(streams.api.total(stream))
            await settle(3)
            streams.fault_once(TO_SERVER, Fault.LOSE_AND_CUT, skip=skip)
            assert await finish(streams, call) == 4_950
            await clock.advance(140)
            await streams.expect_nothing_left()


@pytest.mark.parametrize("count", [20, 40])
async def test_a_method_that_runs_again_reads_its_argument_again_if_all_of_it_is_kept(
    streams: StreamWorld, count: int
) -> None:
    await streams.worker.add(1, 2)
    gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def source() -> AsyncIterator[int]:
        for number in range(count):
            yield number
        await gate

    call = streams.start(streams.api.total(RpcStream(source())))
    await settle(30)
    gate.set_result(None)
    # The word that the reader has seen the end goes before the answer, in the same frame.
    streams.fault_once(TO_CLIENT, Fault.LOSE_AND_CUT)
    if count < 30:
        assert await finish(streams, call) == sum(range(count))
    else:
        with pytest.raises(RpcRemoteError, match="RpcStream position is invalid"):
            await finish(streams, call)
    await streams.clock.advance(140)
    await streams.expect_nothing_left()


async def test_ten_thousand_items_come_through_cuts_without_end(streams: StreamWorld) -> None:
    stream = await streams.api.count(10_000)
    count = 0

    def decide(way: Direction, frame: bytes) -> Fault | None:
        nonlocal count
        count += 1
        return (Fault.LOSE_AND_CUT, Fault.DELIVER_AND_CUT)[count % 2] if count % 17 == 0 else None

    streams.network.fault = decide
    reading = streams.start(collect(stream))
    for _ in range(3_000):
        if reading.done():
            break
        streams.peer.reconnect()
        await settle(30)
    assert await reading == streams.taken == list(range(10_000))
    assert streams.network.connection_count > 20
    streams.network.fault = lambda direction, frame: None
    await streams.clock.advance(160)
    await streams.expect_nothing_left()


async def test_repeated_cuts_while_the_reader_rests_dont_look_like_a_flood(streams: StreamWorld) -> None:
    reader = aiter(await streams.api.count(1_000, 5, 10))
    got = [await anext(reader)]
    for _ in range(10):
        await streams.cut()
        await streams.clock.advance(15)
    (remote,) = streams.peer.streams._remote.values()
    assert remote.machine.waiting_count <= 20
    got += [number async for number in reader]
    assert got == list(range(1_000))


async def test_without_a_link_nothing_is_taken_from_the_source(streams: StreamWorld) -> None:
    reader = aiter(await streams.api.count(1_000, 5, 10))
    await anext(reader)
    await streams.crash_server()
    await settle()
    before = len(streams.taken)
    await streams.clock.advance(60)
    assert len(streams.taken) == before


async def test_an_item_that_comes_during_the_outage_comes_after_it(streams: StreamWorld) -> None:
    reader = aiter(await streams.api.feed("a"))
    waiting = streams.start(anext(reader))
    await settle()
    streams.network.is_refusing = True
    await streams.cut()
    streams.streams.put("a", 1, 2)
    await streams.clock.advance(5)
    streams.network.is_refusing = False
    assert await finish(streams, waiting) == 1
    assert await anext(reader) == 2


async def test_a_stream_that_is_first_read_during_the_outage_starts_after_it(streams: StreamWorld) -> None:
    stream = await streams.api.count(10)
    await streams.cut()
    reading = streams.start(collect(stream))
    await settle()
    assert streams.taken == []
    assert await finish(streams, reading) == list(range(10))


async def test_a_stream_that_is_left_during_the_outage_is_ended_after_it(streams: StreamWorld) -> None:
    streams.streams.put("a", 1)
    async for _ in await streams.api.feed("a"):
        await streams.cut()
        break
    await settle()
    assert streams.streams.closed == []
    await streams.clock.advance(5)
    assert streams.streams.closed == ["a"]
    await streams.expect_nothing_left()


async def test_a_stream_of_which_nothing_is_heard_during_an_outage_is_released(streams: StreamWorld) -> None:
    reader = aiter(await streams.api.feed("a"))
    waiting = streams.start(anext(reader))
    await settle()
    streams.network.is_refusing = True
    await streams.cut()
    await streams.clock.advance(140)
    assert streams.streams.closed == ["a"]
    streams.network.is_refusing = False
    with pytest.raises(RpcStreamLost, match="doesn't have the stream any more"):
        await finish(streams, waiting)
    await streams.expect_nothing_left()


async def test_a_stream_that_may_not_reconnect_ends_on_both_sides_with_its_link(streams: StreamWorld) -> None:
    reader = aiter(await streams.api.fragile(1_000))
    got = [await anext(reader)]
    await settle()
    await streams.cut()
    assert streams.streams.closed == ["count"]
    await streams.expect_nothing_left()
    with pytest.raises(RpcStreamLost, match="doesn't outlive its connection"):
        while True:
            got.append(await anext(reader))
    assert got == list(range(61))


async def test_in_real_time_mode_the_stream_goes_on_with_what_is_new(streams: StreamWorld) -> None:
    reader = aiter(await streams.api.feed("a", is_real_time=True))
    streams.streams.put("a", 0, 1)
    assert [await anext(reader), await anext(reader)] == [0, 1]
    waiting = streams.start(anext(reader))
    streams.network.fault = lambda direction, frame: Fault.LOSE_AND_CUT if direction is TO_CLIENT else None
    streams.streams.put("a", 2)
    await settle()
    streams.network.fault = lambda direction, frame: None
    await streams.clock.advance(5)
    streams.streams.put("a", 3, 4)
    # What was lost is old by now.
    assert await finish(streams, waiting) == 3
    assert await anext(reader) == 4


async def test_a_restarted_server_has_none_of_the_streams(streams: StreamWorld) -> None:
    read, unread = await streams.api.count(1_000), await streams.api.count(1_000)
    reader = aiter(read)
    got = [await anext(reader)]
    await settle()
    await streams.restart_server()
    await streams.clock.advance(5)
    with pytest.raises(RpcStreamLost, match="the other side was restarted, and its streams are gone"):
        while True:
            got.append(await anext(reader))
    assert got == list(range(61))
    # Their numbers mean other streams now, so that nothing is said about them.
    new = await streams.api.count(5)
    sent = streams.posted(streams.peer)
    with pytest.raises(RpcStreamLost, match="was restarted"):
        await anext(aiter(unread))
    await unread.aclose()
    assert sent == []
    assert await collect(new) == list(range(5))


async def test_closing_a_stream_of_a_server_that_was_restarted_ends_none_of_the_new_ones(streams: StreamWorld) -> None:
    old = await streams.api.count(10)
    await streams.restart_server()
    await streams.clock.advance(5)
    new = await streams.api.count(10)
    await old.aclose()
    await settle()
    assert await collect(new) == list(range(10))


async def test_streams_that_are_shared_with_a_restarted_server_end(streams: StreamWorld) -> None:
    closed: list[str] = []

    async def source() -> AsyncIterator[int]:
        try:
            yield 1
            await asyncio.sleep(10_000)
        finally:
            closed.append("own")

    call = streams.start(streams.api.total(RpcStream(source())))
    await settle()
    await streams.restart_server()
    # The call is made again, there, with a stream that is gone.
    with pytest.raises(RpcRemoteError, match="doesn't have the stream any more"):
        await finish(streams, call)
    assert closed == ["own"]
    assert streams.counts[:2] == [0, 0]


async def test_a_stream_whose_call_was_never_sent_is_there_after_a_restart(streams: StreamWorld) -> None:
    await streams.worker.add(1, 2)
    await streams.crash_server()
    call = streams.start(streams.api.total(RpcStream(range(10))))
    await settle()
    await streams.start_server(streams.listener.port)
    assert await finish(streams, call) == 45
