"""Nobody takes all of a server: floods, clients that don't read, long queues and endless streams beside small calls.

The bounds are those of `docs/limits.md`.
"""

import asyncio
import gc
import tracemalloc
from typing import Any

import pytest

from refusion import FusionHub, collect
from refusion.rpc import RpcHub, RpcLimits, RpcOverloaded
from refusion.rpc.protocol import RpcMessage
from refusion.rpc.protocol._system_calls import KEEP_ALIVE, OK
from refusion.rpc.transports import TransportLimits
from refusion.rpc.transports.memory import _MemoryTransport
from refusion.testing import VirtualClock, settle
from tests.unit.remote.stage import CounterApi, RemoteStage

from .stream_world import StreamWorld
from .world import RawPeer, Worker, WorkerService, World

# It takes twice as long when it is watched, and others come to the same lines.
pytestmark = pytest.mark.no_cover

LIMITS = RpcLimits()
HIGH_WATER = LIMITS.transport.high_water


async def connect(world: World, client_id: str = "raw") -> RawPeer:
    raw = await RawPeer.connect(world, client_id=client_id)
    await raw.introduce()
    return raw


def send(raw: RawPeer, *messages: RpcMessage) -> None:
    assert raw.transport is not None
    raw.transport.send(raw.frame(*messages))


def peer_of(world: World, client_id: str = "raw") -> Any:
    (peer,) = [peer for peer in world.server.server_peers if peer.client_id == client_id]
    return peer


async def turns_until(done: Any, limit: int = 10_000) -> int:
    """Return after how many turns of the loop something is done."""
    for turns in range(limit):
        if done():
            return turns
        await asyncio.sleep(0)
    raise AssertionError(f"it isn't done after {limit} turns")


# A client that calls without end


async def test_a_flood_of_calls_takes_no_more_than_its_turn(world: World) -> None:
    """Between a call of another client and its answer at most two turns' worth of a flood is handled."""
    raw = await connect(world)
    await world.peer.wait_connected()
    for burst in range(20):
        first = 1 + 1_500 * burst
        send(raw, *[RpcMessage("Worker.Add:3", i, 0, raw.arguments(i, 0)) for i in range(first, first + 1_500)])
    await settle(3)
    before = len(world.log)
    call = world.start(world.worker.add(-1, -1))
    await turns_until(call.done)
    handled = len(world.log) - before
    assert handled <= 6 * LIMITS.messages_per_turn
    assert len(world.log) < 30_000
    await settle(300)
    assert raw.methods == [OK] * 30_000


async def test_a_flood_of_long_calls_is_held_in_the_network(clock: VirtualClock) -> None:
    """One client has at most `max_running_calls` handlers, `max_queued_calls` calls behind them, and a turn more."""
    limits = RpcLimits(max_running_calls=500, max_queued_calls=100, drain_timeout=0.0)
    async with World(clock, limits=limits) as world:
        raw = await connect(world)
        for burst in range(50):
            first = 1 + 200 * burst
            calls = [RpcMessage("Worker.Wait:2", i, 0, raw.arguments("a")) for i in range(first, first + 200)]
            send(raw, *calls)
            await settle(2)
        peer = peer_of(world)
        assert len(peer.admission.tasks) == 500
        assert peer.admission.queued_count <= 100 + limits.messages_per_turn
        assert len(peer.inbound) <= 600 + limits.messages_per_turn
        assert isinstance(raw.transport, _MemoryTransport)
        assert len(raw.transport._queue) > 30
        # Others are served as if nothing were there.
        assert await world.worker.add(1, 2) == 3
        world.service.let_go("a")
        await settle(2_000)
        assert raw.methods == [OK] * 10_000


async def test_whoever_floods_a_server_whose_handlers_never_end_is_told_so(clock: VirtualClock) -> None:
    limits = RpcLimits(max_running_calls=10, max_queued_calls=10, drain_timeout=0.0)
    async with World(clock, limits=limits) as world:
        calls = [world.start(world.worker.wait(str(i))) for i in range(1_000)]
        await settle(100)
        await clock.advance(60)
        refused = [call for call in calls if call.done()]
        assert len(refused) == 1_000 - 10 - 100
        assert all(isinstance(call.exception(), RpcOverloaded) for call in refused)
        assert world.network.connection_count == 1
        for i in range(1_000):
            world.service.let_go(str(i))
        await asyncio.gather(*calls, return_exceptions=True)
        assert sum(call.exception() is None for call in calls) == 110


async def test_ten_clients_that_flood_all_get_on(clock: VirtualClock) -> None:
    """None is more than two turns ahead of the others."""
    limits = RpcLimits(messages_per_turn=10, drain_timeout=0.0)
    async with World(clock, limits=limits) as world:
        raws = [await connect(world, f"raw {n}") for n in range(10)]
        for raw in raws:
            send(raw, *[RpcMessage("Worker.Add:3", i, 0, raw.arguments(i, 0)) for i in range(1, 301)])
        for _ in range(30):
            await asyncio.sleep(0)
            counts = [len(raw.methods) for raw in raws]
            assert max(counts) - min(counts) <= 20
        await settle(100)
        assert all(raw.methods == [OK] * 300 for raw in raws)


# A client that never reads


async def test_for_a_client_that_never_reads_no_more_is_held_than_the_high_water_mark_and_one_answer(
    world: World,
) -> None:
    raw = await connect(world)
    assert isinstance(raw.transport, _MemoryTransport)
    raw.transport.pause_reading()
    for i in range(1, 2_001):
        send(raw, RpcMessage("Worker.Zeros:2", i, 0, raw.arguments(10_000)))
    await settle(100)
    server_end = raw.transport.other
    assert server_end is not None
    assert server_end._queued_bytes < HIGH_WATER + 10_100
    assert len(peer_of(world).inbound) == 0
    # What it has sent itself waits in the network.
    assert len(raw.transport._queue) > 1_900


async def test_a_client_that_never_reads_is_dropped_for_its_silence_and_forgotten(world: World) -> None:
    """It may say that it is alive, but nothing is read of it any more: 25 seconds after the last word it is gone."""
    raw = await connect(world)
    assert isinstance(raw.transport, _MemoryTransport)
    raw.transport.pause_reading()
    for i in range(1, 101):
        send(raw, RpcMessage("Worker.Zeros:2", i, 0, raw.arguments(10_000)))
    await settle(100)
    alive = RpcMessage(KEEP_ALIVE, 0, 0, raw.format.arguments((list[int],)).encode(([],)))
    for _ in range(2):
        await world.clock.advance(10)
        send(raw, alive)
    assert raw.closed is None
    await world.clock.advance(6)
    assert raw.closed is not None
    assert await world.worker.add(1, 2) == 3
    await world.clock.advance(181)
    assert [peer.client_id for peer in world.server.server_peers] == [world.peer.client_id]


async def test_a_client_that_reads_slowly_gets_all_of_it(world: World) -> None:
    raw = await connect(world)
    assert isinstance(raw.transport, _MemoryTransport)
    raw.transport.pause_reading()
    for i in range(1, 301):
        send(raw, RpcMessage("Worker.Zeros:2", i, 0, raw.arguments(10_000)))
    for _ in range(400):
        raw.transport.resume_reading()
        await settle(2)
        raw.transport.pause_reading()
        await settle(2)
        assert raw.transport.other is not None
        assert raw.transport.other._queued_bytes < HIGH_WATER + 10_100
    raw.transport.resume_reading()
    await settle(20)
    assert raw.methods == [OK] * 300


# Ten thousand calls that wait


async def test_ten_thousand_calls_that_wait_for_a_link_are_sent_in_their_order_and_all_end(world: World) -> None:
    """A call that waits takes 1.4 KB with the task that makes it (CPython 3.11, one str argument)."""
    await world.worker.add(0, 0)
    world.network.is_refusing = True
    await world.cut()
    world.log.clear()

    def memory() -> int:
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        before = memory()
        calls = [world.start(world.worker.wait(str(i))) for i in range(10_000)]
        await settle()
        per_call = (memory() - before) / len(calls)
    finally:
        tracemalloc.stop()
    assert per_call < 2_000, per_call
    assert len(world.peer.outbound) == 10_000

    world.network.is_refusing = False
    await world.clock.advance(10)
    for i in range(10_000):
        world.service.let_go(str(i))
    await settle(2_000)
    assert world.log == [f"wait({i})" for i in range(10_000)]
    assert [call.result() for call in calls] == [f"{i} done" for i in range(10_000)]
    assert len(world.peer.outbound) == len(world.server_peer.inbound) == len(world.peer._waiting) == 0


async def test_ten_thousand_calls_that_queue_at_the_server_take_little_and_all_end(clock: VirtualClock) -> None:
    """A call that queues takes 0.4 KB and its arguments, as long as its handler has not begun (CPython 3.11)."""
    limits = RpcLimits(max_running_calls=1, max_queued_calls=20_000, drain_timeout=0.0)
    async with World(clock, limits=limits) as world:
        raw = await connect(world)
        send(raw, RpcMessage("Worker.Wait:2", 20_000, 0, raw.arguments("first")))
        frames = [
            raw.frame(*[RpcMessage("Worker.Wait:2", i, 0, raw.arguments(str(i))) for i in range(first, first + 500)])
            for first in range(1, 10_001, 500)
        ]
        await settle()
        gc.collect()
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            assert raw.transport is not None
            for frame in frames:
                raw.transport.send(frame)
                await settle(3)
            gc.collect()
            per_call = (tracemalloc.get_traced_memory()[0] - before) / 10_000
        finally:
            tracemalloc.stop()
        assert peer_of(world).admission.queued_count == 10_000
        assert per_call < 800, per_call
        for i in range(1, 10_001):
            world.service.let_go(str(i))
        world.service.let_go("first")
        await turns_until(lambda: len(raw.methods) == 10_001, 100_000)
        assert world.log == ["wait(first)", *[f"wait({i})" for i in range(1, 10_001)]]


async def test_who_gives_up_while_ten_thousand_wait_costs_the_others_nothing(world: World) -> None:
    await world.worker.add(0, 0)
    world.network.is_refusing = True
    await world.cut()
    calls = [world.start(world.worker.wait(str(i))) for i in range(10_000)]
    await settle()
    for call in calls[::2]:
        call.cancel()
    await settle()
    world.network.is_refusing = False
    await world.clock.advance(10)
    for i in range(10_000):
        world.service.let_go(str(i))
    await settle(2_000)
    assert [call.result() for call in calls[1::2]] == [f"{i} done" for i in range(1, 10_000, 2)]
    assert len(world.log) == 1 + 5_000


# A giant stream beside small calls


async def test_small_calls_are_answered_while_a_giant_stream_runs(streams: StreamWorld) -> None:
    """A call takes at most a dozen turns of the loop, and so long no more than a few batches of the stream pass."""
    got = 0

    async def read() -> None:
        nonlocal got
        async for _ in await streams.api.count(1_000_000):
            got += 1

    reading = streams.start(read())
    await settle(100)
    for i in range(50):
        before = got
        call = streams.start(streams.worker.add(i, i))
        assert await turns_until(call.done) <= 12
        assert call.result() == 2 * i
        assert got - before <= 12 * 64
    assert got > 500
    assert not reading.done()
    reading.cancel()


async def test_small_calls_are_answered_while_a_stream_of_large_items_runs(streams: StreamWorld) -> None:
    sizes: list[int] = []

    async def read() -> None:
        async for data in await streams.api.large([100_000] * 2_000):
            sizes.append(len(data))

    reading = streams.start(read())
    await settle(50)
    for i in range(20):
        before = len(sizes)
        call = streams.start(streams.worker.add(i, i))
        await turns_until(call.done)
        # No more than what is in the link already, and the window of one turn.
        assert len(sizes) - before <= 2 * HIGH_WATER // 100_000 + 10
    assert not reading.done()
    reading.cancel()


async def test_ten_giant_streams_all_get_on(streams: StreamWorld) -> None:
    counts = [0] * 10

    async def read(n: int) -> None:
        async for _ in await streams.api.count(1_000_000):
            counts[n] += 1

    tasks = [streams.start(read(n)) for n in range(10)]
    await turns_until(lambda: max(counts) >= 1_000)
    assert min(counts) >= 500
    for task in tasks:
        task.cancel()


async def test_a_reader_that_rests_holds_up_nobody(streams: StreamWorld) -> None:
    resting = aiter(await streams.api.count(1_000_000))
    assert await anext(resting) == 0
    assert [number async for number in await streams.api.count(2_000)] == list(range(2_000))
    assert await streams.worker.add(1, 2) == 3


# Over sockets


@pytest.mark.parametrize("transport", ["websockets", "picows"])
async def test_over_sockets_small_calls_are_answered_while_another_client_floods_the_server(transport: str) -> None:
    """Two thousand calls are under way all the time, and a call of another client waits for a few hundred of them."""
    limits = RpcLimits(messages_per_turn=100, drain_timeout=0.0)
    service = WorkerService()
    async with (
        RpcHub(transport=transport, limits=limits) as server,
        RpcHub(transport=transport, limits=RpcLimits(drain_timeout=0.0)) as flooder,
        RpcHub(transport=transport, limits=limits) as client,
    ):
        server.add_service(Worker, service)
        url = (await server.serve()).url
        flooding, calling = flooder.client(Worker, url), client.client(Worker, url)
        assert await flooding.add(0, 0) == await calling.add(0, 0) == 0

        async def call_on() -> None:
            while True:
                await flooding.add(1, 0)

        flood = [asyncio.ensure_future(call_on()) for _ in range(2_000)]
        await settle(5)
        passed: list[int] = []
        for i in range(20):
            before = len(service.log)
            assert await calling.add(i, i) == 2 * i
            passed.append(len(service.log) - before)
        for task in flood:
            task.cancel()
        assert sum(passed) > 1_000
        assert max(passed) <= 2_000, passed


@pytest.mark.parametrize("transport", ["websockets", "picows"])
async def test_over_sockets_little_is_held_for_a_client_that_doesnt_read(transport: str) -> None:
    limits = RpcLimits(drain_timeout=0.0, transport=TransportLimits(high_water=64 * 1024, low_water=16 * 1024))
    service = WorkerService()
    async with (
        RpcHub(transport=transport, limits=limits) as server,
        RpcHub(transport=transport, limits=limits) as client,
    ):
        server.add_service(Worker, service)
        peer = client.peer((await server.serve()).url)
        worker = client.client(Worker, peer)
        await worker.add(0, 0)
        (server_peer,) = server.server_peers
        assert peer.link is not None
        assert peer.link._transport is not None
        peer.link._transport.pause_reading()
        calls = [asyncio.ensure_future(worker.zeros(100_000)) for _ in range(500)]
        while server_peer.link is None or server_peer.link.is_writable:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.05)
        # 50 MB were asked for. What the kernel and the library have taken, and the mark, aside, nothing is made.
        assert not server_peer.link.is_writable
        assert len(server_peer.inbound) <= 1
        peer.link._transport.resume_reading()
        assert [len(data) for data in await asyncio.gather(*calls)] == [100_000] * 500


async def test_a_client_may_have_so_many_values_watched_and_no_more() -> None:
    with VirtualClock() as clock:
        stage = RemoteStage(clock)
        await stage.start()
        limits = RpcLimits(max_open_calls=10, drain_timeout=0.0)
        async with (
            FusionHub(transport=stage.network, limits=limits) as server,
            FusionHub(transport=stage.network, limits=limits) as client,
        ):
            server.add_service(CounterApi, stage.service)
            api = client.client(CounterApi, (await server.serve("memory")).url)
            replicas = [await api.get.capture(str(i)) for i in range(10)]
            with pytest.raises(RpcOverloaded, match="10 calls of this peer are open; end some of them"):
                await api.get("more")
            # Calls that end with their answers are still taken, and so is another one as soon as there is room.
            await api.set("5", 7)
            await settle()
            assert [replica.is_invalidated for replica in replicas].count(True) == 1
            await clock.advance(2)
            assert await api.get("more") == 0
            (peer,) = server.server_peers
            assert len(peer.inbound) == 10
        await stage.aclose()
        collect()
