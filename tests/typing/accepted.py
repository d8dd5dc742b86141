"""What type checkers have to see of the public API."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from random import Random
from typing import assert_type

from refusion import (
    Computed,
    ComputedState,
    FixedDelayer,
    FusionHub,
    MemoryCache,
    MutableState,
    PeerState,
    PeerStateMonitor,
    SqliteCache,
    Synchronizer,
    compute_method,
    invalidate,
    invalidating,
)
from refusion.remote import ClientCache, PeerStateKind
from refusion.rpc import RpcHub, RpcServiceMode, RpcStream, rpc_type
from refusion.rpc.formats import FrameEncoder, get_format
from refusion.rpc.protocol import SizeLimits
from refusion.testing import ComputeCall, ConsistencyReport, ConsistencyScenario, eventually_consistent


class Todos:
    @compute_method
    async def title(self, key: str, *, upper: bool = False) -> str | None:
        return key.upper() if upper else key

    @compute_method(min_cache_duration=60)
    async def count(self) -> int:
        return 1

    @compute_method
    def size(self, factor: int) -> float:
        return factor * 1.5


@compute_method
async def now() -> float:
    return 1.0


async def calls(todos: Todos) -> None:
    assert_type(await todos.title("a"), str | None)
    assert_type(await todos.title("a", upper=True), str | None)
    assert_type(await todos.count(), int)
    assert_type(todos.size(2), float)
    assert_type(await now(), float)


async def attributes(todos: Todos) -> None:
    assert_type(await todos.title.capture("a"), Computed[str | None])
    assert_type(todos.title.existing("a"), Computed[str | None] | None)
    assert_type(todos.size.capture(1), Computed[float])
    todos.title.invalidate("a", upper=True)
    todos.size.invalidate(3)
    invalidate(todos.title, "a")
    with invalidating():
        todos.size(3)


async def computeds(todos: Todos) -> None:
    computed = await todos.count.capture()
    assert_type(computed.value, int)
    assert_type(computed.value_or_none, int | None)
    assert_type(computed.error, BaseException | None)
    assert_type(await computed.use(), int)
    assert_type(await computed.update(), Computed[int])
    assert_type(computed.changes(), AsyncGenerator[Computed[int], None])
    assert_type(await computed.when(lambda value: value > 1), Computed[int])
    assert_type(await Computed.capture(todos.count), Computed[int])
    assert_type(await Computed.try_capture(todos.title, "a"), Computed[str | None] | None)
    assert_type(Computed.existing(todos.size, 2), Computed[float] | None)


async def states() -> None:
    name = MutableState("Ann")
    assert_type(name.value, str)
    assert_type(await name.use(), str)
    name.set("Bob")

    async def greeting() -> str:
        return f"Hello, {await name.use()}!"

    async with ComputedState(greeting, update_delayer=FixedDelayer(0.1)) as state:
        assert_type(await state.when_first_updated(), Computed[str])
        assert_type(state.last_non_error_value, str)


async def clients() -> None:
    async with FusionHub() as hub:
        todos = hub.client(Todos, "ws://localhost:8080")
        assert_type(todos, Todos)
        assert_type(await todos.count(), int)


async def caches(todos: Todos) -> None:
    cache: ClientCache = SqliteCache("cache.db", scope="me") if todos else MemoryCache()
    async with FusionHub(cache=cache) as hub:
        assert_type(hub.add_service(Todos, todos, mode="local"), Todos)
        assert_type(hub.add_service(Todos, mode=RpcServiceMode.CLIENT, target="ws://localhost"), Todos)
        assert_type(hub.service(Todos), Todos)
        computed = await hub.service(Todos).title.capture("a")
        assert_type(await Synchronizer.SAFE.synchronize(computed), Computed[str | None])
        assert_type(Synchronizer(max_wait=1.0).is_synchronized(computed), bool)
        with Synchronizer.PRECISE.activate():
            await hub.synchronized()
        async with PeerStateMonitor(hub, "ws://localhost") as monitor:
            assert_type(monitor.state.value, PeerState)
            assert_type(monitor.state.value.kind, PeerStateKind)
            assert_type(monitor.state.value.reconnects_in, float)
            assert_type(monitor.state.value.describe(use_last_error=True), str)
            assert_type(await monitor.state.use(), PeerState)
            assert_type(monitor.state.changes(), AsyncGenerator[Computed[PeerState], None])


class Feed:
    async def ticks(self, scale: RpcStream[float]) -> RpcStream[int]:
        return RpcStream([1, 2])

    async def maybe(self) -> RpcStream[str] | None:
        return None


async def streams() -> None:
    async with RpcHub() as hub:
        feed = hub.client(Feed, "ws://localhost:8080")
        ticks = await feed.ticks(RpcStream([1.5]))
        assert_type(ticks, RpcStream[int])
        async with ticks as same:
            assert_type(same, RpcStream[int])
            async for tick in same:
                assert_type(tick, int)
        async for data in RpcStream([b"a"], is_real_time=True, can_skip_to=lambda item: item.isupper()):
            assert_type(data, bytes)


@rpc_type(name="Zoo.Bear, Zoo.Contracts")
@dataclass
class Bear:
    weight: float


async def formats() -> None:
    assert_type(Bear(1.5), Bear)
    codec = get_format("msgpack6c").item(Bear)
    assert_type(codec.encode((1, Bear(1.5))), bytes)
    assert_type(get_format("msgpack6c-lz4").frame_encoder(is_server=True), FrameEncoder | None)
    assert_type(SizeLimits(argument_bytes=1_000_000).argument_bytes, int)


class Clock:
    @compute_method
    async def now(self) -> int:
        raise NotImplementedError


class ClockService(Clock):
    time = 0


class ClockScenario(ConsistencyScenario[Clock, ClockService]):
    contract = Clock

    def create_service(self) -> ClockService:
        return ClockService()

    async def edit(self, service: ClockService, random: Random) -> None:
        service.time += random.randrange(60)

    async def command(self, client: Clock, random: Random) -> None:
        assert_type(await client.now(), int)

    def calls(self) -> list[ComputeCall]:
        return [ComputeCall("now")]


async def driven() -> None:
    report = await eventually_consistent(ClockScenario(), seed=1, create_client_hub=FusionHub)
    assert_type(report, ConsistencyReport)
