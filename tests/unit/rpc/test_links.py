"""Connections: introduction, silence, back-off, and what strangers send."""

import asyncio
import logging

import pytest

from refusion.rpc import (
    RpcClientPeer,
    RpcConnectionKind,
    RpcConnectionState,
    RpcDisconnected,
    RpcHub,
    RpcUnsupportedFormat,
)
from refusion.rpc.protocol import Handshake, RpcMessage
from refusion.rpc.protocol._system_calls import CANCEL, DISCONNECT, ERROR, HANDSHAKE, KEEP_ALIVE, NOT_FOUND, OK
from refusion.rpc.transports import ConnectionRequest, Rejection
from refusion.testing import VirtualClock, settle

from .world import RawPeer, Worker, World


async def drain_states(peer: RpcClientPeer, states: list[RpcConnectionState]) -> None:
    while True:
        states.append(await peer.wait_state_change())


# The client's side


async def test_a_client_connects_by_itself_and_says_so(world: World) -> None:
    peer = (await world.open_hub()).peer(world.url)
    assert not peer.is_connected
    assert peer.connection_state.kind is RpcConnectionKind.CONNECTING
    assert peer.remote_hub_id is None

    await peer.wait_connected()

    assert peer.is_connected
    assert peer.connection_state == RpcConnectionState(RpcConnectionKind.CONNECTED, world.clock.now())
    assert peer.remote_hub_id == world.server.id


async def test_handlers_are_told_of_each_state_as_it_comes_until_they_stop(world: World) -> None:
    states: list[RpcConnectionState] = []
    stop = world.peer.on_state_changed(states.append)
    await world.cut()
    world.peer.reconnect()
    await world.peer.wait_connected()
    stop()
    await world.cut()
    kinds = [RpcConnectionKind.DISCONNECTED, RpcConnectionKind.CONNECTING, RpcConnectionKind.CONNECTED]
    assert [state.kind for state in states] == kinds


async def test_attempts_to_connect_come_with_growing_pauses(world: World) -> None:
    world.network.is_refusing = True
    states: list[RpcConnectionState] = []
    watching = world.start(drain_states((await world.open_hub()).peer(world.url), states))
    await world.clock.advance(120)
    watching.cancel()

    pauses = [state.reconnects_at - state.since for state in states if state.reconnects_at is not None]
    assert pauses[0] == pytest.approx(0.1, rel=0.11)
    assert pauses[4] == pytest.approx(0.4, rel=0.11)
    assert pauses[-1] == pytest.approx(10.0, rel=0.11)
    failed = [state for state in states if state.kind is RpcConnectionKind.DISCONNECTED]
    assert [state.try_index for state in failed] == list(range(1, len(failed) + 1))
    assert "nobody listens there" in str(failed[0].error)


async def test_while_it_pauses_a_client_tells_when_it_goes_on(world: World) -> None:
    await world.peer.wait_connected()
    assert world.peer.reconnects_at is None
    world.network.is_refusing = True
    await world.cut()
    assert world.peer.reconnects_at is not None
    assert world.peer.reconnects_at > world.clock.now()


async def test_a_pause_can_be_ended(world: World) -> None:
    await world.peer.wait_connected()
    await world.cut()
    assert not world.peer.is_connected
    world.peer.reconnect()
    await settle()
    assert world.peer.is_connected


async def test_a_server_that_crashes_soon_after_each_start_sees_growing_pauses(world: World) -> None:
    pauses: list[float] = []
    for _ in range(6):
        await world.peer.wait_connected()
        await world.clock.advance(5)
        await world.cut()
        state = world.peer.connection_state
        assert state.reconnects_at is not None
        pauses.append(state.reconnects_at - state.since)
        await world.clock.advance(2)
    assert all(later > earlier for earlier, later in zip(pauses, pauses[2:], strict=False))


async def test_after_a_connection_that_has_lasted_the_first_attempt_comes_at_once(world: World) -> None:
    for _ in range(3):
        await world.peer.wait_connected()
        await world.cut()
        await world.clock.advance(2)
    await world.clock.advance(15)

    await world.cut()
    await world.clock.advance(0)

    assert world.peer.is_connected


async def test_a_client_that_disconnects_comes_back_with_its_calls(world: World) -> None:
    call = world.start(world.worker.wait("a"))
    await settle()
    world.peer.disconnect()
    await settle()
    assert not world.peer.is_connected
    await world.clock.advance(2)
    world.service.let_go("a")
    assert await call == "a done"


async def test_a_client_is_the_same_client_on_each_connection(world: World) -> None:
    await world.worker.add(1, 2)
    peer = world.server_peer
    await world.cut()
    await world.clock.advance(2)
    await world.worker.add(1, 2)
    assert world.server_peer is peer
    assert peer.handshake_index == 2


async def test_a_format_that_the_server_doesnt_know_ends_the_client_for_good(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    attempts = 0

    def accept(request: ConnectionRequest) -> Rejection:
        nonlocal attempts
        attempts += 1
        return Rejection("Unsupported RPC serialization format: 'msgpack6c'", close_code=4001)

    listener = await world.network.listen("", 78, accept, world.client.limits.transport)
    peer = world.client.peer(listener.url)
    worker = world.client.client(Worker, peer)
    with pytest.raises(RpcUnsupportedFormat):
        await worker.add(1, 2)
    await world.clock.advance(600)

    assert attempts == 1
    assert peer.connection_state.kind is RpcConnectionKind.CLOSED
    for _ in range(2):
        with pytest.raises(RpcUnsupportedFormat):
            await worker.add(1, 2)
    with pytest.raises(RpcUnsupportedFormat):
        await peer.wait_connected()
    assert "gives up" in caplog.text


async def test_a_transport_that_fails_in_unheard_of_ways_is_tried_again(
    world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = type(world.network).connect
    failures = [KeyError("no such proxy")]

    async def connect_badly(*args: object) -> object:
        if failures:
            raise failures.pop()
        return await connect(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(type(world.network), "connect", connect_badly)
    call = world.start((await world.open_hub()).client(Worker, world.url).add(1, 2))
    await world.clock.advance(5)

    assert await call == 3
    assert "no such proxy" in caplog.text


async def test_a_server_that_never_introduces_itself_is_left(world: World, caplog: pytest.LogCaptureFixture) -> None:
    silent: list[RawPeer] = []

    def accept(request: ConnectionRequest) -> RawPeer:
        silent.append(RawPeer("msgpack6c"))
        return silent[-1]

    listener = await world.network.listen("", 79, accept, world.client.limits.transport)
    peer = world.client.peer(listener.url)
    await world.clock.advance(9.9)
    assert silent[0].closed is None
    assert not peer.is_connected

    await world.clock.advance(0.2)

    assert silent[0].closed == (1002, "there was no handshake in time")
    await world.clock.advance(1)
    assert len(silent) == 2


# Signs of life


async def test_both_sides_say_every_ten_seconds_that_they_are_there(world: World) -> None:
    raw = await RawPeer.connect(world)
    await raw.introduce()
    await world.clock.advance(9.9)
    assert raw.methods == []
    await world.clock.advance(0.2)
    assert raw.methods == [KEEP_ALIVE]
    await world.clock.advance(10)
    assert raw.methods == [KEEP_ALIVE, KEEP_ALIVE]


async def test_an_idle_link_stays(world: World) -> None:
    await world.peer.wait_connected()
    await world.clock.advance(3600)
    assert world.peer.is_connected
    assert world.network.connection_count == 1


async def test_silence_ends_a_link_after_25_seconds_whatever_else_was_said(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    raw = await RawPeer.connect(world)
    await raw.introduce()
    await world.clock.advance(20)
    await raw.send(RpcMessage("Worker.Add:3", 1, 0, raw.arguments(1, 2)))
    assert OK in raw.methods
    await world.clock.advance(4.9)
    assert raw.closed is None

    await world.clock.advance(0.2)

    assert raw.closed is not None
    assert "nothing was heard of the other side" in caplog.text


async def test_a_keep_alive_gives_another_25_seconds(world: World) -> None:
    raw = await RawPeer.connect(world)
    await raw.introduce()
    await world.clock.advance(20)
    await raw.send(RpcMessage(KEEP_ALIVE, 0, 0, b"\x90"))
    await world.clock.advance(24.9)
    assert raw.closed is None
    await world.clock.advance(0.2)
    assert raw.closed is not None


async def test_objects_that_nobody_shares_are_told_to_be_gone(world: World) -> None:
    raw = await RawPeer.connect(world)
    await raw.introduce()
    await raw.send(RpcMessage(KEEP_ALIVE, 0, 0, b"\x92\x05\x06"))
    (answer,) = raw.received[1:]
    assert (answer.method, answer.args) == (DISCONNECT, b"\x92\x05\x06")


# The server's side, and what strangers send


async def test_a_server_introduces_itself_at_once_and_says_nothing_else_before_the_client_does(world: World) -> None:
    raw = await RawPeer.connect(world)
    await settle()
    assert [message.method for message in raw.received] == [HANDSHAKE]
    assert (raw.handshake.remote_hub_id, raw.handshake.index) == (world.server.id, 1)
    await world.clock.advance(9)
    assert len(raw.received) == 1


async def test_a_server_has_the_same_id_for_a_client_that_comes_back(world: World) -> None:
    first = await RawPeer.connect(world)
    await first.introduce()
    await first.send(RpcMessage(KEEP_ALIVE, 0, 0, first.format.arguments((list[int],)).encode(([],))))
    second = await RawPeer.connect(world)
    await second.introduce(index=2)
    assert second.handshake.remote_peer_id == first.handshake.remote_peer_id
    assert second.handshake.index == 2


async def test_the_same_client_id_with_another_format_is_another_peer(world: World) -> None:
    first = await RawPeer.connect(world)
    second = await RawPeer.connect(world, format="json5np")
    await settle()
    assert second.handshake.remote_peer_id != first.handshake.remote_peer_id


async def test_the_newest_connection_of_a_client_wins(world: World) -> None:
    first = await RawPeer.connect(world)
    await first.introduce()
    second = await RawPeer.connect(world)
    await settle()
    assert first.closed is not None
    await second.introduce(index=2)
    await second.send(RpcMessage("Worker.Add:3", 1, 0, second.arguments(1, 2)))
    assert second.methods == [OK]


async def test_what_still_comes_on_a_connection_that_was_replaced_is_left_to_the_new_one(world: World) -> None:
    first = await RawPeer.connect(world)
    await first.introduce()
    (peer,) = [peer for peer in world.server.server_peers if peer.client_id == "raw"]
    old_link = peer.link
    assert old_link is not None
    await RawPeer.connect(world)
    await settle()

    old_link.frame_received(first.frame(RpcMessage("Worker.Add:3", 1, 0, first.arguments(1, 2))), is_text=False)
    await settle()

    assert world.log == []


async def test_a_call_that_arrives_at_a_closing_peer_isnt_run(world: World) -> None:
    raw = await RawPeer.connect(world)
    await raw.introduce()
    (peer,) = [peer for peer in world.server.server_peers if peer.client_id == "raw"]
    peer.end_calls()
    await raw.send(RpcMessage("Worker.Add:3", 1, 0, raw.arguments(1, 2)))
    assert raw.methods == []
    assert world.log == []


async def test_a_client_that_was_followed_by_another_of_its_id_is_a_changed_peer(world: World) -> None:
    first = await RawPeer.connect(world)
    await first.introduce("one")
    await first.send(RpcMessage("Worker.Wait:2", 1, 0, first.arguments("a")))

    second = await RawPeer.connect(world)
    await second.introduce("two")

    assert world.service.cancelled == ["a"]
    await second.send(RpcMessage("Worker.Add:3", 1, 0, second.arguments(1, 2)))
    assert second.methods == [OK]


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        (RpcMessage("Worker.Add:3", 1, 0, b"\x01\x02"), "instead of a handshake"),
        (RpcMessage(HANDSHAKE, 1, 0, b""), "instead of a handshake"),
        (RpcMessage(HANDSHAKE, 0, 1, b""), "instead of a handshake"),
        (RpcMessage(HANDSHAKE, 0, 0, b""), "malformed handshake"),
        (RpcMessage(HANDSHAKE, 0, 0, b"\x95\x01\x02\x03\x04\x05"), "malformed handshake"),
        (RpcMessage(HANDSHAKE, 0, 0, b"\x95\xa1a\xc0\xa1b\x03\x01"), "version 3"),
        (RpcMessage(HANDSHAKE, 0, 0, b"\x95\xa0\xc0\xa1b\x02\x01"), "names no peer"),
    ],
)
async def test_who_doesnt_introduce_itself_properly_is_shown_the_door(
    world: World, message: RpcMessage, problem: str
) -> None:
    raw = await RawPeer.connect(world)
    await raw.send(message)
    assert raw.closed is not None
    assert raw.closed[0] == 1002
    assert problem in raw.closed[1]
    assert world.log == []
    assert await world.worker.add(1, 2) == 3


async def test_a_second_handshake_is_ignored(world: World) -> None:
    raw = await RawPeer.connect(world)
    await raw.introduce()
    await raw.introduce()
    assert raw.closed is None


async def test_a_frame_of_the_wrong_kind_ends_the_connection(world: World) -> None:
    raw = await RawPeer.connect(world)
    await raw.introduce()
    raw.is_text = True
    await raw.send_frame(b"{}\n")
    assert raw.closed == (1002, "a text frame came where msgpack6 was agreed on")


async def test_a_large_frame_before_the_handshake_ends_the_connection(world: World) -> None:
    raw = await RawPeer.connect(world)
    await raw.send_frame(bytes(16_385))
    assert raw.closed == (1009, "Message too large.")


async def test_a_too_large_frame_ends_the_connection_and_the_server_goes_on(world: World) -> None:
    raw = await RawPeer.connect(world)
    await raw.introduce()
    await raw.send_frame(bytes(16_711_681))
    assert raw.closed == (1009, "Message too large.")
    assert await world.worker.add(1, 2) == 3


async def test_of_a_frame_with_a_malformed_message_what_comes_before_counts(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    raw = await RawPeer.connect(world)
    await raw.introduce()
    good = raw.frame(RpcMessage("Worker.Add:3", 1, 0, raw.arguments(1, 2)))
    await raw.send_frame(good + b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff" + good)
    assert raw.methods == [OK]
    assert raw.closed is None
    assert "dropped a part of a frame" in caplog.text
    await raw.send_frame(raw.frame(RpcMessage("Worker.Add:3", 2, 0, raw.arguments(1, 2))))
    assert raw.methods == [OK, OK]


@pytest.mark.parametrize(
    ("message", "error"),
    [
        (RpcMessage("Worker.Nothing:1", 1, 0, b""), "Endpoint not found: 'Worker.Nothing:1'."),
        (RpcMessage("Worker.Add:2", 1, 0, b"\x01\x02"), "Endpoint not found: 'Worker.Add:2'."),
        (RpcMessage("Worker.Add:3", 1, 3, b"\x01\x02"), "Invalid CallTypeId: 3."),
        (RpcMessage("Worker.Add:3", 1, 0, b"\x01\xa1x"), "argument 'b' of Worker.add: Expected `int`, got `str`"),
        (RpcMessage("Worker.Add:3", 1, 0, b"\x01"), "Worker.add: 2 values are declared and 1 were sent"),
    ],
)
async def test_a_call_that_cant_be_run_is_answered_with_an_error(world: World, message: RpcMessage, error: str) -> None:
    raw = await RawPeer.connect(world)
    await raw.introduce()
    await raw.send(message)
    assert raw.methods == [ERROR]
    assert raw.error_text(raw.received[1]) == error
    assert world.log == []


@pytest.mark.parametrize(
    "message",
    [
        RpcMessage("Worker.Nothing:1", 0, 0, b""),
        RpcMessage("$sys.Nothing:1", 1, 0, b""),
        RpcMessage(OK, 99, 0, b"\x01"),
        RpcMessage(ERROR, 99, 0, b"\x01"),
        RpcMessage(NOT_FOUND, 99, 0, b""),
        RpcMessage(CANCEL, 99),
        RpcMessage(KEEP_ALIVE, 0, 0, b"\xa1x"),
        RpcMessage(DISCONNECT, 0, 0, b"\xa1x"),
        RpcMessage("$sys-c.Invalidate:0", 99),
    ],
)
async def test_a_message_about_nothing_is_ignored(world: World, message: RpcMessage) -> None:
    raw = await RawPeer.connect(world)
    await raw.introduce()
    await raw.send(message)
    assert raw.methods == []
    assert raw.closed is None


async def test_a_call_without_an_id_is_run_each_time_and_answered_without_one(world: World) -> None:
    raw = await RawPeer.connect(world)
    await raw.introduce()
    call = RpcMessage("Worker.Add:3", 0, 0, raw.arguments(1, 2))
    await raw.send(call, call)
    assert [(message.method, message.related_id) for message in raw.received[1:]] == [(OK, 0), (OK, 0)]
    assert world.log == ["add(1, 2)", "add(1, 2)"]


async def test_a_call_that_is_cancelled_with_the_frame_it_came_in_never_runs(world: World) -> None:
    raw = await RawPeer.connect(world)
    await raw.introduce()
    await raw.send(RpcMessage("Worker.Wait:2", 1, 0, raw.arguments("a")), RpcMessage(CANCEL, 1))
    assert raw.methods == []
    assert world.log == []
    assert len([peer for peer in world.server.server_peers for _ in peer.inbound]) == 0


async def test_a_match_for_a_call_without_a_cached_result_fails_the_call(world: World) -> None:
    world.client.add_service(Worker, world.service)
    raw = await RawPeer.connect(world)
    await raw.introduce()
    (peer,) = [peer for peer in world.server.server_peers if peer.client_id == "raw"]
    call = world.start(world.server.client(Worker, peer).add(1, 2))
    await settle()
    await raw.send(RpcMessage("$sys.M:0", raw.received[-1].related_id))
    with pytest.raises(Exception, match="nothing is cached for it"):
        await call


async def test_a_not_found_message_fails_the_call_it_is_about(world: World) -> None:
    raw = await RawPeer.connect(world)
    await raw.introduce()
    (peer,) = [peer for peer in world.server.server_peers if peer.client_id == "raw"]
    call = world.start(world.server.client(Worker, peer).add(1, 2))
    await settle()
    await raw.send(RpcMessage(NOT_FOUND, raw.received[-1].related_id))
    with pytest.raises(Exception, match=r"Endpoint not found: 'Worker.Add:3'\."):
        await call


async def test_an_error_that_cant_be_read_still_fails_the_call(world: World) -> None:
    raw = await RawPeer.connect(world)
    await raw.introduce()
    (peer,) = [peer for peer in world.server.server_peers if peer.client_id == "raw"]
    call = world.start(world.server.client(Worker, peer).add(1, 2))
    await settle()
    await raw.send(RpcMessage(ERROR, raw.received[-1].related_id, 0, b"\xc1"))
    with pytest.raises(ValueError, match="malformed error"):
        await call


# Who is let in, and for how long it is remembered


async def test_a_client_without_an_id_or_with_an_unknown_format_isnt_let_in(world: World) -> None:
    assert world.server.accept(ConnectionRequest("/rpc/ws", {})) == Rejection("The clientId parameter is missing.", 400)
    outcome = world.server.accept(ConnectionRequest("/rpc/ws", {"clientId": "x", "f": "njson5"}))
    assert outcome == Rejection("Unsupported RPC serialization format: 'njson5'", close_code=4001)


async def test_a_client_that_is_let_in_but_never_connects_is_forgotten(world: World) -> None:
    for number in range(10):
        world.server.accept(ConnectionRequest("/rpc/ws", {"clientId": str(number)}))
    await world.clock.advance(20.1)
    assert [peer.client_id for peer in world.server.server_peers] == [world.peer.client_id]


async def test_a_client_that_never_introduces_itself_is_forgotten_when_it_goes(world: World) -> None:
    raw = await RawPeer.connect(world)
    assert raw.transport is not None
    raw.transport.close()
    await settle()
    assert "raw" not in [peer.client_id for peer in world.server.server_peers]


@pytest.mark.no_cover
@pytest.mark.parametrize(("known", "kept"), [(1.0, 180.0), (1200.0, 400.0), (100_000.0, 900.0)])
async def test_a_client_that_goes_is_remembered_the_longer_the_longer_it_was_known(
    clock: VirtualClock, known: float, kept: float
) -> None:
    async with World(clock) as world:
        raw = await RawPeer.connect(world)
        await raw.introduce()
        (peer,) = [peer for peer in world.server.server_peers if peer.client_id == "raw"]
        for _ in range(int(known / 20)):
            await clock.advance(20)
            await raw.send(RpcMessage(KEEP_ALIVE, 0, 0, b"\x90"))
        await clock.advance(known % 20)
        assert raw.transport is not None
        raw.transport.close()
        await settle()

        await clock.advance(kept - 1)
        assert peer in world.server.server_peers
        await clock.advance(2)
        assert peer not in world.server.server_peers


async def test_calls_of_a_client_that_stays_away_are_cancelled_in_the_end(world: World) -> None:
    raw = await RawPeer.connect(world)
    await raw.introduce()
    await raw.send(RpcMessage("Worker.Wait:2", 1, 0, raw.arguments("a")))
    assert raw.transport is not None
    raw.transport.close()
    await world.clock.advance(179)
    assert world.service.cancelled == []
    await world.clock.advance(2)
    assert world.service.cancelled == ["a"]


async def test_a_connection_that_arrives_when_its_peer_has_just_expired_is_told_to_come_again(world: World) -> None:
    receiver = world.server.accept(ConnectionRequest("/rpc/ws", {"clientId": "late"}))
    assert not isinstance(receiver, Rejection)
    await world.clock.advance(20.1)
    raw = RawPeer()
    # What the transport does when the upgrade is through at last.
    network = world.network
    listener = await network.listen("", 80, lambda request: receiver, world.server.limits.transport)
    await network.connect(listener.url, raw, world.server.limits.transport)
    await settle()
    assert raw.closed == (1001, "The peer is gone.")


async def test_a_hub_that_is_closing_lets_nobody_in(world: World) -> None:
    await world.server.aclose()
    outcome = world.server.accept(ConnectionRequest("/rpc/ws", {"clientId": "x"}))
    assert outcome == Rejection("The server is shutting down.", 503)


def test_the_handshake_of_a_peer_has_no_secret_by_default() -> None:
    assert Handshake("peer", "hub", 1).secret is None


async def test_an_unused_hub_closes_without_a_trace(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        hub = RpcHub()
        await hub.aclose()
        await hub.aclose()
    assert caplog.records == []
    with pytest.raises(RpcDisconnected):
        hub.peer("ws://localhost:1")


async def test_silence_ends_a_link_whatever_the_time_is_and_however_it_is_rounded(clock: VirtualClock) -> None:
    # Here the sum of the two is a moment that is less than 25 seconds after the first one.
    start = 1_000.1
    assert start + 25.0 - start < 25.0
    await clock.advance(start - clock.now())
    async with World(clock) as world:
        raw = await RawPeer.connect(world)
        await raw.introduce()
        async with asyncio.timeout(5):
            await clock.advance(30)
        assert raw.closed is not None


@pytest.mark.parametrize("format", ["msgpack6", "json5np"])
async def test_a_call_of_a_method_without_a_name_is_answered_with_an_error(world: World, format: str) -> None:
    raw = await RawPeer.connect(world, format=format)
    await raw.introduce()
    await raw.send(RpcMessage("", 7))
    (answer,) = [message for message in raw.received if message.method == ERROR]
    assert (answer.related_id, raw.error_text(answer)) == (7, "Endpoint not found: ''.")


async def test_an_idle_connection_has_no_dicts_of_attributes(world: World) -> None:
    # There may be many thousands; see benchmarks/bench_connections.py.
    await world.peer.wait_connected()
    (server_peer,) = world.server.server_peers
    for peer in (world.peer, server_peer):
        assert not hasattr(peer, "__dict__")
        assert not hasattr(peer.link, "__dict__")


async def test_a_link_that_is_gone_at_once_is_noticed_by_who_waits_for_one(world: World) -> None:
    await world.peer.wait_connected()
    await world.cut()
    waiting = asyncio.ensure_future(world.peer.wait_connected())
    lost = asyncio.ensure_future(world.peer.wait_state(RpcConnectionKind.CONNECTING))
    await settle()
    # All of it before anybody who waits has a turn.
    world.peer._set_state(RpcConnectionKind.CONNECTING)
    world.peer._set_state(RpcConnectionKind.CONNECTED)
    world.peer._set_state(RpcConnectionKind.DISCONNECTED)
    await settle(2)
    assert waiting.done()
    assert (await lost).kind is RpcConnectionKind.CONNECTING


async def test_a_peer_that_was_given_up_is_replaced_when_it_is_asked_for_again(world: World) -> None:
    def refuse(request: ConnectionRequest) -> Rejection:
        return Rejection("Unsupported RPC serialization format: 'msgpack6c'", close_code=4001)

    listener = await world.network.listen("", 78, refuse, world.client.limits.transport)
    peer = world.client.peer(listener.url)
    assert world.client.peer(listener.url) is peer
    with pytest.raises(RpcUnsupportedFormat):
        await peer.wait_connected()

    # The server that replaces it speaks the format.
    world.network.stop(78)
    await world.start_server(78)
    other = world.client.peer(listener.url)
    assert other is not peer
    assert await world.client.client(Worker, listener.url).add(1, 2) == 3
    assert world.client.peer(listener.url) is other
    await peer.aclose()
    assert world.client.peer(listener.url) is other
