"""The end of a hub that is at work: what is under way may end, and what comes is left to the next server."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from refusion import collect
from refusion.rpc import RpcDisconnected, RpcHub, RpcLimits
from refusion.testing import VirtualClock, settle
from tests.unit.remote.stage import RemoteStage

from .world import Worker, WorkerService, World


@pytest.fixture
async def world(clock: VirtualClock) -> AsyncIterator[World]:
    async with World(clock, limits=RpcLimits()) as world:
        await world.peer.wait_connected()
        yield world


async def test_handlers_that_run_end_and_are_answered(world: World) -> None:
    calls = [world.start(world.worker.wait(key)) for key in "ab"]
    await settle()
    closing = world.start(world.server.aclose())
    await settle()
    assert not closing.done()

    world.service.let_go("a")
    await settle()
    assert await calls[0] == "a done"
    assert not closing.done()
    world.service.let_go("b")
    await settle()

    assert await calls[1] == "b done"
    assert closing.done()
    assert world.service.cancelled == []


async def test_without_anything_under_way_closing_takes_no_time(world: World) -> None:
    await world.worker.add(1, 2)
    closing = world.start(world.server.aclose())
    await settle()
    assert closing.done()


async def test_calls_that_come_meanwhile_are_left_to_the_next_server(world: World) -> None:
    old = world.start(world.worker.wait("a"))
    await settle()
    port = world.listener.port
    closing = world.start(world.server.aclose())
    await settle()
    new = [world.start(world.worker.wait("b")), world.start(world.worker.add(1, 2))]
    await settle()
    assert world.log == ["wait(a)"]
    world.service.let_go("a")
    await settle()
    assert await old == "a done"
    assert closing.done()
    assert not any(call.done() for call in new)

    await world.start_server(port)
    world.service.let_go("b")
    await world.clock.advance(5)

    assert await asyncio.gather(*new) == ["b done", 3]
    assert sorted(world.log) == ["add(1, 2)", "wait(a)", "wait(b)"]


async def test_calls_that_queue_are_still_run(clock: VirtualClock) -> None:
    async with World(clock, limits=RpcLimits(max_running_calls=1)) as world:
        calls = [world.start(world.worker.wait(key)) for key in "abc"]
        await settle()
        closing = world.start(world.server.aclose())
        await settle()
        for key in "abc":
            world.service.let_go(key)
        await settle(60)
        assert await asyncio.gather(*calls) == ["a done", "b done", "c done"]
        assert closing.done()


async def test_a_call_that_is_under_way_and_comes_again_is_answered_meanwhile(world: World) -> None:
    call = world.start(world.worker.wait("a"))
    await settle()
    closing = world.start(world.server.aclose())
    await settle()
    await world.cut()
    world.service.let_go("a")
    await settle()
    # Nobody is let in any more, so its answer is lost, and the next server runs it.
    assert closing.done()
    await world.start_server(world.listener.port)
    await world.clock.advance(5)
    assert await call == "a done"
    assert world.log == ["wait(a)", "wait(a)"]


async def test_after_the_time_handlers_are_cancelled_and_not_answered(world: World) -> None:
    call = world.start(world.worker.wait("a"))
    await settle()
    closing = world.start(world.server.aclose())
    await world.clock.advance(4.9)
    assert not closing.done()
    assert world.service.cancelled == []
    await world.clock.advance(0.2)
    assert closing.done()
    assert world.service.cancelled == ["a"]
    assert not call.done()


async def test_how_long_may_be_said_when_closing(world: World) -> None:
    call = world.start(world.worker.wait("a"))
    await settle()
    closing = world.start(world.server.aclose(drain_timeout=20.0))
    await world.clock.advance(19.9)
    assert not closing.done()
    world.service.let_go("a")
    await settle()
    assert await call == "a done"
    assert closing.done()


async def test_a_client_waits_for_answers_that_can_come(world: World) -> None:
    call = world.start(world.worker.wait("a"))
    await settle()
    closing = world.start(world.client.aclose())
    await world.clock.advance(1)
    assert not closing.done()
    world.service.let_go("a")
    await settle()
    assert await call == "a done"
    assert closing.done()


async def test_after_the_time_calls_of_a_client_end_with_an_error_that_says_why(world: World) -> None:
    call = world.start(world.worker.wait("a"))
    await settle()
    closing = world.start(world.client.aclose())
    await world.clock.advance(5.1)
    assert closing.done()
    with pytest.raises(RpcDisconnected, match="because the hub was closed; make a client with an open one"):
        await call
    assert world.service.cancelled == []


async def test_a_client_without_a_link_waits_for_no_answers(world: World) -> None:
    world.network.is_refusing = True
    await world.cut()
    call = world.start(world.worker.wait("a"))
    await settle()
    closing = world.start(world.client.aclose())
    await settle()
    assert closing.done()
    with pytest.raises(RpcDisconnected):
        await call


async def test_new_calls_of_a_closing_client_are_refused_only_when_it_is_closed(world: World) -> None:
    first = world.start(world.worker.wait("a"))
    await settle()
    closing = world.start(world.client.aclose())
    await settle()
    assert await world.worker.add(1, 2) == 3
    world.service.let_go("a")
    await settle()
    assert await first == "a done"
    assert closing.done()
    with pytest.raises(RpcDisconnected):
        await world.worker.add(1, 2)


async def test_who_leaves_the_block_with_an_error_waits_for_nothing(clock: VirtualClock) -> None:
    async with World(clock) as world:
        with pytest.raises(KeyError):
            async with RpcHub(transport=world.network) as hub:
                hub.add_service(Worker, world.service)
                server = await hub.serve()
                call = world.start(world.client.client(Worker, server.url).wait("a"))
                await settle()
                raise KeyError
        assert world.service.cancelled == ["a"]
        assert not call.done()
        call.cancel()


async def test_who_leaves_the_block_without_an_error_waits_for_what_is_under_way(clock: VirtualClock) -> None:
    async with World(clock) as world:

        async def serve() -> None:
            async with RpcHub(transport=world.network) as hub:
                hub.add_service(Worker, world.service)
                calls.append(world.start(world.client.client(Worker, (await hub.serve()).url).wait("a")))
                await settle()

        calls: list[asyncio.Task[str]] = []
        serving = world.start(serve())
        await settle(60)
        assert not serving.done()
        world.service.let_go("a")
        await settle()
        assert serving.done()
        assert await calls[0] == "a done"


class Stop:
    async def stop(self, key: str) -> str:
        raise NotImplementedError


class StopService(Stop):
    def __init__(self, hub: RpcHub, worker: WorkerService) -> None:
        self._hub = hub
        self._worker = worker
        self.ended: list[str] = []

    async def stop(self, key: str) -> str:
        if key:
            await self._worker.wait(key)
        try:
            await self._hub.aclose()
        finally:
            self.ended.append(key)
        return "stopped"


async def test_a_handler_that_closes_its_own_hub_doesnt_wait_for_itself(world: World) -> None:
    service = StopService(world.server, world.service)
    world.server.add_service(Stop, service)
    stopping = world.start(world.client.client(Stop, world.peer).stop(""))
    await settle(60)
    assert service.ended == [""]
    assert world.server.server_peers == ()
    stopping.cancel()


async def test_a_handler_that_closes_its_own_hub_waits_for_the_others(world: World) -> None:
    service = StopService(world.server, world.service)
    world.server.add_service(Stop, service)
    other = world.start(world.worker.wait("a"))
    await settle()
    stopping = world.start(world.client.client(Stop, world.peer).stop(""))
    await settle(60)
    assert service.ended == []
    world.service.let_go("a")
    await settle(60)
    assert await other == "a done"
    assert service.ended == [""]
    stopping.cancel()


async def test_handlers_that_close_a_hub_which_is_closing_already_arent_waited_for(world: World) -> None:
    service = StopService(world.server, world.service)
    world.server.add_service(Stop, service)
    stop = world.client.client(Stop, world.peer)
    stopping = [world.start(stop.stop(key)) for key in "ab"]
    await settle()
    closing = world.start(world.server.aclose())
    await settle()
    for key in "ab":
        world.service.let_go(key)
    # No time passes.
    await settle(100)
    assert closing.done()
    assert sorted(service.ended) == ["a", "b"]
    for call in stopping:
        call.cancel()


async def test_a_thousand_handlers_that_end_one_by_one_are_waited_for_at_little_cost(world: World) -> None:
    calls = [world.start(world.worker.wait(str(i))) for i in range(1_000)]
    await settle(100)
    closing = world.start(world.server.aclose())
    await settle()
    waits = 0
    wait = asyncio.wait

    async def counted(*args: object, **options: object) -> object:
        nonlocal waits
        waits += 1
        return await wait(*args, **options)  # type: ignore[call-overload]

    asyncio.wait = counted  # type: ignore[assignment]
    try:
        for i in range(1_000):
            world.service.let_go(str(i))
            await settle(2)
        await settle(60)
    finally:
        asyncio.wait = wait
    assert closing.done()
    assert waits < 20
    assert await asyncio.gather(*calls) == [f"{i} done" for i in range(1_000)]


async def test_streams_dont_hold_up_the_end(world: World) -> None:
    from .stream_world import StreamWorld

    async with StreamWorld(world.clock) as streams:
        reader = aiter(await streams.api.count(1_000_000))
        assert await anext(reader) == 0
        closing = streams.start(streams.server.aclose(drain_timeout=5.0))
        await settle(60)
        assert closing.done()
        assert streams.streams.closed == ["count"]


async def test_answered_compute_calls_dont_hold_up_the_end_and_are_invalidated_by_the_next_server() -> None:
    with VirtualClock() as clock:
        stage = RemoteStage(clock)
        await stage.start()
        replica = await stage.client.get.capture("a")
        closing = asyncio.create_task(stage.server.aclose(drain_timeout=5.0))
        await settle(60)
        assert closing.done()
        assert replica.is_consistent
        await stage.start_server()
        await clock.advance(10)
        assert replica.is_invalidated
        await stage.aclose()
        collect()


async def test_a_compute_call_that_is_under_way_is_answered_before_the_end() -> None:
    with VirtualClock() as clock:
        stage = RemoteStage(clock)
        await stage.start()
        stage.service.gates["a"] = asyncio.Event()
        reading = asyncio.create_task(stage.client.get("a"))
        await settle()
        closing = asyncio.create_task(stage.server.aclose(drain_timeout=5.0))
        await settle()
        assert not closing.done()
        stage.service.gates["a"].set()
        assert await reading == 0
        await settle()
        assert closing.done()
        await stage.aclose()
        collect()
