"""The life of hubs, and how they end."""

import asyncio
import gc
import logging

import pytest

from refusion.rpc import RpcConnectionKind, RpcDisconnected, RpcHub, RpcLimits, RpcUnsupportedFormat
from refusion.rpc.transports.memory import Fault, MemoryNetwork
from refusion.testing import VirtualClock, settle

from .world import Worker, WorkerService, World


async def test_closing_a_client_ends_its_calls_and_tells_their_methods(world: World) -> None:
    calls = [world.start(world.worker.wait(key)) for key in "ab"]
    await settle()

    await world.client.aclose()

    for call in calls:
        with pytest.raises(RpcDisconnected, match="because the hub was closed; make a client with an open one"):
            await call
    with pytest.raises(RpcDisconnected):
        await world.worker.add(1, 2)
    assert world.peer.connection_state.kind is RpcConnectionKind.CLOSED
    with pytest.raises(RpcDisconnected):
        await world.peer.wait_connected()


async def test_calls_that_wait_for_a_link_end_with_their_hub(world: World) -> None:
    world.network.is_refusing = True
    await world.cut()
    call = world.start(world.worker.add(1, 2))
    await settle()
    await world.client.aclose()
    with pytest.raises(RpcDisconnected):
        await call


async def test_closing_a_server_cancels_its_methods_without_an_answer_so_that_the_next_one_runs_them(
    world: World,
) -> None:
    call = world.start(world.worker.wait("a"))
    await settle()
    port = world.listener.port

    await world.server.aclose()
    assert world.service.cancelled == ["a"]
    await settle()
    assert not call.done()

    await world.start_server(port)
    await world.clock.advance(5)
    world.service.let_go("a")
    assert await call == "a done"


async def test_a_server_that_closes_lets_its_methods_end_first(world: World) -> None:
    call = world.start(world.worker.wait("a"))
    await settle()
    closing = world.start(world.server.aclose(drain_timeout=10.0))
    await world.clock.advance(9.0)
    assert not closing.done()
    world.service.let_go("a")
    assert await call == "a done"
    await closing


async def test_a_server_that_closes_doesnt_wait_for_its_methods_for_good(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.start(world.worker.wait("a"))
    await settle()
    closing = world.start(world.server.aclose(drain_timeout=10.0))
    await world.clock.advance(9.0)
    assert not closing.done()
    await world.clock.advance(2.0)
    await closing
    del closing
    gc.collect()
    assert world.service.cancelled == ["a"]
    assert caplog.text == ""


async def test_closing_leaves_no_task_and_no_timer(clock: VirtualClock) -> None:
    before = asyncio.all_tasks()
    async with World(clock) as world:
        calls = [world.start(world.worker.wait(key)) for key in "ab"]
        await settle()
        await world.cut()
    await asyncio.gather(*calls, return_exceptions=True)
    assert asyncio.all_tasks() == before
    assert clock.pending_timers == 0


async def test_closing_during_a_connection_attempt_leaves_nothing(clock: VirtualClock) -> None:
    before = asyncio.all_tasks()
    network = MemoryNetwork()
    for turns in range(6):
        async with RpcHub(transport=network) as server, RpcHub(transport=network) as client:
            server.add_service(Worker, WorkerService())
            client.peer((await server.serve()).url)
            await settle(turns)
    await settle()
    assert asyncio.all_tasks() == before
    assert clock.pending_timers == 0


async def test_all_who_close_a_hub_return_when_it_is_closed(world: World) -> None:
    await world.peer.wait_connected()
    closing = [world.start(world.client.aclose()) for _ in range(3)]
    await closing[1]
    assert world.peer.connection_state.kind is RpcConnectionKind.CLOSED
    await asyncio.gather(*closing)


async def test_a_cancelled_closing_goes_on(world: World) -> None:
    await world.peer.wait_connected()
    closing = world.start(world.client.aclose())
    await asyncio.sleep(0)
    closing.cancel()
    await settle()
    assert world.peer.connection_state.kind is RpcConnectionKind.CLOSED


async def test_a_method_may_close_the_hub_that_runs_it(world: World) -> None:
    class Stop:
        async def stop(self) -> None:
            raise NotImplementedError

    class StopService(Stop):
        async def stop(self) -> None:
            await world.server.aclose()

    world.server.add_service(Stop, StopService())
    call = world.start(world.client.client(Stop, world.peer).stop())
    await settle()
    assert world.server.server_peers == ()
    call.cancel()


async def test_a_method_that_doesnt_stop_is_waited_for_a_while(world: World, caplog: pytest.LogCaptureFixture) -> None:
    end = asyncio.Event()

    class Stubborn(WorkerService):
        async def wait(self, key: str) -> str:
            while not end.is_set():
                try:
                    await end.wait()
                except asyncio.CancelledError:
                    continue
            return key

    world.service.__class__ = Stubborn
    call = world.start(world.worker.wait("a"))
    await settle()
    closing = world.start(world.server.aclose())
    await world.clock.advance(4.9)
    assert not closing.done()

    await world.clock.advance(0.2)

    assert closing.done()
    assert "were still busy" in caplog.text
    end.set()
    call.cancel()
    await settle()


async def test_a_link_that_doesnt_close_is_cut(clock: VirtualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    async with World(clock, limits=RpcLimits(close_timeout=1.0, drain_timeout=0.0)) as world:
        await world.worker.add(0, 0)
        assert world.peer.link is not None
        transport = world.peer.link._transport
        monkeypatch.setattr(transport, "close", lambda code=0, reason="": None)
        closing = world.start(world.client.aclose())
        await clock.advance(0.9)
        assert not closing.done()
        await clock.advance(0.2)
        assert closing.done()


async def test_a_hub_belongs_to_one_event_loop(world: World) -> None:
    def elsewhere() -> None:
        async def use() -> None:
            world.client.peer("ws://memory:5")

        asyncio.run(use())

    with pytest.raises(RuntimeError, match="make one for each loop"):
        await asyncio.to_thread(elsewhere)


def test_a_hub_can_be_made_and_filled_without_an_event_loop() -> None:
    hub = RpcHub()
    hub.add_service(Worker, WorkerService())
    with pytest.raises(RuntimeError):
        hub.peer("ws://localhost:1")


def test_hubs_can_be_used_in_one_event_loop_after_another() -> None:
    async def use() -> int:
        network = MemoryNetwork()
        async with RpcHub(transport=network) as server, RpcHub(transport=network) as client:
            server.add_service(Worker, WorkerService())
            return await client.client(Worker, (await server.serve()).url).add(1, 2)

    assert [asyncio.run(use()) for _ in range(2)] == [3, 3]


def test_unknown_formats_and_transports_are_refused() -> None:
    with pytest.raises(RpcUnsupportedFormat, match="known here: msgpack6c"):
        RpcHub(format="xml")
    with pytest.raises(LookupError, match="no transport named 'pigeon'"):
        RpcHub(transport="pigeon")


async def test_a_closed_hub_can_neither_serve_nor_connect(world: World) -> None:
    await world.client.aclose()
    with pytest.raises(RpcDisconnected, match="the hub is closed; make a new one"):
        await world.client.serve()
    with pytest.raises(RpcDisconnected, match="the hub is closed; make a new one"):
        world.client.client(Worker, "ws://memory:9")


async def test_nothing_is_logged_in_a_quiet_life(clock: VirtualClock, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="refusion"):
        async with World(clock) as world:
            assert await world.worker.add(1, 2) == 3
            await clock.advance(100)
    assert caplog.records == []


async def test_closing_one_of_several_servers_leaves_the_connections_of_the_others(world: World) -> None:
    other = await world.open_hub()
    listener = await other.serve()
    peer = world.client.peer(listener.url)
    await peer.wait_connected()
    await other.aclose()
    await settle()
    assert not peer.is_connected
    assert world.peer.is_connected
    assert world.network.connection_count == 2


async def test_a_server_that_is_lost_from_sight_is_closed_without_waiting(clock: VirtualClock) -> None:
    async with World(clock) as world:
        await world.worker.add(1, 2)
        world.network.fault = lambda direction, frame: Fault.LOSE
        call = world.start(world.worker.wait("a"))
        await settle()
        await world.client.aclose()
        with pytest.raises(RpcDisconnected):
            await call


async def test_who_wants_to_know_is_told_of_each_new_peer_and_of_the_end(world: World) -> None:
    hub = await world.open_hub()
    peers: list[object] = []
    closed: list[object] = []
    stop = hub.on_peer_opened(peers.append)
    hub.on_closed(closed.append)

    first = hub.peer(world.url)
    assert hub.peer(world.url) is first
    await first.aclose()
    second = hub.peer(world.url)
    assert peers == [first, second]

    stop()
    hub.peer("ws://memory:9")
    assert peers == [first, second]
    assert closed == []
    await hub.aclose()
    assert closed == [hub]
