"""How items are taken from sources, and what else is asked of a stream's surroundings."""

import asyncio
from collections.abc import AsyncIterator, Generator
from typing import Any, NamedTuple, TypedDict, Union

import pytest

from refusion import FusionHub, compute_method
from refusion.rpc import RpcContractError, RpcNoWait, RpcStream
from refusion.rpc._stream_source import Pull, iterate
from refusion.rpc._stream_types import item_types
from refusion.testing import settle

from .stream_world import StreamWorld


async def numbers(*, closed: list[str] | None = None) -> AsyncIterator[int]:
    try:
        yield 1
        yield 2
        await asyncio.sleep(0)
        yield 3
    finally:
        if closed is not None:
            closed.append("closed")


async def test_a_pull_tells_when_the_item_isnt_there_at_once() -> None:
    log: list[Any] = []
    pull = Pull(iterate(numbers()), lambda: log.append("waits"))
    for _ in range(3):
        log.append(await pull)
    assert log == [1, 2, "waits", 3]
    with pytest.raises(StopAsyncIteration):
        await pull


async def test_an_error_of_who_is_told_leaves_nothing_running() -> None:
    def fail() -> None:
        raise OSError("no")

    source = numbers()
    pull = Pull(source, fail)
    assert [await pull, await pull] == [1, 2]
    with pytest.raises(OSError, match="no"):
        await pull
    with pytest.raises(StopAsyncIteration):
        await anext(source)


async def test_a_pull_that_is_dropped_closes_what_it_waits_for() -> None:
    closed: list[str] = []
    source = numbers(closed=closed)
    pull = Pull(source, lambda: None)
    assert [await pull, await pull] == [1, 2]
    waiting: Generator[Any, Any, int] = pull.__await__()
    next(waiting)
    waiting.close()
    assert closed == ["closed"]


async def test_what_is_sent_to_a_pull_reaches_who_waits() -> None:
    class Echo:
        def __await__(self) -> Generator[str, int, int]:
            return (yield "question")

    class Source:
        def __aiter__(self) -> "Source":
            return self

        def __anext__(self) -> Echo:
            return Echo()

    waiting = Pull(Source(), lambda: None).__await__()
    assert next(waiting) == "question"
    with pytest.raises(StopIteration) as done:
        waiting.send(42)
    assert done.value.value == 42


async def test_a_fire_and_forget_call_may_have_a_stream(streams: StreamWorld) -> None:
    got: list[int] = []

    class Sink:
        async def pour(self, numbers: RpcStream[int]) -> RpcNoWait:
            raise NotImplementedError

    class SinkService(Sink):
        async def pour(self, numbers: RpcStream[int]) -> Any:
            got.extend([number async for number in numbers])

    streams.server.add_service(Sink, SinkService())
    sink = streams.client.client(Sink, streams.peer)
    await streams.worker.add(1, 2)
    await sink.pour(RpcStream(range(5)))
    await settle(30)
    assert got == list(range(5))
    await streams.cut()
    # It is dropped, and so is its stream.
    await sink.pour(RpcStream(range(5)))
    await streams.expect_nothing_left()


async def test_a_compute_method_cant_have_streams(streams: StreamWorld) -> None:
    class Ticker:
        @compute_method
        async def ticks(self) -> RpcStream[int]:
            raise NotImplementedError

    async with FusionHub(transport=streams.network) as hub:
        with pytest.raises(RpcContractError, match="a stream is read once, so a method whose results are kept"):
            hub.client(Ticker, streams.url)


class Named(NamedTuple):
    left: RpcStream[int]


class Typed(TypedDict):
    right: RpcStream[str]


class Unresolved(NamedTuple):
    what: "Nowhere"  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize(
    ("declared", "expected"),
    [(Named, (int,)), (Typed, (str,)), (Unresolved, ()), (Union[Named, Typed, None], (int, str))],  # noqa: UP007
)
def test_fields_of_every_kind_are_looked_at(declared: Any, expected: tuple[Any, ...]) -> None:
    assert item_types(declared) == expected


async def test_the_item_type_is_the_one_that_the_stream_says_or_the_place_declares(streams: StreamWorld) -> None:
    class Two:
        async def both(self, a: RpcStream[int], b: RpcStream[str]) -> None:
            raise NotImplementedError

    class TwoService(Two):
        async def both(self, a: RpcStream[int], b: RpcStream[str]) -> None:
            await asyncio.sleep(1_000)

    streams.server.add_service(Two, TwoService())
    for first, expected in ((RpcStream([1]), int), (RpcStream[bool]([True]), bool)):
        call = streams.start(streams.client.client(Two, streams.peer).both(first, RpcStream("ab")))
        await settle()
        assert [shared._item_type for shared in streams.peer.streams._shared.values()] == [expected, str]
        streams.peer.streams._end_all(streams.peer.closed_error())
        call.cancel()
        await settle()
