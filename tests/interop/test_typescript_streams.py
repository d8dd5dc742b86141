"""Streams between a Python client and a TypeScript server, in both directions."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from refusion import FusionHub
from refusion.rpc import RpcClientPeer, RpcRemoteError, RpcStream, RpcStreamLost

from .contracts import CounterApi
from .links import EVERYWHERE, cut, eventually, need_typescript_server

need_typescript_server()
pytestmark = EVERYWHERE


class Numbers:
    """A source that counts, and knows how far it was read and whether it was closed."""

    def __init__(self, count: int, *, interval: float = 0.0) -> None:
        self.given = 0
        self.is_open = False
        self._count = count
        self._interval = interval

    async def __aiter__(self) -> AsyncIterator[int]:
        self.is_open = True
        try:
            for number in range(self._count):
                self.given = number + 1
                yield number
                await asyncio.sleep(self._interval)
        finally:
            self.is_open = False

    async def closed(self) -> bool:
        return not self.is_open


# From the server


async def test_a_stream_of_the_server_arrives_whole(counters: CounterApi) -> None:
    assert [number async for number in await counters.stream_int32(0)] == []
    assert [number async for number in await counters.stream_int32(1000)] == list(range(1000))
    assert [number async for number in await counters.stream_int32_no_reconnect(100)] == list(range(100))


async def test_streams_at_once_are_told_apart(counters: CounterApi) -> None:
    async def read(count: int) -> list[int]:
        return [number async for number in await counters.stream_int32(count)]

    counts = [0, 1, 29, 30, 31, 60, 61, 62, 300]
    assert await asyncio.gather(*[read(count) for count in counts]) == [list(range(count)) for count in counts]


async def test_leaving_a_stream_early_ends_it_there(counters: CounterApi) -> None:
    seen = []
    async for number in await counters.slow_stream(1_000_000):
        seen.append(number)
        if number == 3:
            break
    assert seen == [0, 1, 2, 3]
    await eventually(counters.get_open_stream_count, 0)


async def test_a_stream_that_nobody_reads_isnt_begun(counters: CounterApi) -> None:
    produced = await counters.get_produced_count()
    stream = await counters.stream_int32(1000)
    await counters.add(1, 2)
    assert await counters.get_produced_count() == produced
    await stream.aclose()


async def test_a_slow_reader_holds_the_server_up(counters: CounterApi) -> None:
    produced = await counters.get_produced_count()
    stream = await counters.stream_int32(1000)
    reader = aiter(stream)
    assert [await anext(reader) for _ in range(3)] == [0, 1, 2]
    await asyncio.sleep(0.1)
    # One that waits to be sent, beyond the window.
    assert await counters.get_produced_count() - produced <= stream.ack_advance + 1
    assert [number async for number in reader] == list(range(3, 1000))


async def test_an_error_of_the_source_comes_behind_its_items(counters: CounterApi) -> None:
    seen = []
    with pytest.raises(RpcRemoteError, match="RangeError: broken at 100"):
        async for number in await counters.break_stream(100):
            seen.append(number)
    assert seen == list(range(100))


async def test_a_cancelled_read_loses_nothing(counters: CounterApi) -> None:
    stream = await counters.slow_stream(10)
    reader = aiter(stream)
    seen = [await anext(reader)]
    waiting = asyncio.ensure_future(anext(reader))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    seen += [number async for number in reader]
    assert seen == list(range(10))


@pytest.mark.parametrize("is_known_again", [False, True])
async def test_a_stream_of_the_server_is_lost_with_the_link(
    hub: FusionHub, peer: RpcClientPeer, lasting_peer: RpcClientPeer, is_known_again: bool
) -> None:
    # The packages' servers drop their streams with the connection, whether they know the client again or not.
    broken = lasting_peer if is_known_again else peer
    counters = hub.client(CounterApi, broken)
    seen = []
    with pytest.raises(RpcStreamLost):
        async for number in await counters.slow_stream(1_000_000):
            seen.append(number)
            if number == 3:
                await cut(broken)
    assert seen[:4] == [0, 1, 2, 3]
    assert [number async for number in await counters.stream_int32(100)] == list(range(100))
    await eventually(counters.get_open_stream_count, 0)


# To the server


async def test_a_stream_is_an_argument(counters: CounterApi) -> None:
    for count in (0, 1, 500):
        numbers = Numbers(count)
        assert await counters.sum_stream(RpcStream(numbers)) == sum(range(count))
        assert not numbers.is_open


async def test_a_server_that_stops_reading_closes_the_source(counters: CounterApi) -> None:
    numbers = Numbers(1_000_000)
    assert await counters.take_from_stream(RpcStream(numbers), 3) == [0, 1, 2]
    await eventually(numbers.closed, True)
    assert numbers.given < 200


async def test_an_error_of_a_source_here_reaches_the_server(counters: CounterApi) -> None:
    async def numbers() -> AsyncIterator[int]:
        yield 1
        raise ValueError("no more numbers")

    # It rethrows the error, and answers with what JavaScript calls it.
    with pytest.raises(RpcRemoteError, match="no more numbers"):
        await counters.sum_stream(RpcStream(numbers()))


async def test_a_stream_comes_back_as_another(counters: CounterApi) -> None:
    numbers = Numbers(500)
    sums = await counters.add_to_each(RpcStream(numbers), 1000)
    assert [number async for number in sums] == list(range(1000, 1500))
    assert not numbers.is_open


async def test_leaving_a_stream_that_is_made_of_ones_own_closes_the_source(counters: CounterApi) -> None:
    numbers = Numbers(1_000_000)
    async for number in await counters.add_to_each(RpcStream(numbers), 1000):
        if number == 1003:
            break
    await eventually(numbers.closed, True)


async def test_a_call_whose_stream_breaks_off_fails(peer: RpcClientPeer, counters: CounterApi) -> None:
    # It is made again, since the server has forgotten it; but the stream is gone with the server's old peer.
    numbers = Numbers(1_000_000)
    call = asyncio.ensure_future(counters.sum_stream(RpcStream(numbers)))
    while numbers.given < 1000:
        await asyncio.sleep(0.001)
    await cut(peer)
    with pytest.raises(RpcRemoteError, match="Peer disconnected"):
        await call
    await eventually(numbers.closed, True)
    assert await counters.sum_stream(RpcStream(Numbers(100))) == sum(range(100))
