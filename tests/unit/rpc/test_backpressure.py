"""Peers that don't read: senders wait, and memory stays where it is."""

import asyncio
from typing import Any

import pytest

from refusion.rpc import RpcHub, RpcLimits, RpcNoWait, current_peer
from refusion.rpc.protocol import RpcMessage
from refusion.rpc.protocol._system_calls import OK
from refusion.rpc.transports import TransportLimits
from refusion.rpc.transports.memory import _MemoryTransport
from refusion.testing import VirtualClock, settle

from .world import RawPeer, Worker, WorkerService, World

HIGH = 256 * 1024
SIZE = 100_000


def transport_of(peer: Any) -> _MemoryTransport:
    transport = peer.link._transport
    assert isinstance(transport, _MemoryTransport)
    return transport


async def stop_reading(world: World) -> None:
    """Let the server take nothing from its client."""
    await world.worker.add(0, 0)
    transport_of(world.server_peer).pause_reading()


async def test_callers_wait_when_the_server_doesnt_read(world: World) -> None:
    await stop_reading(world)
    calls = [world.start(world.worker.size(bytes(SIZE))) for _ in range(100)]
    await settle()

    assert transport_of(world.peer)._queued_bytes < HIGH + 2 * SIZE
    assert sum(call._args is not None for call in world.peer.outbound) <= 4

    transport_of(world.server_peer).resume_reading()
    assert await asyncio.gather(*calls) == [SIZE] * 100


async def test_those_who_wait_go_in_the_order_they_came(world: World) -> None:
    await stop_reading(world)
    blocking = [world.start(world.worker.size(bytes(SIZE))) for _ in range(5)]
    waiting = [world.start(world.worker.add(i, 0)) for i in range(50)]
    await settle()
    transport_of(world.server_peer).resume_reading()
    await asyncio.gather(*blocking, *waiting)
    assert world.log == ["add(0, 0)", *[f"add({i}, 0)" for i in range(50)]]


async def test_who_is_cancelled_while_waiting_is_never_sent(world: World) -> None:
    await stop_reading(world)
    blocking = [world.start(world.worker.size(bytes(SIZE))) for _ in range(5)]
    waiting = [world.start(world.worker.add(i, 0)) for i in range(1, 4)]
    await settle()
    waiting[1].cancel()
    await settle()
    transport_of(world.server_peer).resume_reading()
    await asyncio.gather(*blocking, waiting[0], waiting[2])
    assert world.log == ["add(0, 0)", "add(1, 0)", "add(3, 0)"]


async def test_what_waits_for_a_link_is_sent_as_the_link_takes_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.worker.add(0, 0)
    world.network.is_refusing = True
    await world.cut()
    calls = [world.start(world.worker.size(bytes(SIZE))) for _ in range(100)]
    await settle()
    assert all(call._args is None for call in world.peer.outbound)
    peak = watch_queues(monkeypatch)

    world.network.is_refusing = False
    await world.clock.advance(20)

    assert await asyncio.gather(*calls) == [SIZE] * 100
    assert peak[0] < HIGH + 2 * SIZE


async def test_calls_that_are_sent_again_wait_for_the_link_as_well(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Slow:
        async def keep(self, data: bytes, key: str) -> int:
            raise NotImplementedError

    class SlowService(Slow):
        async def keep(self, data: bytes, key: str) -> int:
            return len(await world.service.wait(key))

    world.server.add_service(Slow, SlowService())
    slow = world.client.client(Slow, world.peer)
    calls = [world.start(slow.keep(bytes(SIZE), "a")) for _ in range(30)]
    await settle(200)
    port = world.listener.port
    await world.crash_server()
    await world.start_server(port)
    world.server.add_service(Slow, SlowService())
    peak = watch_queues(monkeypatch)
    await world.clock.advance(5)
    await settle(200)
    world.service.let_go("a")

    assert await asyncio.gather(*calls) == [6] * 30
    assert peak[0] < HIGH + 2 * SIZE
    assert world.log.count("wait(a)") == 60


async def test_a_link_that_breaks_while_calls_wait_for_it_loses_none(world: World) -> None:
    await stop_reading(world)
    calls = [world.start(world.worker.size(bytes(SIZE))) for _ in range(50)]
    await settle()
    await world.cut()
    await world.clock.advance(5)
    assert await asyncio.gather(*calls) == [SIZE] * 50


async def test_calls_that_are_given_up_while_they_wait_leave_nothing_behind(world: World) -> None:
    await world.worker.add(0, 0)
    world.network.is_refusing = True
    await world.cut()
    for _ in range(500):
        call = world.start(world.worker.size(bytes(SIZE)))
        await settle(2)
        call.cancel()
        await settle(2)
    assert len(world.peer.outbound) == 0
    assert len(world.peer._waiting) < 100


async def test_no_wait_callers_wait_as_well_when_the_server_doesnt_read(world: World) -> None:
    class Sink:
        async def put(self, data: bytes) -> RpcNoWait:
            raise NotImplementedError

    class SinkService(Sink):
        count = 0

        async def put(self, data: bytes) -> RpcNoWait:
            self.count += 1
            return RpcNoWait()

    service = SinkService()
    world.server.add_service(Sink, service)
    sink = world.client.client(Sink, world.peer)
    await stop_reading(world)
    calls = [world.start(sink.put(bytes(SIZE))) for _ in range(100)]
    await settle()
    assert transport_of(world.peer)._queued_bytes < HIGH + 2 * SIZE
    assert not calls[-1].done()

    transport_of(world.server_peer).resume_reading()
    await asyncio.gather(*calls)
    await settle()
    assert service.count == 100


async def test_no_wait_callers_dont_wait_for_a_link_that_breaks(world: World) -> None:
    class Sink:
        async def put(self, data: bytes) -> RpcNoWait:
            raise NotImplementedError

    sink = world.client.client(Sink, world.peer)
    await stop_reading(world)
    calls = [world.start(sink.put(bytes(SIZE))) for _ in range(10)]
    await settle()
    world.network.is_refusing = True
    await world.cut()
    await settle()
    assert all(call.done() for call in calls)


async def test_from_a_client_that_doesnt_take_its_answers_no_more_calls_are_taken(world: World) -> None:
    raw = await RawPeer.connect(world)
    await raw.introduce()
    assert isinstance(raw.transport, _MemoryTransport)
    raw.transport.pause_reading()
    for call_id in range(1, 200):
        raw.transport.send(raw.frame(RpcMessage("Worker.Zeros:2", call_id, 0, raw.arguments(SIZE))))
        await settle(3)

    (peer,) = [peer for peer in world.server.server_peers if peer.client_id == "raw"]
    assert transport_of(peer)._queued_bytes < HIGH + 5 * SIZE
    assert len(peer.inbound) < 5

    for _ in range(500):
        raw.transport.resume_reading()
        await settle(5)
    assert raw.methods == [OK] * 199


async def test_handlers_that_call_back_a_client_whose_calls_are_too_many_are_answered(clock: VirtualClock) -> None:
    """Reading has stopped before they ask, so it has to go on for their answers."""

    class Relay:
        async def relay(self, key: str) -> int:
            raise NotImplementedError

    class RelayService(Relay):
        async def relay(self, key: str) -> int:
            await gate.wait()
            return await world.server.client(Worker, current_peer()).add(1, 2)

    gate = asyncio.Event()
    async with World(clock, limits=RpcLimits(max_running_calls=2, max_queued_calls=4, drain_timeout=0.0)) as world:
        world.server.add_service(Relay, RelayService())
        world.client.add_service(Worker, WorkerService())
        relay = world.client.client(Relay, world.peer)
        calls = [world.start(relay.relay(str(number))) for number in range(30)]
        await settle(100)
        assert not transport_of(world.server_peer)._is_reading
        gate.set()
        assert await asyncio.gather(*calls) == [3] * 30


async def test_calls_in_both_directions_with_both_links_full_come_to_an_end(world: World) -> None:
    world.client.add_service(Worker, world.service)
    await world.worker.add(0, 0)
    back = world.server.client(Worker, world.server_peer)
    calls = [world.start(side.zeros(SIZE)) for side in (world.worker, back) for _ in range(100)]
    calls += [world.start(side.size(bytes(SIZE))) for side in (world.worker, back) for _ in range(100)]
    await asyncio.gather(*calls)


async def test_a_hub_closes_though_the_other_side_doesnt_read(clock: VirtualClock) -> None:
    async with World(clock) as world:
        await stop_reading(world)
        calls = [world.start(world.worker.size(bytes(SIZE))) for _ in range(50)]
        await settle()
        await world.client.aclose()
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(result, ConnectionError) for result in results)


async def test_the_marks_are_limits_that_can_be_set(clock: VirtualClock) -> None:
    limits = RpcLimits(transport=TransportLimits(high_water=1_000, low_water=100), drain_timeout=0.0)
    async with World(clock, limits=limits) as world:
        await stop_reading(world)
        calls = [world.start(world.worker.size(bytes(600))) for _ in range(20)]
        await settle()
        # One frame per turn of the loop, whatever the mark.
        assert transport_of(world.peer)._queued_bytes <= 12_000 + 1_000
        transport_of(world.server_peer).resume_reading()
        assert await asyncio.gather(*calls) == [600] * 20


def watch_queues(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list whose item becomes the most bytes that any transport has queued."""
    peak = [0]
    send = _MemoryTransport.send

    def watch(transport: _MemoryTransport, frame: bytes) -> None:
        send(transport, frame)
        peak[0] = max(peak[0], transport._queued_bytes)

    monkeypatch.setattr(_MemoryTransport, "send", watch)
    return peak


def test_hubs_share_no_limits_by_accident() -> None:
    assert RpcHub().limits == RpcHub().limits


async def test_a_client_that_takes_its_answers_slowly_is_there_and_one_that_takes_none_is_not(
    clock: VirtualClock,
) -> None:
    async with World(clock) as world:
        raw = await RawPeer.connect(world)
        await raw.introduce()
        transport = raw.transport
        assert transport is not None
        # One frame at a time.
        raw.on_message = lambda message: transport.pause_reading()
        transport.pause_reading()
        for call_id in range(1, 21):
            await raw.send(RpcMessage("Worker.Zeros:2", call_id, 0, raw.arguments(100_000)))
        (peer,) = [peer for peer in world.server.server_peers if peer.client_id == "raw"]
        assert peer.link is not None
        assert not peer.link.is_writable

        for _ in range(6):
            await clock.advance(20)
            transport.resume_reading()
            await settle()
            assert raw.closed is None
        assert not peer.link.is_writable

        await clock.advance(2 * world.limits.keep_alive_timeout + 1)
        assert raw.closed is not None
