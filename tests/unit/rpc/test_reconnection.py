"""Calls on links that break, with the faults by name."""

import asyncio
import logging

import pytest

from refusion.rpc import RpcClientPeer, RpcDisconnected
from refusion.rpc.formats import get_format
from refusion.rpc.protocol import ExceptionInfo, MethodNames, RpcMessage, ids_from_bytes
from refusion.rpc.protocol._system_calls import CANCEL, ERROR, HANDSHAKE, KEEP_ALIVE, OK, RECONNECT
from refusion.rpc.transports.memory import Direction, Fault
from refusion.testing import settle

from .world import RawPeer, Worker, World

TO_CLIENT, TO_SERVER = Direction.TO_CLIENT, Direction.TO_SERVER


async def test_a_call_that_is_made_without_a_link_is_sent_when_there_is_one(world: World) -> None:
    world.network.is_refusing = True
    await world.cut()
    call = world.start(world.worker.add(1, 2))
    await world.clock.advance(30)
    assert not call.done()

    world.network.is_refusing = False
    await world.clock.advance(20)

    assert await call == 3
    assert world.log == ["add(1, 2)"]


async def test_cut_before_the_call_arrives_it_is_sent_again_and_run_once(world: World) -> None:
    await world.peer.wait_connected()
    world.fault_once(TO_SERVER, Fault.LOSE_AND_CUT)
    call = world.start(world.worker.add(1, 2))

    await world.clock.advance(5)

    assert await call == 3
    assert world.log == ["add(1, 2)"]


async def test_cut_after_the_call_has_arrived_it_goes_on_and_is_run_once(world: World) -> None:
    await world.peer.wait_connected()
    world.fault_once(TO_SERVER, Fault.DELIVER_AND_CUT)
    call = world.start(world.worker.wait("a"))
    await world.clock.advance(5)
    assert world.network.connection_count == 2

    world.service.let_go("a")

    assert await call == "a done"
    assert world.log == ["wait(a)"]


async def test_cut_during_the_call_it_is_answered_on_the_next_connection(world: World) -> None:
    call = world.start(world.worker.wait("a"))
    await settle()
    await world.cut()
    await world.clock.advance(5)
    world.service.let_go("a")

    assert await call == "a done"
    assert world.log == ["wait(a)"]


async def test_cut_before_the_result_arrives_the_call_is_run_again(world: World) -> None:
    # An answered call is forgotten, as in the reference: delivery is at least once, across a lost answer.
    await world.worker.add(0, 0)
    world.fault_once(TO_CLIENT, Fault.LOSE_AND_CUT)
    call = world.start(world.worker.add(1, 2))

    await world.clock.advance(5)

    assert await call == 3
    assert world.log == ["add(0, 0)", "add(1, 2)", "add(1, 2)"]


async def test_cut_after_the_result_has_arrived_nothing_is_run_again(world: World) -> None:
    await world.worker.add(0, 0)
    world.fault_once(TO_CLIENT, Fault.DELIVER_AND_CUT)

    assert await world.worker.add(1, 2) == 3
    await world.clock.advance(5)

    assert world.peer.is_connected
    assert world.log == ["add(0, 0)", "add(1, 2)"]


async def test_a_method_that_ends_during_the_outage_is_run_again_as_in_the_reference(world: World) -> None:
    call = world.start(world.worker.wait("a"))
    await settle()
    await world.cut()
    world.service.let_go("a")
    await settle()
    await world.clock.advance(5)

    assert await call == "a done"
    assert world.log == ["wait(a)", "wait(a)"]


async def test_a_frame_that_arrives_twice_runs_its_calls_once(world: World) -> None:
    await world.peer.wait_connected()
    world.fault_once(TO_SERVER, Fault.DUPLICATE)
    call = world.start(world.worker.wait("a"))
    await settle()
    world.service.let_go("a")

    assert await call == "a done"
    assert world.log == ["wait(a)"]


async def test_an_answer_that_arrives_twice_is_taken_once(world: World) -> None:
    await world.worker.add(0, 0)
    world.fault_once(TO_CLIENT, Fault.DUPLICATE)
    assert await world.worker.add(1, 2) == 3
    assert await world.worker.add(3, 4) == 7


async def test_many_calls_survive_many_cuts_and_each_is_run_once(world: World) -> None:
    calls = [world.start(world.worker.wait(str(i))) for i in range(100)]
    await settle()
    for _ in range(5):
        await world.cut()
        await world.clock.advance(20)
        assert world.peer.is_connected
    for i in range(100):
        world.service.let_go(str(i))

    assert await asyncio.gather(*calls) == [f"{i} done" for i in range(100)]
    assert len(world.log) == 100
    assert len(world.peer.outbound) == len(world.server_peer.inbound) == 0


async def test_a_restarted_server_gets_the_open_calls_again(world: World) -> None:
    call = world.start(world.worker.wait("a"))
    await settle()

    await world.restart_server()
    await world.clock.advance(5)
    world.service.let_go("a")

    assert await call == "a done"
    assert world.log == ["wait(a)", "wait(a)"]


async def test_a_call_that_may_not_be_sent_again_fails_when_the_server_was_restarted(world: World) -> None:
    call = world.start(world.worker.wait("a"))
    await settle()
    (outbound,) = world.peer.outbound
    outbound.may_resend = False

    await world.restart_server()
    await world.clock.advance(5)

    with pytest.raises(RpcDisconnected, match="the other side has restarted during"):
        await call
    assert world.log == ["wait(a)"]


async def test_a_restarted_client_is_another_client(world: World) -> None:
    await world.worker.add(1, 2)
    other = await world.open_hub()
    assert await other.client(Worker, world.url).add(3, 4) == 7
    assert len(world.server.server_peers) == 2


async def test_a_half_open_link_is_found_out_by_silence_and_the_call_goes_on(world: World) -> None:
    call = world.start(world.worker.wait("a"))
    await settle()
    world.network.fault = lambda direction, frame: Fault.LOSE

    await world.clock.advance(24)
    assert world.network.connection_count == 1
    world.network.fault = lambda direction, frame: None
    # Only keep-alives count as a sign of life; the next ones come too late.
    await world.clock.advance(5)
    assert world.network.connection_count == 2
    world.service.let_go("a")

    assert await call == "a done"
    assert world.log == ["wait(a)"]


async def test_cancelling_during_the_outage_leaves_nothing_here(world: World) -> None:
    call = world.start(world.worker.wait("a"))
    await settle()
    await world.cut()
    call.cancel()
    await settle()
    assert len(world.peer.outbound) == 0


async def test_a_call_over_two_cuts_before_the_peers_have_settled_is_run_once(world: World) -> None:
    call = world.start(world.worker.wait("a"))
    await settle()
    await world.cut()
    # The question about open calls is lost with the second connection.
    world.fault_once(TO_SERVER, Fault.LOSE_AND_CUT, skip=1)
    await world.clock.advance(10)
    assert world.network.connection_count == 3
    world.service.let_go("a")

    assert await call == "a done"
    assert world.log == ["wait(a)"]
    assert len(world.peer.outbound) == 0


async def test_a_reverse_call_waits_for_the_client_to_come_back(world: World) -> None:
    world.client.add_service(Worker, world.service)
    await world.peer.wait_connected()
    back = world.server.client(Worker, world.server_peer)
    await world.cut()
    call = world.start(back.add(1, 2))
    await settle()
    assert not call.done()

    await world.clock.advance(5)

    assert await call == 3


async def test_a_reverse_call_ends_when_the_client_stays_away(world: World) -> None:
    await world.peer.wait_connected()
    back = world.server.client(Worker, world.server_peer)
    world.network.is_refusing = True
    await world.cut()
    call = world.start(back.add(1, 2))

    await world.clock.advance(180)

    with pytest.raises(RpcDisconnected, match="is closed"):
        await call


# The messages themselves


async def connected_raw_server(world: World) -> tuple[RawPeer, Worker, RpcClientPeer, list[RawPeer]]:
    """Return what stands in for a server, with a client that calls it."""
    servers: list[RawPeer] = []

    def accept(request: object) -> RawPeer:
        servers.append(RawPeer("msgpack6c"))
        servers[-1].names.add("Worker.Wait:2")
        servers[-1].names.add("Worker.Add:3")
        return servers[-1]

    listener = await world.network.listen("", 77, accept, world.client.limits.transport)
    peer = world.client.peer(listener.url)
    worker = world.client.client(Worker, peer)
    await settle()
    await servers[0].introduce()
    return servers[0], worker, peer, servers


async def test_the_same_server_is_asked_about_open_calls_once_and_only_unknown_ones_come_again(world: World) -> None:
    raw, worker, _, servers = await connected_raw_server(world)
    calls = [world.start(worker.wait(key)) for key in "abc"]
    await settle()
    assert [message.related_id for message in raw.received[1:]] == [1, 2, 3]
    await world.cut()
    await world.clock.advance(5)
    second = servers[1]

    await second.introduce(index=7)
    (question,) = [message for message in second.received if message.method == RECONNECT]
    index, stages = second.format.arguments((int, dict[int, bytes])).decode(question.args)
    assert index == 7
    assert {stage: ids_from_bytes(ids) for stage, ids in stages.items()} == {0: [1, 2, 3]}

    # It knows 1 and 3.
    await second.send(RpcMessage(OK, question.related_id, 0, second.arguments(b"\x02")))
    assert [(m.method, m.related_id) for m in second.received[2:]] == [("Worker.Wait:2", 2)]
    assert second.received[2].args == raw.received[2].args
    await second.send(*[RpcMessage(OK, call_id, 0, second.arguments(str(call_id))) for call_id in (1, 2, 3)])
    assert [await call for call in calls] == ["1", "2", "3"]


async def test_if_the_server_refuses_the_question_the_old_calls_come_again_but_not_the_new_ones(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    _, worker, _, servers = await connected_raw_server(world)
    old = world.start(worker.wait("old"))
    await settle()
    await world.cut()
    waiting = world.start(worker.wait("waiting"))
    await world.clock.advance(5)
    second = servers[1]
    await second.introduce()
    new = world.start(worker.wait("new"))
    await settle()
    question = second.received[1]
    assert question.method == RECONNECT

    await second.send(RpcMessage(ERROR, question.related_id, 0, second.format.encode_error(ExceptionInfo("X", "no"))))

    assert [m.related_id for m in second.received if m.method == "Worker.Wait:2"].count(1) == 1
    assert second.methods.count("Worker.Wait:2") == 3
    assert "couldn't be asked about open calls" in caplog.text
    for call in (old, waiting, new):
        call.cancel()


async def test_if_the_server_never_answers_the_question_the_calls_come_again(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    _, worker, peer, servers = await connected_raw_server(world)
    call = world.start(worker.wait("a"))
    await settle()
    await world.cut()
    await world.clock.advance(1)
    await servers[1].introduce()

    await world.clock.advance(10)

    sent = [method for method in servers[1].methods if method != KEEP_ALIVE]
    assert sent == [RECONNECT, CANCEL, "Worker.Wait:2"]
    assert "couldn't be asked about open calls" in caplog.text
    call.cancel()
    await settle()
    assert len(peer.outbound) == 0


async def test_another_server_isnt_asked_but_gets_all_calls_with_their_ids(world: World) -> None:
    raw, worker, _, servers = await connected_raw_server(world)
    calls = [world.start(worker.wait(key)) for key in "ab"]
    await settle()
    await world.cut()
    await world.clock.advance(1)

    await servers[1].introduce(peer_id="another")

    assert [(m.method, m.related_id, m.args) for m in servers[1].received[1:]] == [
        (m.method, m.related_id, m.args) for m in raw.received[1:]
    ]
    for call in calls:
        call.cancel()


async def test_without_open_calls_nothing_is_asked(world: World) -> None:
    _, _, _, servers = await connected_raw_server(world)
    await world.cut()
    await world.clock.advance(1)
    await servers[1].introduce()
    assert servers[1].methods == []


async def test_a_server_answers_a_question_once_on_a_connection(world: World) -> None:
    raw = await RawPeer.connect(world)
    await raw.introduce()
    stages = raw.format.arguments((int, dict[int, bytes])).encode((raw.handshake.index, {0: b"\x05\x01"}))

    await raw.send(RpcMessage(RECONNECT, 9, 0, stages))
    await raw.send(RpcMessage(RECONNECT, 10, 0, stages))

    assert raw.methods == [OK, ERROR]
    (unknown,) = raw.format.result(bytes).decode(raw.received[1].args)
    assert ids_from_bytes(unknown) == [5, 6]
    assert raw.error_text(raw.received[2]).startswith("Too late for this reconnect round")


async def test_a_server_refuses_a_question_about_another_connection(world: World) -> None:
    raw = await RawPeer.connect(world)
    await raw.introduce()
    stages = raw.format.arguments((int, dict[int, bytes])).encode((raw.handshake.index + 1, {0: b"\x05"}))

    await raw.send(RpcMessage(RECONNECT, 9, 0, stages))

    assert raw.methods == [ERROR]


@pytest.mark.parametrize("data", [b"", b"\x01", b"\x01\x81\x00\xc4\x01\x80", b"\xc1"])
async def test_a_question_that_cant_be_read_is_an_error(world: World, data: bytes) -> None:
    raw = await RawPeer.connect(world)
    await raw.introduce()
    await raw.send(RpcMessage(RECONNECT, 9, 0, data))
    assert raw.methods == [ERROR]
    assert raw.closed is None


async def test_a_call_that_comes_again_with_another_method_is_dropped(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    raw = await RawPeer.connect(world)
    await raw.introduce()
    await raw.send(RpcMessage("Worker.Wait:2", 1, 0, raw.arguments("a")))

    with caplog.at_level(logging.WARNING):
        await raw.send(RpcMessage("Worker.Add:3", 1, 0, raw.arguments(1, 2)))

    assert raw.methods == []
    assert "call 1 came again as Worker.Add:3" in caplog.text


async def test_a_call_that_is_cancelled_during_an_outage_is_cancelled_over_there_after_it(world: World) -> None:
    calls = [world.start(world.worker.wait(key)) for key in "abc"]
    await settle()
    world.network.is_refusing = True
    await world.cut()
    for call in calls[:2]:
        call.cancel()
    await settle()
    assert world.service.cancelled == []

    world.network.is_refusing = False
    await world.clock.advance(20)

    assert world.service.cancelled == ["a", "b"]
    assert len(world.server_peer.inbound) == 1
    world.service.let_go("c")
    assert await calls[2] == "c done"


async def test_a_call_that_was_cancelled_in_vain_is_none_of_a_restarted_server(world: World) -> None:
    call = world.start(world.worker.wait("a"))
    await settle()
    port = world.listener.port
    await world.crash_server()
    call.cancel()
    await settle()

    told: list[str] = []

    def listen(way: Direction, frame: bytes) -> None:
        if way is TO_SERVER:
            told.extend(message.method for message in get_format("msgpack6c").read(frame, MethodNames()).messages)

    world.network.fault = listen
    await world.start_server(port)
    await world.clock.advance(20)
    await world.cut()
    await world.clock.advance(20)

    assert world.peer.is_connected
    assert world.network.connection_count == 3
    assert HANDSHAKE in told
    assert CANCEL not in told
