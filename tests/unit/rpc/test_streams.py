"""Streams between two hubs."""

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from typing import Any

import pytest

from refusion.rpc import (
    RpcArgumentError,
    RpcContractError,
    RpcDisconnected,
    RpcError,
    RpcHub,
    RpcLimits,
    RpcRemoteError,
    RpcStream,
    RpcStreamLost,
    RpcStreamReader,
    RpcStreamUsed,
    current_peer,
    rpc_service,
)
from refusion.rpc.protocol._system_calls import ACK, ACK_END, BATCH, DISCONNECT, END, ITEM
from refusion.rpc.transports import TransportLimits
from refusion.testing import VirtualClock, settle

from .stream_world import Page, Streams, StreamsService, StreamWorld
from .test_backpressure import transport_of

FORMATS = ("json5np", "msgpack6", "msgpack6c")


# Where streams may be


@pytest.mark.parametrize("format", FORMATS)
async def test_a_stream_is_a_result_an_argument_a_field_and_an_item(clock: VirtualClock, format: str) -> None:
    async with StreamWorld(clock, format=format) as streams:
        api = streams.api
        assert [number async for number in await api.count(100)] == list(range(100))
        assert await api.total(RpcStream(range(100))) == 4950
        assert [number async for number in await api.double(RpcStream(range(100)))] == list(range(0, 200, 2))

        page = await api.page(2)
        titles: list[str] = []
        while page.more is not None:
            titles.append(page.title)
            assert [line async for line in page.lines] == [f"{page.title[-1]}.{i}" for i in range(3)]
            (page,) = [below async for below in page.more]
        assert titles == ["level 2", "level 1"]
        await page.lines.aclose()

        async for page in await api.pages():
            assert [line async for line in page.lines] == [f"line {page.title[5:]}"] * int(page.title[5:])

        tails = await api.tails()
        assert [[number async for number in tail] for tail in tails["a"].numbers] == [[0, 1], [0, 1, 2]]
        await streams.expect_nothing_left()


@pytest.mark.parametrize("format", FORMATS)
async def test_a_stream_that_may_be_missing_is_none(clock: VirtualClock, format: str) -> None:
    async with StreamWorld(clock, format=format) as streams:
        assert await streams.api.maybe(is_there=False) is None
        stream = await streams.api.maybe(is_there=True)
        assert stream is not None
        assert [number async for number in stream] == [0, 1, 2]


async def test_a_stream_that_wasnt_sent_iterates_its_source() -> None:
    async def letters() -> AsyncIterator[str]:
        yield "a"
        yield "b"

    assert [item async for item in RpcStream(letters())] == ["a", "b"]
    numbers = RpcStream([1, 2])
    assert [item async for item in numbers] == [1, 2]
    assert [item async for item in numbers] == [1, 2]
    assert not numbers.is_remote


async def test_both_sides_know_the_options(streams: StreamWorld) -> None:
    stream = await streams.api.feed("a", is_real_time=True)
    assert (stream.ack_period, stream.ack_advance, stream.allow_reconnect, stream.is_real_time) == (2, 4, True, True)
    assert stream.is_remote
    assert repr(stream) == f"<RpcStream 1 of {streams.peer!r}>"
    await stream.aclose()


# Flow


async def test_nothing_is_taken_from_the_source_before_the_first_item_is_asked_for(streams: StreamWorld) -> None:
    stream = await streams.api.count(10)
    await settle()
    assert streams.taken == []
    assert streams.counts == [0, 0, 1, 0]
    assert await anext(aiter(stream)) == 0


async def test_ready_items_come_in_batches_and_waited_ones_at_once(streams: StreamWorld) -> None:
    stream = await streams.api.feed("a")
    sent = streams.posted(streams.server_peer)
    streams.streams.put("a", 1, 2, 3)
    reader = aiter(stream)
    assert await anext(reader) == 1
    assert [await anext(reader), await anext(reader)] == [2, 3]
    following = streams.start(anext(reader))
    await settle()
    streams.streams.put("a", 4)
    assert await following == 4
    streams.streams.put("a", None)
    with pytest.raises(StopAsyncIteration):
        await anext(reader)
    assert [message.method for message in sent] == [BATCH, ITEM, END]


async def test_the_source_is_at_most_a_window_ahead_of_the_consumer(streams: StreamWorld) -> None:
    consumed = 0
    async for number in await streams.api.count(1_000, ack_period=10, ack_advance=20):
        assert number == consumed
        await settle(10)
        assert len(streams.taken) <= consumed - consumed % 10 + 20
        consumed += 1
    assert consumed == 1_000


async def test_a_slow_consumer_holds_no_more_than_the_window_on_both_sides(streams: StreamWorld) -> None:
    stream = await streams.api.count(10_000, ack_period=10, ack_advance=20)
    reader = aiter(stream)
    for _ in range(100):
        await anext(reader)
        await settle(20)
        (shared,) = streams.server_peer.streams._shared.values()
        (remote,) = streams.peer.streams._remote.values()
        assert shared.kept_count <= 20
        assert remote.machine.waiting_count <= 20


async def test_the_source_waits_when_the_link_takes_nothing(clock: VirtualClock) -> None:
    limits = RpcLimits(transport=TransportLimits(high_water=10_000, low_water=1_000))
    async with StreamWorld(clock, limits=limits) as streams:
        stream = await streams.api.large([20_000] * 60)
        transport_of(streams.peer).pause_reading()
        reading = streams.start(collect(stream))
        await settle(50)
        (shared,) = streams.server_peer.streams._shared.values()
        assert shared._machine.ready_count > 40
        assert transport_of(streams.server_peer)._queued_bytes < 10_000 + 65_000

        transport_of(streams.peer).resume_reading()
        assert await reading == [bytes(20_000)] * 60


async def test_streams_that_wait_for_the_link_all_get_their_turn(clock: VirtualClock) -> None:
    limits = RpcLimits(transport=TransportLimits(high_water=5_000, low_water=1_000))
    async with StreamWorld(clock, limits=limits) as streams:
        readers = [streams.start(collect(await streams.api.large([3_000] * 20))) for _ in range(10)]
        assert [len(items) for items in await asyncio.gather(*readers)] == [20] * 10
        await streams.expect_nothing_left()


async def test_large_items_go_in_smaller_batches(streams: StreamWorld) -> None:
    sent = streams.posted(streams.server_peer)
    sizes = [10_000] * 30
    assert [len(item) async for item in await streams.api.large(sizes)] == sizes
    assert max(len(message.args) for message in sent[2:]) < 70_000


async def test_a_batch_that_is_too_large_for_a_message_goes_in_parts(streams: StreamWorld) -> None:
    sizes = [6_000_000] * 5
    assert [len(item) async for item in await streams.api.large(sizes)] == sizes


async def test_a_source_that_is_always_ready_leaves_others_their_turn(streams: StreamWorld) -> None:
    def endless() -> Iterator[int]:
        number = 0
        while True:
            yield number
            number += 1

    stream = RpcStream(endless(), is_real_time=True)
    assert await streams.api.first(stream, 5) == [0, 1, 2, 3, 4]
    await streams.expect_nothing_left()


async def test_in_real_time_mode_a_lagging_consumer_gets_the_newest_item(streams: StreamWorld) -> None:
    reader = aiter(await streams.api.feed("a", is_real_time=True))
    streams.streams.put("a", *range(4))
    assert [await anext(reader) for _ in range(3)] == [0, 1, 2]
    await settle()
    streams.streams.put("a", *range(4, 100))
    await settle(100)
    # A period of two was acknowledged, so with a window of four it is ahead up to the sixth.
    assert [await anext(reader) for _ in range(3)] == [3, 4, 5]
    await settle()
    assert await anext(reader) == 99


# The end


async def test_the_end_closes_the_source_and_both_sides_forget_the_stream(streams: StreamWorld) -> None:
    assert len([number async for number in await streams.api.count(5)]) == 5
    assert streams.streams.closed == ["count"]
    await streams.expect_nothing_left()


@pytest.mark.parametrize("format", FORMATS)
async def test_an_error_of_the_source_comes_behind_its_items_as_that_of_a_call(
    clock: VirtualClock, format: str
) -> None:
    async with StreamWorld(clock, format=format) as streams:
        reader = aiter(await streams.api.failing(3))
        assert [await anext(reader) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(KeyError) as caught:
            await anext(reader)
        assert isinstance(caught.value, RpcRemoteError)
        assert caught.value.message == "no more"
        with pytest.raises(StopAsyncIteration):
            await anext(reader)
        await streams.expect_nothing_left()


async def test_an_item_that_cant_be_sent_ends_the_stream_behind_those_before_it(streams: StreamWorld) -> None:
    got: list[Any] = []
    with pytest.raises(ValueError, match="object isn't a type that can be sent"):
        async for item in await streams.api.wrong():
            got.append(item)
    assert got == [1, 2]
    await streams.expect_nothing_left()


async def test_an_item_that_is_too_large_ends_the_stream(streams: StreamWorld) -> None:
    got: list[int] = []
    with pytest.raises(RpcError, match="is the limit; send it in parts"):
        async for item in await streams.api.large([1, 17_000_000, 1]):
            got.append(len(item))
    assert got == [1]


async def test_an_item_of_another_type_is_an_error_of_the_reader_and_ends_the_source(streams: StreamWorld) -> None:
    streams.streams.put("a", 1, "two", 3)  # type: ignore[arg-type]
    got: list[int] = []
    with pytest.raises(RpcArgumentError, match="an item of a stream doesn't fit: Expected `int`, got `str`"):
        async for item in await streams.api.feed("a"):
            got.append(item)
            await settle()
    await streams.expect_nothing_left()
    assert streams.streams.closed == ["a"]


async def test_an_error_that_cant_be_sent_is_still_an_error(streams: StreamWorld) -> None:
    def fail() -> Iterator[int]:
        yield 1
        raise ValueError("\ud800")

    with pytest.raises(RpcRemoteError, match="an error that can't be sent"):
        await streams.api.total(RpcStream(fail()))


async def test_an_error_without_a_type_isnt_taken_for_the_end(streams: StreamWorld) -> None:
    def fail() -> Iterator[int]:
        yield 1
        raise RpcRemoteError("", "who knows")

    with pytest.raises(RpcRemoteError, match="who knows"):
        await streams.api.total(RpcStream(fail()))


async def test_a_source_that_is_cancelled_by_itself_is_an_error_of_the_reader(streams: StreamWorld) -> None:
    async def cancelled() -> AsyncIterator[int]:
        yield 1
        raise asyncio.CancelledError

    with pytest.raises(RpcError, match="cancelled"):
        await streams.api.total(RpcStream(cancelled()))


async def test_leaving_the_loop_ends_the_stream_on_both_sides(streams: StreamWorld) -> None:
    async for number in await streams.api.count(1_000):
        if number == 3:
            break
    await settle()
    assert streams.streams.closed == ["count"]
    assert len(streams.taken) <= 61
    await streams.expect_nothing_left()


async def test_leaving_the_loop_while_the_source_waits_cancels_it(streams: StreamWorld) -> None:
    streams.streams.put("a", 1)
    async for _ in await streams.api.feed("a"):
        await settle()
        break
    await settle()
    assert streams.streams.closed == ["a"]
    await streams.expect_nothing_left()


async def test_an_error_in_the_loop_ends_the_stream(streams: StreamWorld) -> None:
    async def read() -> None:
        async for number in await streams.api.count(1_000):
            assert number < 3

    with pytest.raises(AssertionError) as caught:
        await read()
    # The traceback holds the frame, but not what the loop went over.
    await settle()
    assert caught.value is not None
    await streams.expect_nothing_left()


async def test_a_reader_that_is_collected_in_another_thread_ends_the_stream(streams: StreamWorld) -> None:
    readers = [aiter(await streams.api.count(1_000))]
    assert await anext(readers[0]) == 0
    thread = threading.Thread(target=readers.clear)
    thread.start()
    thread.join()
    gc.collect()
    await streams.expect_nothing_left()


async def test_a_stream_can_be_closed_by_its_scope_its_reader_and_itself(streams: StreamWorld) -> None:
    async with await streams.api.count(1_000) as stream:
        async for _ in stream:
            break
    async with aclosing(aiter(await streams.api.count(1_000))) as reader:  # type: ignore[type-var]
        await anext(reader)
    with pytest.raises(StopAsyncIteration):
        await anext(reader)
    stream = await streams.api.count(1_000)
    reader = aiter(stream)
    await anext(reader)
    await stream.aclose()
    await stream.aclose()
    with pytest.raises(StopAsyncIteration):
        await anext(reader)
    await streams.expect_nothing_left()
    assert streams.streams.closed == ["count"] * 3


async def test_closing_wakes_who_waits_for_an_item(streams: StreamWorld) -> None:
    stream = await streams.api.feed("a")
    waiting = streams.start(collect(stream))
    await settle()
    await stream.aclose()
    assert await waiting == []
    await streams.expect_nothing_left()


async def test_a_stream_that_nobody_reads_is_closed_without_being_begun(streams: StreamWorld) -> None:
    stream = await streams.api.count(10)
    await stream.aclose()
    await streams.expect_nothing_left()
    assert streams.taken == []
    assert [number async for number in stream] == []


async def test_who_has_made_a_stream_can_end_it(streams: StreamWorld) -> None:
    reader = aiter(await streams.api.feed("a"))
    streams.streams.put("a", 1, 2)
    assert await anext(reader) == 1
    await settle()
    (made,) = streams.streams.made
    await made.aclose()
    assert streams.streams.closed == ["a"]
    assert await anext(reader) == 2
    with pytest.raises(RpcStreamLost, match="the other side doesn't have the stream any more"):
        await anext(reader)
    await streams.expect_nothing_left()


async def test_closing_a_stream_that_wasnt_sent_closes_its_generator() -> None:
    closed: list[str] = []

    def plain() -> Iterator[int]:
        try:
            yield 1
        finally:
            closed.append("plain")

    source = plain()
    next(source)
    async with RpcStream(source) as stream:
        assert repr(stream).startswith("<RpcStream of <generator")
    assert closed == ["plain"]
    await RpcStream([1]).aclose()


async def test_an_error_of_closing_a_source_is_logged(streams: StreamWorld, caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            raise OSError("can't close")

    assert await streams.api.first(RpcStream(fail()), 2) == [1, 1]
    await streams.expect_nothing_left()
    assert "closing the source of a stream" in caplog.text


# Reading


async def test_a_stream_of_another_peer_can_be_enumerated_once(streams: StreamWorld) -> None:
    stream = await streams.api.count(3)
    assert [number async for number in stream] == [0, 1, 2]
    with pytest.raises(RpcStreamUsed, match="was enumerated before, and can be so once"):
        aiter(stream)


async def test_two_tasks_cant_ask_at_once(streams: StreamWorld) -> None:
    reader = aiter(await streams.api.feed("a"))
    waiting = streams.start(anext(reader))
    await settle()
    with pytest.raises(RpcStreamUsed, match=r"two tasks ask for items of stream 1 of .* at once"):
        await anext(reader)
    streams.streams.put("a", 7)
    assert await waiting == 7


async def test_cancelling_who_waits_for_an_item_loses_none(streams: StreamWorld) -> None:
    reader = aiter(await streams.api.feed("a"))
    got: list[int] = []
    for number in range(20):
        waiting = streams.start(anext(reader))
        await settle(number % 7)
        streams.streams.put("a", number)
        # Before, while, or after it arrives.
        await settle(number % 5)
        waiting.cancel()
        await settle()
        if not waiting.cancelled():
            got.append(waiting.result())
    while len(got) < 20:
        got.append(await anext(reader))
    assert got == list(range(20))


async def test_a_reader_is_an_async_iterator_of_its_own(streams: StreamWorld) -> None:
    reader = aiter(await streams.api.count(3))
    assert isinstance(reader, RpcStreamReader)
    assert aiter(reader) is reader
    assert [number async for number in reader] == [0, 1, 2]


# Sending


async def test_a_stream_sent_twice_to_the_same_peer_is_one_and_can_be_read_once(streams: StreamWorld) -> None:
    first, second = await streams.api.twice()
    assert first._remote is not None
    assert second._remote is not None
    assert first._remote.reference == second._remote.reference
    reader = aiter(first)
    assert await anext(reader) == 0
    with pytest.raises(RpcStreamUsed, match="was received more than once, and is enumerated already"):
        await anext(aiter(second))
    await second.aclose()
    await settle()
    assert [number async for number in reader] == list(range(1, 1_000))
    await streams.expect_nothing_left()


async def test_a_stream_cant_be_sent_to_two_peers(streams: StreamWorld) -> None:
    _, other = await streams.open_api()
    stream = RpcStream(range(3))
    assert await streams.api.total(stream) == 3
    with pytest.raises(RpcArgumentError, match=r"was sent to .* already; make one for each receiver"):
        await other.total(stream)


@pytest.mark.parametrize("is_wrapped", [False, True])
async def test_a_stream_of_another_peer_is_sent_on_as_it_is_or_in_a_stream_of_ones_own(
    streams: StreamWorld, is_wrapped: bool
) -> None:
    stream = await streams.api.count(10)
    assert await streams.api.total(RpcStream(stream) if is_wrapped else stream) == 45
    await streams.expect_nothing_left()


async def test_closing_a_stream_that_was_sent_on_ends_it_on_both_sides(streams: StreamWorld) -> None:
    stream = await streams.api.feed("a")
    call = asyncio.ensure_future(streams.api.total(stream))
    await settle()
    await stream.aclose()
    with pytest.raises(RpcError, match="doesn't have the stream any more"):
        await call
    await streams.expect_nothing_left()
    assert streams.streams.closed == ["a"]


async def test_ending_a_stream_that_was_sent_on_ends_the_first_one(streams: StreamWorld) -> None:
    stream = await streams.api.count(1_000)
    assert await streams.api.first(RpcStream(stream), 2) == [0, 1]
    await streams.expect_nothing_left()
    assert streams.streams.closed == ["count"]


async def test_a_value_that_cant_be_encoded_shares_nothing(streams: StreamWorld) -> None:
    with pytest.raises(RpcError, match="can't be written"):
        await streams.api.half_bad()
    await streams.expect_nothing_left()
    # Nobody has heard of the stream, so it can be sent elsewhere.
    (made,) = streams.streams.made
    _, other = await streams.open_api()
    assert await other.total(made) == 3


async def test_a_call_that_waits_for_a_link_shares_its_streams_when_it_is_sent(streams: StreamWorld) -> None:
    await streams.cut()
    call = streams.start(streams.api.total(RpcStream(range(10))))
    await settle()
    assert streams.peer.streams.shared_count == 0
    await streams.clock.advance(5)
    assert await call == 45
    await streams.expect_nothing_left()


async def test_a_call_with_a_bad_argument_is_refused_before_there_is_a_link(streams: StreamWorld) -> None:
    await streams.cut()
    with pytest.raises(RpcArgumentError):
        await streams.api.first(RpcStream(range(10)), object())  # type: ignore[arg-type]
    assert streams.peer.streams.shared_count == 0


async def test_the_result_of_a_call_that_was_cancelled_shares_nothing(streams: StreamWorld) -> None:
    class Slow:
        async def numbers(self) -> RpcStream[int]:
            raise NotImplementedError

    class Stubborn(Slow):
        async def numbers(self) -> RpcStream[int]:
            try:
                await asyncio.sleep(1_000)
            except asyncio.CancelledError:
                pass
            return RpcStream(range(3))

    streams.server.add_service(Slow, Stubborn())
    call = streams.start(streams.client.client(Slow, streams.peer).numbers())
    await settle()
    call.cancel()
    await streams.expect_nothing_left()


async def test_any_declared_as_any_cant_hold_a_stream(streams: StreamWorld) -> None:
    class Loose:
        async def anything(self) -> Any:
            raise NotImplementedError

    class LooseService(Loose):
        async def anything(self) -> Any:
            return RpcStream([1])

    streams.server.add_service(Loose, LooseService())
    with pytest.raises(RpcError, match="a stream can be sent only where the declared type has one"):
        await streams.client.client(Loose, streams.peer).anything()


async def test_items_declared_as_any_may_be_streams(streams: StreamWorld) -> None:
    @rpc_service(name="Outer")
    class Inner:
        async def outer(self) -> RpcStream[RpcStream[int]]:
            raise NotImplementedError

    @rpc_service(name="Outer")
    class Outer:
        async def outer(self) -> RpcStream[Any]:
            raise NotImplementedError

    class OuterService(Outer):
        async def outer(self) -> RpcStream[Any]:
            return RpcStream([RpcStream([1, 2]), RpcStream([3])])

    streams.server.add_service(Outer, OuterService())
    outer = await streams.client.client(Inner, streams.peer).outer()
    assert [[item async for item in inner] async for inner in outer] == [[1, 2], [3]]


async def test_the_source_knows_the_peer_that_it_is_read_by(streams: StreamWorld) -> None:
    seen: list[object] = []

    async def look() -> AsyncIterator[int]:
        try:
            seen.append(current_peer())
            yield 1
        finally:
            seen.append(current_peer())

    assert await streams.api.total(RpcStream(look())) == 1
    await settle()
    assert seen == [streams.peer, streams.peer]


# Contracts


async def test_an_async_generator_in_a_contract_is_told_to_be_a_stream(streams: StreamWorld) -> None:
    class Ticks:
        async def ticks(self) -> AsyncIterator[int]:
            yield 1

    with pytest.raises(RpcContractError, match=r"return RpcStream\(\.\.\.\) of one instead"):
        streams.client.client(Ticks, streams.peer)


async def test_an_item_type_that_cant_be_read_is_refused_with_the_contract(streams: StreamWorld) -> None:
    class Bad:
        async def stream(self) -> RpcStream[list[int | set[int] | list[int]]]:
            raise NotImplementedError

    with pytest.raises(RpcContractError, match=r"Bad\.stream: a type in its signature can't be sent"):
        streams.client.client(Bad, streams.peer)


@pytest.mark.parametrize(
    "options",
    [
        {"ack_period": 0},
        {"ack_period": 62},
        {"ack_advance": 2**31},
        {"batch_size": 0},
        {"batch_size": 1_025},
        {"buffer_size": -1},
        {"can_skip_to": bool},
    ],
)
def test_an_option_that_makes_no_sense_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        RpcStream([1], **options)


def test_something_that_cant_be_iterated_is_refused() -> None:
    with pytest.raises(TypeError, match="a stream needs something to iterate, not int"):
        RpcStream(5)  # type: ignore[arg-type]


# Who stays away


async def test_a_stream_of_which_nothing_is_heard_is_released(streams: StreamWorld) -> None:
    stream = await streams.api.count(10)
    await streams.clock.advance(124)
    assert streams.server_peer.streams.shared_count == 1
    await streams.clock.advance(12)
    assert streams.server_peer.streams.shared_count == 0
    with pytest.raises(RpcStreamLost, match="doesn't have the stream any more"):
        await anext(aiter(stream))
    await streams.expect_nothing_left()


async def test_a_stream_that_is_read_stays_however_long_it_takes(streams: StreamWorld) -> None:
    reader = aiter(await streams.api.feed("a"))
    waiting = streams.start(anext(reader))
    await streams.clock.advance(1_000)
    streams.streams.put("a", 1)
    assert await waiting == 1


async def test_the_limits_say_when_a_stream_is_released(clock: VirtualClock) -> None:
    async with StreamWorld(clock, limits=RpcLimits(object_release_timeout=20, object_release_period=2)) as streams:
        await streams.api.count(10)
        await clock.advance(19)
        assert streams.server_peer.streams.shared_count == 1
        await clock.advance(4)
        assert streams.server_peer.streams.shared_count == 0
        assert streams.server_peer.streams._timer is None


async def test_too_many_streams_are_a_leak_and_all_end(clock: VirtualClock, caplog: pytest.LogCaptureFixture) -> None:
    async with StreamWorld(clock, limits=RpcLimits(max_objects=10)) as streams:
        kept = [await streams.api.count(10) for _ in range(11)]
        await clock.advance(11)
        assert "there were 11 streams and 10 is the limit" in caplog.text
        assert streams.server_peer.streams.shared_count == 0
        await clock.advance(5)
        assert streams.network.connection_count == 2
        with pytest.raises(RpcStreamLost):
            await anext(aiter(kept[0]))


# The end of a hub


async def test_closing_the_client_ends_its_streams_in_both_directions(streams: StreamWorld) -> None:
    reader = aiter(await streams.api.feed("a"))
    waiting = streams.start(anext(reader))
    closed: list[str] = []

    async def endless() -> AsyncIterator[int]:
        try:
            await asyncio.sleep(10_000)
            yield 1
        finally:
            closed.append("own")

    upload = streams.start(streams.api.total(RpcStream(endless())))
    await settle()
    await streams.client.aclose()
    with pytest.raises(RpcDisconnected, match="the hub was closed"):
        await waiting
    with pytest.raises(RpcDisconnected):
        await upload
    assert closed == ["own"]
    assert streams.counts[:2] == [0, 0]
    assert streams.peer.streams._timer is None


async def test_closing_the_server_closes_the_sources(streams: StreamWorld) -> None:
    reader = aiter(await streams.api.feed("a"))
    waiting = streams.start(anext(reader))
    await settle()
    await streams.server.aclose()
    assert streams.streams.closed == ["a"]
    waiting.cancel()


async def test_reading_begins_with_an_error_when_the_hub_is_closed(streams: StreamWorld) -> None:
    stream = await streams.api.count(3)
    await streams.client.aclose()
    with pytest.raises(RpcDisconnected):
        await anext(aiter(stream))


def test_dropping_a_reader_when_its_loop_is_gone_is_quiet() -> None:
    kept: list[Any] = []

    async def read() -> None:
        with VirtualClock() as clock:
            async with StreamWorld(clock) as streams:
                reader: Any = aiter(await streams.api.count(1_000))
                await anext(reader)
                kept.append(reader)

    asyncio.run(read())
    # As if the hub hadn't been closed: that has ended the stream.
    kept[0]._remote.machine.is_over = False
    kept.clear()
    gc.collect()


async def test_messages_about_nothing_known_change_nothing(streams: StreamWorld) -> None:
    await streams.worker.add(1, 2)
    peer = streams.server_peer
    codec = peer.format.arguments
    from refusion.rpc.protocol import RpcMessage

    sent = streams.posted(peer)
    for method, data in (
        (ITEM, codec((int, int)).encode((0, 1))),
        (BATCH, b"\xc1"),
        (END, b""),
        (DISCONNECT, codec((list[int],)).encode(([7],))),
    ):
        peer.streams.handle(RpcMessage(method, 7, 0, data))
    assert sent == []
    for method, data in (
        (ACK, codec((int, str)).encode((0, "x"))),
        (ACK_END, codec((str,)).encode(("x",))),
    ):
        peer.streams.handle(RpcMessage(method, 7, 0, data))
    assert [message.method for message in sent] == [DISCONNECT, DISCONNECT]
    assert isinstance(peer.hub, RpcHub)


async def collect(stream: RpcStream[Any]) -> list[Any]:
    return [item async for item in stream]


def test_a_page_is_a_struct_with_streams() -> None:
    assert Page("t", RpcStream([])).more is None


@pytest.mark.parametrize("transport", ["websockets", "picows"])
async def test_streams_over_real_sockets(transport: str) -> None:
    service = StreamsService()
    async with RpcHub(transport=transport) as server, RpcHub(transport=transport) as client:
        server.add_service(Streams, service)
        api = client.client(Streams, (await server.serve()).url)
        assert [number async for number in await api.count(5_000)] == list(range(5_000))
        assert await api.total(RpcStream(range(5_000))) == sum(range(5_000))
        async for number in await api.count(1_000_000):
            if number == 100:
                break
        while len(service.closed) < 2:
            await asyncio.sleep(0.001)
        assert server.server_peers[0].streams.shared_count == 0
