"""Cancellations that fall into an outage: nothing goes on for nobody."""

import pytest

from refusion import collect
from refusion.rpc import _cancellations
from refusion.rpc.protocol import Handshake, RpcMessage
from refusion.rpc.protocol._system_calls import CANCEL, HANDSHAKE, INVALIDATE, KEEP_ALIVE, OK
from refusion.rpc.transports import TransportLimits
from refusion.rpc.transports.memory import Direction, Fault
from refusion.testing import VirtualClock, settle
from tests.unit.remote.stage import URL, RemoteStage

from .world import RawPeer, World


async def test_a_call_that_is_cancelled_during_an_outage_is_cancelled_there_after_it(world: World) -> None:
    call = world.start(world.worker.wait("a"))
    await settle()
    await world.cut()
    call.cancel()
    await settle()
    assert world.service.cancelled == []

    await world.clock.advance(5)

    assert world.service.cancelled == ["a"]
    assert len(world.peer.outbound) == len(world.server_peer.inbound) == 0


async def test_a_cancellation_that_is_lost_with_the_link_is_said_again(world: World) -> None:
    call = world.start(world.worker.wait("a"))
    await settle()
    world.fault_once(Direction.TO_SERVER, Fault.LOSE_AND_CUT)
    call.cancel()
    await world.clock.advance(5)
    assert world.service.cancelled == ["a"]
    assert len(world.server_peer.inbound) == 0


async def test_a_cancellation_that_a_half_open_link_has_swallowed_is_said_again(world: World) -> None:
    call = world.start(world.worker.wait("a"))
    await settle()
    world.network.fault = lambda direction, frame: Fault.LOSE
    call.cancel()
    await world.clock.advance(24)
    world.network.fault = lambda direction, frame: None
    await world.clock.advance(5)
    assert world.network.connection_count == 2
    assert world.service.cancelled == ["a"]


async def test_a_call_that_has_run_out_of_time_during_an_outage_is_cancelled_after_it(world: World) -> None:
    call = world.start(world.worker.wait("a"))
    await settle()
    (outbound,) = world.peer.outbound
    await world.cut()
    outbound._not_answered(1.0)
    with pytest.raises(TimeoutError):
        await call
    await world.clock.advance(5)
    assert world.service.cancelled == ["a"]


async def test_another_server_isnt_told_of_calls_that_it_never_had(world: World) -> None:
    call = world.start(world.worker.wait("a"))
    await settle()
    await world.restart_server()
    call.cancel()
    await settle()
    received: list[str] = []
    handlers = world.server.table.handlers
    handlers[CANCEL] = lambda peer, message: received.append(message.method)  # type: ignore[index]
    await world.clock.advance(5)
    assert world.peer.is_connected
    assert received == []
    assert len(world.peer.cancellations) == 0


async def test_a_cancellation_is_forgotten_after_a_while_with_a_link(world: World) -> None:
    call = world.start(world.worker.wait("a"))
    await settle()
    call.cancel()
    await settle()
    await world.clock.advance(34)
    assert len(world.peer.cancellations) == 1
    await world.clock.advance(12)
    assert len(world.peer.cancellations) == 0


async def test_of_very_many_cancellations_the_oldest_are_forgotten(
    clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_cancellations, "_MAX_REMEMBERED", 10)
    async with World(clock) as world:
        calls = [world.start(world.worker.wait(str(i))) for i in range(20)]
        await settle()
        await world.cut()
        for call in calls:
            call.cancel()
        await settle()
        await clock.advance(5)
        assert world.service.cancelled == [str(i) for i in range(10, 20)]


async def test_a_closed_peer_has_nothing_to_say(world: World) -> None:
    call = world.start(world.worker.wait("a"))
    await settle()
    await world.cut()
    call.cancel()
    await settle()
    await world.client.aclose()
    assert len(world.peer.cancellations) == 0


# Compute calls


async def test_a_replica_that_is_dropped_during_an_outage_is_released_there_after_it() -> None:
    with VirtualClock() as clock:
        stage = RemoteStage(clock)
        await stage.start()
        replica = await stage.client.get.capture("a")
        await stage.cut()
        replica.invalidate(immediately=True)
        await settle()
        assert stage.open_calls == (0, 1)
        await stage.reconnect()
        assert stage.open_calls == (0, 0)
        await stage.aclose()
        collect()


async def connect(stage: RemoteStage) -> RawPeer:
    raw = RawPeer()
    await stage.network.connect(f"{URL}?clientId=raw&f=msgpack6", raw, TransportLimits())
    await raw.send(RpcMessage(HANDSHAKE, 0, 0, raw.format.encode_handshake(Handshake("raw-peer", "raw-hub", 1))))
    return raw


async def test_a_client_that_doesnt_ask_about_its_calls_is_told_what_was_invalidated_during_the_outage() -> None:
    """As TypeScript clients, which drop all replicas on a reconnect."""
    with VirtualClock() as clock:
        stage = RemoteStage(clock)
        await stage.start()
        raw = await connect(stage)
        for call_id, key in enumerate("abc", 1):
            await raw.send(RpcMessage("CounterApi.Get:2", call_id, 1, raw.arguments(key)))
        assert raw.methods == [OK] * 3
        (peer,) = [peer for peer in stage.server.server_peers if peer.client_id == "raw"]
        stage.network.cut()
        await settle()
        stage.service.change("a", 1)
        stage.service.change("b", 2)
        await settle()
        assert len(peer.inbound) == 3

        second = await connect(stage)
        await clock.advance(9)
        assert second.methods == []
        await clock.advance(1)

        assert [method for method in second.methods if method != KEEP_ALIVE] == [OK, INVALIDATE] * 2
        assert [call.id for call in peer.inbound] == [3]
        stage.service.change("c", 3)
        await settle()
        assert len(peer.inbound) == 0
        await stage.aclose()
        collect()


async def test_what_was_invalidated_during_an_outage_is_told_at_once_to_who_asks() -> None:
    with VirtualClock() as clock:
        stage = RemoteStage(clock)
        await stage.start()
        replica = await stage.client.get.capture("a")
        await stage.cut()
        stage.service.change("a", 1)
        await stage.reconnect()
        assert replica.is_invalidated
        assert stage.open_calls == (0, 0)
        assert await stage.client.get("a") == 1
        await stage.aclose()
        collect()


async def test_replicas_that_couldnt_be_asked_about_are_released_there() -> None:
    with VirtualClock() as clock:
        stage = RemoteStage(clock)
        await stage.start()
        replica = await stage.client.get.capture("a")
        question: list[bytes] = []

        def lose_answer(direction: Direction, frame: bytes) -> Fault | None:
            if direction is Direction.TO_SERVER:
                return None
            question.append(frame)
            return Fault.LOSE if len(question) == 2 else None

        await stage.cut()
        stage.network.fault = lose_answer
        await stage.reconnect()
        assert replica.is_invalidated
        assert stage.open_calls == (0, 0)
        await stage.aclose()
        collect()
