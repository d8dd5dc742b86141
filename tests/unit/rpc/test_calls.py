"""Calls over a link that works."""

import asyncio
import logging
from contextvars import ContextVar

import pytest

from refusion.rpc import (
    RpcArgumentError,
    RpcCallCancelled,
    RpcCallTimeout,
    RpcCallTimeouts,
    RpcDisconnected,
    RpcError,
    RpcHub,
    RpcLimits,
    RpcNoWait,
    RpcServerPeer,
    current_peer,
)
from refusion.testing import VirtualClock, settle

from .world import Worker, WorkerService, World


@pytest.mark.parametrize("format", ["msgpack6c", "msgpack6", "json5np"])
async def test_a_call_returns_the_result_of_the_method_in_every_format(clock: VirtualClock, format: str) -> None:
    async with World(clock, format=format) as world:
        assert await world.worker.add(1, 2) == 3
        assert await world.worker.zeros(3) == b"\0\0\0"


async def test_defaults_and_keywords_are_filled_in_by_the_caller(world: World) -> None:
    assert await world.worker.add(1) == 11
    assert await world.worker.add(b=1, a=2) == 3
    assert world.log == ["add(1, 10)", "add(2, 1)"]


async def test_arguments_that_dont_fit_the_signature_fail_like_those_of_any_function(world: World) -> None:
    with pytest.raises(TypeError, match="missing a required argument: 'a'"):
        await world.worker.add()  # type: ignore[call-arg]


async def test_an_argument_of_another_type_is_refused_before_the_method_runs(world: World) -> None:
    with pytest.raises(ValueError, match=r"argument 'a' of Worker.add: Expected `int`, got `str`"):
        await world.worker.add("x", 1)  # type: ignore[arg-type]
    assert world.log == []


async def test_an_argument_that_cant_be_written_fails_at_once_even_without_a_link(world: World) -> None:
    world.network.is_refusing = True
    await world.cut()
    with pytest.raises(RpcArgumentError):
        await world.worker.add(object(), 1)  # type: ignore[arg-type]


async def test_a_result_of_another_type_is_an_error_that_names_the_method(world: World) -> None:
    class Other:
        async def add(self, a: int, b: int) -> str:
            raise NotImplementedError

    Other.__name__ = "Worker"
    other = world.client.client(Other, world.peer)
    with pytest.raises(RpcArgumentError, match=r"the result of .*Other.add doesn't fit"):
        await other.add(1, 2)


async def test_an_error_arrives_as_the_builtin_that_was_raised(world: World) -> None:
    with pytest.raises(ValueError, match="no good"):
        await world.worker.fail("no good")


async def test_answers_come_in_the_order_in_which_the_methods_end(world: World) -> None:
    ended: list[str] = []
    tasks = [world.start(world.worker.wait(key)) for key in "ab"]
    for task in tasks:
        task.add_done_callback(lambda task: ended.append(task.result()))
    await settle()

    world.service.let_go("b")
    await settle()
    world.service.let_go("a")
    await settle()

    assert ended == ["b done", "a done"]


async def test_a_thousand_calls_at_once_share_frames(world: World) -> None:
    await world.worker.add(0, 0)
    frames: list[int] = []
    world.network.fault = lambda direction, frame: frames.append(len(frame))

    assert await asyncio.gather(*[world.worker.add(i, i) for i in range(1000)]) == [2 * i for i in range(1000)]

    assert len(frames) < 100
    assert max(frames) < world.client.limits.flush_bytes + 30


async def test_cancelling_a_call_cancels_its_method(world: World) -> None:
    call = world.start(world.worker.wait("a"))
    await settle()

    call.cancel()
    await settle()

    assert world.service.cancelled == ["a"]
    assert len(world.peer.outbound) == len(world.server_peer.inbound) == 0


async def test_a_call_that_is_cancelled_before_it_is_sent_is_never_run(world: World) -> None:
    world.network.is_refusing = True
    await world.cut()
    call = world.start(world.worker.wait("a"))
    await settle()
    call.cancel()
    await settle()

    world.network.is_refusing = False
    await world.clock.advance(10)

    assert world.peer.is_connected
    assert world.log == []


async def test_a_method_that_cancels_itself_is_an_error_for_the_caller_not_a_cancellation(world: World) -> None:
    call = world.start(world.worker.wait("a"))
    await settle()
    (inbound,) = world.server_peer.inbound
    assert inbound.task is not None

    inbound.task.cancel()

    with pytest.raises(RpcCallCancelled):
        await call


async def test_a_call_that_takes_too_long_ends_on_both_sides(clock: VirtualClock) -> None:
    async with World(clock, limits=RpcLimits(query_timeouts=RpcCallTimeouts(run=3.0), drain_timeout=0.0)) as world:
        call = world.start(world.worker.wait("a"))
        await clock.advance(2.9)
        assert not call.done()

        await clock.advance(0.2)

        with pytest.raises(RpcCallTimeout, match=r"Worker.wait wasn't answered within 3 s"):
            await call
        assert world.service.cancelled == ["a"]


async def test_a_call_that_finds_no_link_in_time_fails(clock: VirtualClock) -> None:
    async with World(clock, limits=RpcLimits(query_timeouts=RpcCallTimeouts(connect=3.0), drain_timeout=0.0)) as world:
        world.network.is_refusing = True
        await world.cut()
        call = world.start(world.worker.add(1, 2))

        await clock.advance(3.1)

        with pytest.raises(RpcCallTimeout, match=r"Worker.add couldn't be sent within 3 s"):
            await call
        assert len(world.peer.outbound) == 0


async def test_the_time_to_connect_doesnt_limit_a_call_that_was_sent(clock: VirtualClock) -> None:
    async with World(clock, limits=RpcLimits(query_timeouts=RpcCallTimeouts(connect=3.0), drain_timeout=0.0)) as world:
        call = world.start(world.worker.wait("a"))
        await clock.advance(60.0)
        world.service.let_go("a")
        assert await call == "a done"


async def test_a_finished_call_leaves_no_timer(clock: VirtualClock) -> None:
    async with World(
        clock, limits=RpcLimits(query_timeouts=RpcCallTimeouts(connect=3.0, run=3.0), drain_timeout=0.0)
    ) as world:
        await world.peer.wait_connected()
        before = clock.pending_timers
        await world.worker.add(1, 2)
        assert clock.pending_timers == before


async def test_a_call_that_cant_be_sent_leaves_no_timer(clock: VirtualClock) -> None:
    async with World(clock, limits=RpcLimits(query_timeouts=RpcCallTimeouts(run=3.0), drain_timeout=0.0)) as world:
        await world.peer.wait_connected()
        before = clock.pending_timers
        with pytest.raises(RpcArgumentError):
            await world.worker.add(object(), 1)  # type: ignore[arg-type]
        assert clock.pending_timers == before


class Notes:
    async def note(self, text: str) -> RpcNoWait:
        raise NotImplementedError


class NotesService(Notes):
    def __init__(self) -> None:
        self.texts: list[str] = []

    async def note(self, text: str) -> RpcNoWait:
        self.texts.append(text)
        if text == "bad":
            raise ValueError("can't note that")
        return RpcNoWait()


async def test_nobody_waits_for_a_no_wait_method(world: World, caplog: pytest.LogCaptureFixture) -> None:
    service = NotesService()
    world.server.add_service(Notes, service)
    notes = world.client.client(Notes, world.peer)
    await world.peer.wait_connected()

    await notes.note("a")
    assert service.texts == []
    await settle()

    assert service.texts == ["a"]
    assert len(world.peer.outbound) == 0
    assert caplog.records == []


async def test_a_no_wait_call_is_dropped_without_a_link(world: World) -> None:
    service = NotesService()
    world.server.add_service(Notes, service)
    notes = world.client.client(Notes, world.peer)
    await world.peer.wait_connected()
    await world.cut()

    await notes.note("a")
    await world.clock.advance(10)

    assert world.peer.is_connected
    assert service.texts == []


async def test_the_error_of_a_no_wait_method_stays_where_it_happens(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.server.add_service(Notes, NotesService())
    notes = world.client.client(Notes, world.peer)
    await world.peer.wait_connected()

    await notes.note("bad")
    await settle()

    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "Notes.note failed, and nobody waits for it" in record.getMessage()


_tenant: ContextVar[str] = ContextVar("tenant", default="nobody")


class Whoami:
    async def context(self) -> str:
        raise NotImplementedError

    async def call_back(self) -> int:
        raise NotImplementedError


class WhoamiService(Whoami):
    def __init__(self, hub: RpcHub) -> None:
        self._hub = hub

    async def context(self) -> str:
        peer = current_peer()
        assert isinstance(peer, RpcServerPeer)
        return f"{peer.client_id} {_tenant.get()}"

    async def call_back(self) -> int:
        return await self._hub.client(Worker, current_peer()).add(20, 22)


async def test_a_method_runs_in_a_clean_context_and_knows_its_peer(world: World) -> None:
    world.server.add_service(Whoami, WhoamiService(world.server))
    _tenant.set("somebody")
    assert await world.client.client(Whoami, world.peer).context() == f"{world.peer.client_id} nobody"


async def test_outside_of_a_call_there_is_no_current_peer() -> None:
    with pytest.raises(LookupError, match="only while a call of a peer is handled"):
        current_peer()


async def test_a_server_calls_its_client_over_the_same_connection(world: World) -> None:
    world.server.add_service(Whoami, WhoamiService(world.server))
    service = WorkerService()
    world.client.add_service(Worker, service)

    assert await world.client.client(Whoami, world.peer).call_back() == 42

    assert service.log == ["add(20, 22)"]
    assert world.network.connection_count == 1


@pytest.mark.parametrize(
    ("format", "name"),
    [("msgpack6", "Whoami.Context:1"), ("json5np", "Whoami.Context:1"), ("msgpack6c", "Service.Method<2cfc29c4>")],
)
async def test_a_method_that_nobody_offers_is_an_error_with_what_is_known_of_its_name(
    clock: VirtualClock, format: str, name: str
) -> None:
    async with World(clock, format=format) as world:
        with pytest.raises(RpcError) as error:
            await world.client.client(Whoami, world.peer).context()
        assert str(error.value) == f"Endpoint not found: '{name}'."
        assert not isinstance(error.value, RpcDisconnected)


async def test_a_result_over_the_limit_is_an_error_and_the_link_stays(world: World) -> None:
    with pytest.raises(RpcError, match="limit"):
        await world.worker.zeros(16_300_000)
    assert await world.worker.add(1, 2) == 3
    assert world.network.connection_count == 1


async def test_arguments_over_the_limit_are_an_error_and_the_link_stays(world: World) -> None:
    with pytest.raises(ValueError, match="limit"):
        await world.worker.size(bytes(16_300_000))
    assert await world.worker.add(1, 2) == 3
    assert world.network.connection_count == 1
    assert len(world.peer.outbound) == 0


async def test_a_group_of_cancellations_is_answered_too(world: World) -> None:
    class Grouping(WorkerService):
        async def fail(self, text: str) -> None:
            raise BaseExceptionGroup(text, [asyncio.CancelledError()])

    world.service.__class__ = Grouping
    with pytest.raises(RpcError, match="several"):
        await world.worker.fail("several")


@pytest.mark.parametrize("text", ["x" * 17_000_000, "\ud800"], ids=["too long", "not a text"])
@pytest.mark.parametrize("format", ["msgpack6c", "json5np"])
async def test_an_error_that_cant_be_sent_is_replaced_by_one_that_can(
    clock: VirtualClock, format: str, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(WorkerService):
        async def fail(self, _: str) -> None:
            raise ValueError(text)

    async with World(clock, format=format) as world:
        world.service.__class__ = Failing
        with pytest.raises(RpcError, match=r"Worker.fail failed with an error that can't be sent"):
            await world.worker.fail("")
    assert "an error of Worker.fail can't be sent" in caplog.text
