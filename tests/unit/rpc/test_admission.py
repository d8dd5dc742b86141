"""How many calls of one peer run at once, and what becomes of those that are too many."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from refusion.rpc import RpcCallCancelled, RpcHub, RpcLimits, RpcNoWait, RpcOverloaded, RpcStream, current_peer
from refusion.rpc.protocol import RpcMessage
from refusion.rpc.protocol._system_calls import ERROR, OK
from refusion.rpc.transports import TransportLimits
from refusion.testing import VirtualClock, settle

from .world import RawPeer, Worker, WorkerService, World

LIMITS = RpcLimits(max_running_calls=2, max_queued_calls=4, drain_timeout=0.0)


@pytest.fixture
async def world(clock: VirtualClock) -> AsyncIterator[World]:
    async with World(clock, limits=LIMITS) as world:
        await world.peer.wait_connected()
        yield world


def admission(world: World) -> Any:
    return world.server_peer.admission


async def flood(world: World, count: int, first: int = 0) -> list[asyncio.Task[str]]:
    """Make calls, each in a frame of its own."""
    calls: list[asyncio.Task[str]] = []
    for i in range(first, first + count):
        calls.append(world.start(world.worker.wait(str(i))))
        await settle(3)
    await settle()
    return calls


async def test_so_many_calls_run_and_others_take_their_turn_in_order(world: World) -> None:
    calls = await flood(world, 5)
    assert world.log == ["wait(0)", "wait(1)"]
    assert admission(world).queued_count == 3

    for key in "10":
        world.service.let_go(key)
        await settle()
    assert world.log == ["wait(0)", "wait(1)", "wait(2)", "wait(3)"]

    for key in "234":
        world.service.let_go(key)
    assert await asyncio.gather(*calls) == [f"{i} done" for i in range(5)]
    assert admission(world).queued_count == admission(world).held_bytes == 0


async def test_with_a_full_queue_nothing_more_is_read_and_the_rest_waits_in_the_network(world: World) -> None:
    calls = await flood(world, 20)
    assert admission(world).queued_count == 4
    assert admission(world).is_pausing
    assert len(world.server_peer.inbound) == 6
    for call in calls:
        call.cancel()


async def test_reading_goes_on_when_half_of_the_queue_has_started(world: World) -> None:
    calls = await flood(world, 20)
    world.service.let_go("0")
    await settle()
    assert admission(world).is_pausing
    world.service.let_go("1")
    await settle()
    assert admission(world).queued_count == 4
    assert len(world.server_peer.inbound) == 6
    for i in range(20):
        world.service.let_go(str(i))
        await settle()
    assert await asyncio.gather(*calls) == [f"{i} done" for i in range(20)]
    assert world.log == [f"wait({i})" for i in range(20)]


async def test_a_queued_call_that_is_cancelled_never_runs_and_leaves_its_place(world: World) -> None:
    calls = await flood(world, 5)
    calls[3].cancel()
    await settle()
    assert admission(world).queued_count == 2
    for key in "0124":
        world.service.let_go(key)
    await settle()
    assert world.log == ["wait(0)", "wait(1)", "wait(2)", "wait(4)"]
    assert await asyncio.gather(calls[0], calls[1], calls[2], calls[4]) == ["0 done", "1 done", "2 done", "4 done"]


async def test_the_link_stays_though_its_keep_alives_arent_read_for_a_while(world: World) -> None:
    calls = await flood(world, 20)
    await world.clock.advance(120)
    assert world.network.connection_count == 1
    for i in range(20):
        world.service.let_go(str(i))
    assert await asyncio.gather(*calls) == [f"{i} done" for i in range(20)]


async def test_a_pause_ends_after_a_while_so_that_cancellations_are_heard(world: World) -> None:
    calls = await flood(world, 20)
    for call in calls:
        call.cancel()
    await settle()
    assert world.service.cancelled == []

    await world.clock.advance(10)

    assert world.service.cancelled[:2] == ["0", "1"]
    await world.clock.advance(1)
    assert len(world.server_peer.inbound) == admission(world).queued_count == 0
    assert not admission(world).tasks


async def test_after_a_long_pause_ten_times_the_queue_is_taken_and_then_calls_are_refused(world: World) -> None:
    calls = await flood(world, 50)
    await world.clock.advance(10)
    assert admission(world).queued_count == 40
    with pytest.raises(RpcOverloaded, match="2 calls of this peer are running and 40 wait; come again"):
        await calls[42]
    assert sum(call.done() for call in calls) == 8
    assert len(world.server_peer.inbound) == 42
    for i in range(42):
        world.service.let_go(str(i))
    assert await asyncio.gather(*calls[:42]) == [f"{i} done" for i in range(42)]


async def test_when_the_queue_has_become_shorter_there_may_be_another_pause(world: World) -> None:
    calls = await flood(world, 20)
    await world.clock.advance(10)
    assert not admission(world).is_pausing
    for i in range(18):
        world.service.let_go(str(i))
    await settle()
    calls += await flood(world, 10, first=20)
    assert admission(world).is_pausing
    for i in range(30):
        world.service.let_go(str(i))
    await asyncio.gather(*calls)


async def test_a_new_connection_isnt_read_either_while_the_queue_is_full(world: World) -> None:
    calls = await flood(world, 20)
    await world.cut()
    await world.clock.advance(1)
    assert world.network.connection_count == 2
    calls += await flood(world, 20, first=20)
    # Those that came again came in one frame, of which the rest waits.
    assert admission(world).queued_count == 5
    for i in range(40):
        world.service.let_go(str(i))
    await world.clock.advance(20)
    assert await asyncio.gather(*calls) == [f"{i} done" for i in range(40)]


async def test_calls_that_nobody_waits_for_take_their_turn_too(world: World) -> None:
    class Notes:
        async def note(self, text: str) -> RpcNoWait:
            raise NotImplementedError

    class NotesService(Notes):
        texts: list[str] = []

        async def note(self, text: str) -> RpcNoWait:
            await asyncio.sleep(0)
            self.texts.append(text)
            return RpcNoWait()

    service = NotesService()
    world.server.add_service(Notes, service)
    notes = world.client.client(Notes, world.peer)
    calls = await flood(world, 2)
    for i in range(3):
        await notes.note(str(i))
    await settle()
    assert service.texts == []
    assert admission(world).queued_count == 3
    for i in range(2):
        world.service.let_go(str(i))
    await asyncio.gather(*calls)
    await settle()
    assert service.texts == ["0", "1", "2"]


async def test_methods_that_are_answered_at_once_dont_wait_for_their_turn(world: World) -> None:
    calls = await flood(world, 5)
    assert await world.worker.add(1, 2) == 3
    for call in calls:
        call.cancel()


async def test_one_client_doesnt_take_the_turn_of_another(world: World) -> None:
    calls = await flood(world, 20)
    other = await world.open_hub()
    world.service.let_go("x")
    assert await other.client(Worker, world.url).wait("x") == "x done"
    for call in calls:
        call.cancel()


# What handlers wait for over the same connection


class Relay:
    async def ask(self, key: str, when: str) -> str:
        raise NotImplementedError

    async def total(self, numbers: RpcStream[int], when: str) -> int:
        raise NotImplementedError


class RelayService(Relay):
    def __init__(self, hub: RpcHub, gate: Callable[[str], Any]) -> None:
        self._hub = hub
        self._gate = gate

    async def ask(self, key: str, when: str) -> str:
        await self._gate(when)
        return await self._hub.client(Worker, current_peer()).wait(key)

    async def total(self, numbers: RpcStream[int], when: str) -> int:
        await self._gate(when)
        return sum([number async for number in numbers])


@pytest.mark.parametrize("is_late", [False, True], ids=["before the pause", "after it has begun"])
async def test_handlers_that_wait_for_calls_of_the_client_itself_come_to_an_end(world: World, is_late: bool) -> None:
    relay = RelayService(world.server, world.service.wait)
    if not is_late:
        world.service.let_go("when")
    world.server.add_service(Relay, relay)
    back = WorkerService()
    world.client.add_service(Worker, back)
    client = world.client.client(Relay, world.peer)
    calls = [world.start(client.ask(str(i), "when")) for i in range(20)]
    await settle(60)
    if is_late:
        assert admission(world).is_pausing
        world.service.let_go("when")
    for i in range(20):
        back.let_go(str(i))

    # Without any time passing.
    await settle(400)
    assert [call.result() for call in calls] == [f"{i} done" for i in range(20)]


@pytest.mark.parametrize("is_late", [False, True], ids=["before the pause", "after it has begun"])
async def test_handlers_that_read_streams_of_the_client_come_to_an_end(world: World, is_late: bool) -> None:
    relay = RelayService(world.server, world.service.wait)
    if not is_late:
        world.service.let_go("when")
    world.server.add_service(Relay, relay)
    client = world.client.client(Relay, world.peer)
    calls = [world.start(client.total(RpcStream(range(200)), "when")) for i in range(20)]
    await settle(60)
    if is_late:
        assert admission(world).is_pausing
        world.service.let_go("when")

    await settle(2_000)
    assert [call.result() for call in calls] == [19_900] * 20


# Sizes


class Store:
    async def put(self, key: str, data: bytes) -> str:
        raise NotImplementedError


class StoreService(Store):
    def __init__(self, worker: WorkerService) -> None:
        self._worker = worker

    async def put(self, key: str, data: bytes) -> str:
        return await self._worker.wait(key)


@pytest.fixture
async def small(clock: VirtualClock) -> AsyncIterator[World]:
    limits = RpcLimits(
        max_call_bytes=10_000, drain_timeout=0.0, transport=TransportLimits(high_water=1_000, low_water=100)
    )
    async with World(clock, limits=limits) as world:
        world.server.add_service(Store, StoreService(world.service))
        await world.peer.wait_connected()
        yield world


async def test_calls_with_large_arguments_queue_when_those_that_run_have_enough(small: World) -> None:
    store = small.client.client(Store, small.peer)
    calls = [small.start(store.put(str(i), bytes(3_000))) for i in range(10)]
    await settle(60)
    assert small.log == ["wait(0)", "wait(1)", "wait(2)"]
    assert admission(small).held_bytes == pytest.approx(9_000, abs=50)
    assert admission(small).is_pausing
    assert admission(small).queued_count <= 2

    for i in range(10):
        small.service.let_go(str(i))
    assert await asyncio.gather(*calls) == [f"{i} done" for i in range(10)]
    assert small.log == [f"wait({i})" for i in range(10)]
    assert admission(small).held_bytes == 0


async def test_arguments_larger_than_that_run_alone(small: World) -> None:
    store = small.client.client(Store, small.peer)
    calls = [small.start(store.put(str(i), bytes(30_000))) for i in range(3)]
    await settle(60)
    assert small.log == ["wait(0)"]
    for i in range(3):
        small.service.let_go(str(i))
    assert await asyncio.gather(*calls) == ["0 done", "1 done", "2 done"]


async def test_calls_are_refused_when_those_that_queue_have_as_much_again(small: World) -> None:
    store = small.client.client(Store, small.peer)
    calls = [small.start(store.put(str(i), bytes(3_000))) for i in range(20)]
    await settle(60)
    await small.clock.advance(10)
    await settle(200)
    refused = [call for call in calls if call.done()]
    assert all(isinstance(call.exception(), RpcOverloaded) for call in refused)
    assert len(refused) == 20 - 3 - 4
    assert admission(small)._queued_bytes < 10_000 + 3_050
    for i in range(20):
        small.service.let_go(str(i))
    await asyncio.gather(*calls, return_exceptions=True)
    assert admission(small)._queued_bytes == 0


# The end


async def test_calls_that_queue_are_left_to_the_next_server_when_this_one_is_closed(world: World) -> None:
    calls = await flood(world, 5)
    port = world.listener.port
    await world.server.aclose()
    await world.start_server(port)
    for i in range(5):
        world.service.let_go(str(i))
    await world.clock.advance(5)
    assert await asyncio.gather(*calls) == [f"{i} done" for i in range(5)]
    assert sorted(world.log) == sorted([*["wait(0)", "wait(1)"], *[f"wait({i})" for i in range(5)]])


async def test_queued_calls_of_a_client_that_was_restarted_are_dropped(world: World) -> None:
    raw = await RawPeer.connect(world)
    await raw.introduce("first life")
    for i in range(5):
        await raw.send(RpcMessage("Worker.Wait:2", i + 1, 0, raw.arguments(f"r{i}")))
    second = await RawPeer.connect(world)
    await second.introduce("second life")
    (peer,) = [peer for peer in world.server.server_peers if peer.client_id == "raw"]
    await settle()
    assert world.log == ["wait(r0)", "wait(r1)"]
    assert world.service.cancelled == ["r0", "r1"]
    assert peer.admission.queued_count == len(peer.admission.tasks) == len(peer.inbound) == 0


async def test_queued_calls_of_a_client_that_stays_away_go_with_it(world: World) -> None:
    calls = await flood(world, 20)
    peer = world.server_peer
    world.network.is_refusing = True
    await world.cut()
    await world.clock.advance(180)
    assert world.server.server_peers == ()
    assert peer.admission.queued_count == len(peer.admission.tasks) == len(peer.inbound) == 0
    for call in calls:
        call.cancel()


async def test_a_refused_call_leaves_nothing_and_may_come_again(world: World) -> None:
    raw = await RawPeer.connect(world)
    await raw.introduce()
    assert raw.transport is not None
    for i in range(45):
        raw.transport.send(raw.frame(RpcMessage("Worker.Wait:2", i + 1, 0, raw.arguments(f"r{i}"))))
    await world.clock.advance(11)
    assert raw.methods.count(ERROR) == 3
    assert "ResourceLimit" in raw.format.decode_error(raw.received[-1].args).type_ref
    for i in range(45):
        world.service.let_go(f"r{i}")
    await settle(100)
    await raw.send(RpcMessage("Worker.Wait:2", 43, 0, raw.arguments("r42")))
    assert raw.methods.count(OK) == 43


async def test_a_server_that_is_overloaded_says_so_in_a_way_that_tells_to_try_again() -> None:
    from refusion.errors import TransientError

    assert issubclass(RpcOverloaded, TransientError)
    assert not issubclass(RpcOverloaded, RpcCallCancelled)
