"""A world whose server also makes and takes streams."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Self

import msgspec

from refusion.rpc import RpcClientPeer, RpcHub, RpcStream
from refusion.rpc.protocol import RpcMessage
from refusion.testing import settle

from .world import World


class Page(msgspec.Struct):
    """A value with a stream in it."""

    title: str
    lines: RpcStream[str]
    more: "RpcStream[Page] | None" = None


@dataclass
class Tail:
    numbers: list[RpcStream[int]]


class Streams:
    """The contract of most tests of streams."""

    async def count(self, count: int, ack_period: int = 30, ack_advance: int = 61) -> RpcStream[int]:
        raise NotImplementedError

    async def fragile(self, count: int) -> RpcStream[int]:
        raise NotImplementedError

    async def feed(self, key: str, is_real_time: bool = False) -> RpcStream[int]:
        raise NotImplementedError

    async def failing(self, count: int) -> RpcStream[int]:
        raise NotImplementedError

    async def wrong(self) -> RpcStream[Any]:
        raise NotImplementedError

    async def large(self, sizes: list[int]) -> RpcStream[bytes]:
        raise NotImplementedError

    async def page(self, depth: int) -> Page:
        raise NotImplementedError

    async def pages(self) -> RpcStream[Page]:
        raise NotImplementedError

    async def tails(self) -> dict[str, Tail]:
        raise NotImplementedError

    async def maybe(self, is_there: bool) -> RpcStream[int] | None:
        raise NotImplementedError

    async def total(self, numbers: RpcStream[int]) -> int:
        raise NotImplementedError

    async def first(self, numbers: RpcStream[int], count: int) -> list[int]:
        raise NotImplementedError

    async def double(self, numbers: RpcStream[int]) -> RpcStream[int]:
        raise NotImplementedError

    async def twice(self) -> list[RpcStream[int]]:
        raise NotImplementedError

    async def half_bad(self) -> tuple[RpcStream[int], Any]:
        raise NotImplementedError


class StreamsService(Streams):
    """Knows what was taken from its sources, and which of them were closed."""

    def __init__(self) -> None:
        self.taken: list[int] = []
        self.closed: list[str] = []
        self.feeds: dict[str, asyncio.Queue[int | None]] = {}
        self.made: list[RpcStream[Any]] = []

    def put(self, key: str, *items: int | None) -> None:
        """Give items to a feed; None ends it."""
        for item in items:
            self.feeds.setdefault(key, asyncio.Queue()).put_nowait(item)

    async def count_up(self, count: int, name: str = "count") -> AsyncIterator[int]:
        try:
            for number in itertools.islice(itertools.count(), count):
                self.taken.append(number)
                yield number
        finally:
            self.closed.append(name)

    async def _feed(self, key: str) -> AsyncIterator[int]:
        queue = self.feeds.setdefault(key, asyncio.Queue())
        try:
            while (item := await queue.get()) is not None:
                self.taken.append(item)
                yield item
        finally:
            self.closed.append(key)

    def make(self, stream: RpcStream[Any]) -> RpcStream[Any]:
        self.made.append(stream)
        return stream

    async def count(self, count: int, ack_period: int = 30, ack_advance: int = 61) -> RpcStream[int]:
        return self.make(RpcStream(self.count_up(count), ack_period=ack_period, ack_advance=ack_advance))

    async def fragile(self, count: int) -> RpcStream[int]:
        return self.make(RpcStream(self.count_up(count), allow_reconnect=False))

    async def feed(self, key: str, is_real_time: bool = False) -> RpcStream[int]:
        return self.make(RpcStream(self._feed(key), ack_period=2, ack_advance=4, is_real_time=is_real_time))

    async def failing(self, count: int) -> RpcStream[int]:
        async def fail() -> AsyncIterator[int]:
            async for number in self.count_up(count):
                yield number
            raise KeyError("no more")

        return RpcStream(fail())

    async def wrong(self) -> RpcStream[Any]:
        return RpcStream([1, 2, object(), 4])

    async def large(self, sizes: list[int]) -> RpcStream[bytes]:
        return RpcStream([bytes(size) for size in sizes])

    async def page(self, depth: int) -> Page:
        more = RpcStream(self._pages_below(depth)) if depth else None
        return Page(f"level {depth}", RpcStream(f"{depth}.{i}" for i in range(3)), more)

    async def _pages_below(self, depth: int) -> AsyncIterator[Page]:
        yield await self.page(depth - 1)

    async def pages(self) -> RpcStream[Page]:
        return RpcStream([Page(f"page {i}", RpcStream([f"line {i}"] * i)) for i in range(100)])

    async def tails(self) -> dict[str, Tail]:
        return {"a": Tail([RpcStream(range(2)), RpcStream(range(3))]), "b": Tail([])}

    async def maybe(self, is_there: bool) -> RpcStream[int] | None:
        return RpcStream(range(3)) if is_there else None

    async def total(self, numbers: RpcStream[int]) -> int:
        return sum([number async for number in numbers])

    async def first(self, numbers: RpcStream[int], count: int) -> list[int]:
        found: list[int] = []
        async for number in numbers:
            found.append(number)
            if len(found) == count:
                break
        return found

    async def double(self, numbers: RpcStream[int]) -> RpcStream[int]:
        return RpcStream(number * 2 async for number in numbers)

    async def twice(self) -> list[RpcStream[int]]:
        stream = self.make(RpcStream(range(1_000)))
        return [stream, stream]

    async def half_bad(self) -> tuple[RpcStream[int], Any]:
        return self.make(RpcStream(self.count_up(3))), object()


class StreamWorld(World):
    """A hub that serves `Streams`, too, and one that calls it."""

    async def __aenter__(self) -> Self:
        self.streams = StreamsService()
        await super().__aenter__()
        self.api = self.client.client(Streams, self.peer)
        return self

    async def start_server(self, port: int = 0) -> None:
        await super().start_server(port)
        self.server.add_service(Streams, self.streams)

    @property
    def taken(self) -> list[int]:
        return self.streams.taken

    @property
    def counts(self) -> list[int]:
        """How many streams there are in each table of both sides."""
        peers: list[Any] = [self.peer, *self.server.server_peers]
        return [count for peer in peers for count in (peer.streams.shared_count, peer.streams.remote_count)]

    async def expect_nothing_left(self) -> None:
        await settle()
        assert not any(self.counts), self.counts
        peers: list[RpcClientPeer | Any] = [self.peer, *self.server.server_peers]
        assert all(not peer.streams._held_up and not peer.streams._ends for peer in peers)

    def posted(self, peer: Any) -> list[RpcMessage]:
        """Return a list that gets what a peer posts from now on."""
        messages: list[RpcMessage] = []

        class Noting(type(peer)):  # type: ignore[misc]
            __slots__ = ()

            def post(self, message: RpcMessage) -> None:
                messages.append(message)
                super().post(message)

        peer.__class__ = Noting
        return messages

    async def open_api(self) -> tuple[RpcHub, Streams]:
        """Return another client."""
        hub = await self.open_hub()
        return hub, hub.client(Streams, self.url)
