"""Limits that are lower than the protocol's: what is too large is an error of its call, never the end of others."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from refusion.rpc import RpcCallTimeouts, RpcError, RpcLimits, RpcStream
from refusion.rpc.protocol import RpcMessage, SizeLimits
from refusion.rpc.protocol._system_calls import ERROR
from refusion.rpc.transports import TransportLimits
from refusion.testing import VirtualClock, settle

from .stream_world import StreamWorld
from .world import RawPeer, WorkerService, World

SMALL = RpcLimits(sizes=SizeLimits(argument_bytes=1_024, envelope_bytes=1_024, frame_bytes=4_096), drain_timeout=0.0)
FORMATS = pytest.mark.parametrize("format", ["msgpack6c", "json5np"])


class Texts(WorkerService):
    async def fail(self, text: str) -> None:
        raise ValueError(text * 2_000)


@FORMATS
async def test_a_long_error_is_replaced_by_one_that_can_be_sent(clock: VirtualClock, format: str) -> None:
    async with World(clock, limits=SMALL, format=format) as world:
        world.service.__class__ = Texts
        with pytest.raises(RpcError, match=r"Worker.fail failed with an error that can't be sent: .* is the limit"):
            await world.worker.fail("x")
        assert await world.worker.add(1, 2) == 3
        assert world.network.connection_count == 1


@FORMATS
async def test_a_long_result_is_an_error_of_its_call(clock: VirtualClock, format: str) -> None:
    async with World(clock, limits=SMALL, format=format) as world:
        with pytest.raises(RpcError, match="1,024 is the limit"):
            await world.worker.zeros(2_000)
        assert await world.worker.add(1, 2) == 3
        assert world.network.connection_count == 1


@FORMATS
async def test_long_arguments_are_an_error_of_their_call(clock: VirtualClock, format: str) -> None:
    async with World(clock, limits=SMALL, format=format) as world:
        with pytest.raises(ValueError, match="1,024 is the limit"):
            await world.worker.size(bytes(2_000))
        assert len(world.peer.outbound) == 0
        assert await world.worker.add(1, 2) == 3


async def test_a_long_name_that_nobody_answers_to_is_still_answered(clock: VirtualClock) -> None:
    async with World(clock, limits=SMALL) as world:
        raw = await RawPeer.connect(world)
        await raw.introduce()
        await raw.send(RpcMessage("X" * 1_020 + ":1", 1, 0, b""))
        assert raw.methods == [ERROR]
        assert raw.closed is None


class Mixed:
    async def both(self, size: int) -> tuple[bytes, RpcStream[int]]:
        raise NotImplementedError

    async def upload(self, data: bytes, numbers: RpcStream[int]) -> int:
        raise NotImplementedError


class MixedService(Mixed):
    async def both(self, size: int) -> tuple[bytes, RpcStream[int]]:
        return bytes(size), RpcStream([1, 2, 3])

    async def upload(self, data: bytes, numbers: RpcStream[int]) -> int:
        return len(data)


@pytest.fixture
async def small(clock: VirtualClock) -> AsyncIterator[StreamWorld]:
    async with StreamWorld(clock, limits=SMALL) as world:
        world.server.add_service(Mixed, MixedService())
        yield world


async def test_a_long_result_with_a_stream_is_an_error_and_shares_nothing(small: StreamWorld) -> None:
    mixed = small.client.client(Mixed, small.peer)
    with pytest.raises(RpcError, match="1,024 is the limit"):
        await mixed.both(2_000)
    await small.expect_nothing_left()
    _, numbers = await mixed.both(10)
    assert [number async for number in numbers] == [1, 2, 3]


async def test_long_arguments_with_a_stream_are_an_error_and_share_nothing(small: StreamWorld) -> None:
    mixed = small.client.client(Mixed, small.peer)
    with pytest.raises(ValueError, match="1,024 is the limit"):
        await mixed.upload(bytes(2_000), RpcStream([1]))
    await small.expect_nothing_left()


async def test_a_batch_that_is_too_large_goes_in_parts_and_an_item_ends_the_stream(small: StreamWorld) -> None:
    got: list[int] = []
    with pytest.raises(RpcError, match="1,024 is the limit"):
        async for data in await small.api.large([500] * 10 + [2_000]):
            got.append(len(data))
    assert got == [500] * 10
    await small.expect_nothing_left()
    assert small.network.connection_count == 1


async def test_a_long_error_of_a_stream_is_replaced_by_one_that_can_be_sent(small: StreamWorld) -> None:
    class Broken:
        async def numbers(self) -> RpcStream[int]:
            raise NotImplementedError

    class BrokenService(Broken):
        async def numbers(self) -> RpcStream[int]:
            async def fail() -> AsyncIterator[int]:
                yield 1
                raise ValueError("x" * 2_000)

            return RpcStream(fail())

    small.server.add_service(Broken, BrokenService())
    with pytest.raises(RpcError, match="the stream has ended with an error that can't be sent"):
        async for _ in await small.client.client(Broken, small.peer).numbers():
            pass
    await small.expect_nothing_left()


@FORMATS
async def test_many_streams_are_kept_alive_in_several_messages(clock: VirtualClock, format: str) -> None:
    async with StreamWorld(clock, limits=SMALL, format=format) as small:
        readers: list[Any] = []
        for i in range(300):
            small.streams.put(str(i), i)
            readers.append(aiter(await small.api.feed(str(i))))
        assert [await anext(reader) for reader in readers] == list(range(300))

        # Longer than a stream stays without a word.
        await clock.advance(200)

        assert small.network.connection_count == 1
        assert small.server_peer.streams.shared_count == 300
        for i in range(300):
            small.streams.put(str(i), -i)
        assert [await anext(reader) for reader in readers] == [-i for i in range(300)]


async def test_so_many_open_calls_that_they_cant_be_asked_about_are_sent_again(
    clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with World(clock, limits=SMALL) as world:
        calls = [world.start(world.worker.wait(str(i))) for i in range(2_000)]
        await settle(100)
        before = clock.pending_timers
        await world.cut()
        await clock.advance(1)
        await settle(100)
        assert "couldn't be asked about open calls" in caplog.text
        # One makes up for the outage.
        assert clock.pending_timers <= before + 1
        for i in range(2_000):
            world.service.let_go(str(i))
        await settle(200)
        assert [call.result() for call in calls] == [f"{i} done" for i in range(2_000)]
        assert len(world.log) == 2_000


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"max_running_calls": 0}, "max_running_calls can't be 0"),
        ({"max_queued_calls": 0}, "max_queued_calls can't be 0"),
        ({"max_call_bytes": -1}, "max_call_bytes can't be -1"),
        ({"messages_per_turn": 0}, "messages_per_turn can't be 0"),
        ({"flush_bytes": 0}, "flush_bytes can't be 0"),
        ({"max_objects": 0}, "max_objects can't be 0"),
        ({"max_open_calls": 0}, "max_open_calls can't be 0"),
        ({"handshake_timeout": 0.0}, "handshake_timeout can't be 0.0"),
        ({"keep_alive_period": 0.0}, "keep_alive_period can't be 0.0"),
        ({"delayed_call_threshold": -1.0}, "delayed_call_threshold can't be -1.0"),
        ({"drain_timeout": -1.0}, "drain_timeout can't be -1.0"),
        ({"keep_alive_period": 30.0}, "a link would be dropped before anything is said on it"),
        ({"server_peer_min_retention": 1_000.0}, "is longer than server_peer_max_retention"),
    ],
)
def test_a_limit_that_makes_no_sense_is_refused(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        RpcLimits(**options)


def test_a_time_limit_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="run is a time in seconds above 0, or None for no limit; not 0"):
        RpcCallTimeouts(run=0)
    with pytest.raises(ValueError, match="connect is a time"):
        RpcCallTimeouts(connect=-1.0)


@pytest.mark.parametrize(
    "options",
    [{"low_water": 5, "high_water": 5}, {"low_water": -1}, {"max_frame_bytes": 0}, {"connect_timeout": 0.0}],
)
def test_a_limit_of_a_connection_that_makes_no_sense_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        TransportLimits(**options)


def test_times_that_may_be_nothing_may_be_so() -> None:
    limits = RpcLimits(drain_timeout=0, close_timeout=0, server_peer_min_retention=0, server_peer_max_retention=0)
    assert limits.drain_timeout == 0
