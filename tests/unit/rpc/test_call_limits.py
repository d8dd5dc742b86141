"""How long calls may take, what they put up with, and what becomes of those that take long."""

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest

from refusion import collect
from refusion.rpc import (
    RpcCallTimeout,
    RpcCallTimeouts,
    RpcContractError,
    RpcDisconnected,
    RpcExecutionMode,
    RpcHub,
    RpcLimits,
    RpcNoWait,
    RpcPeer,
    rpc_method,
)
from refusion.rpc.protocol import RpcMessage
from refusion.rpc.protocol._system_calls import CANCEL
from refusion.rpc.transports.memory import Direction, Fault
from refusion.testing import VirtualClock, settle
from tests.unit.remote.stage import RemoteStage

from .world import World

NONE, ALL = RpcExecutionMode.NONE, RpcExecutionMode.ALL
AWAIT, RECONNECT, RESEND = (
    RpcExecutionMode.AWAIT_CONNECTION,
    RpcExecutionMode.ALLOW_RECONNECT,
    RpcExecutionMode.ALLOW_RESEND,
)


class Jobs:
    """The same method in all ways in which it can be called."""

    async def query(self, key: str) -> str:
        raise NotImplementedError

    @rpc_method(is_command=True)
    async def command(self, key: str) -> str:
        raise NotImplementedError

    @rpc_method(timeouts=RpcCallTimeouts(run=2.0))
    async def short(self, key: str) -> str:
        raise NotImplementedError

    @rpc_method(is_command=True, timeouts=RpcCallTimeouts())
    async def patient(self, key: str) -> str:
        raise NotImplementedError

    @rpc_method(mode=NONE)
    async def fragile(self, key: str) -> str:
        raise NotImplementedError

    @rpc_method(mode=AWAIT)
    async def waits(self, key: str) -> str:
        raise NotImplementedError

    @rpc_method(mode=AWAIT | RECONNECT)
    async def once(self, key: str) -> str:
        raise NotImplementedError

    @rpc_method(mode=RECONNECT | RESEND)
    async def now(self, key: str) -> str:
        raise NotImplementedError

    async def note(self, key: str) -> RpcNoWait:
        raise NotImplementedError


class JobsService(Jobs):
    def __init__(self, world: World) -> None:
        self._wait = world.service.wait

    async def query(self, key: str) -> str:
        return await self._wait(key)

    async def command(self, key: str) -> str:
        return await self._wait(key)

    async def short(self, key: str) -> str:
        return await self._wait(key)

    async def patient(self, key: str) -> str:
        return await self._wait(key)

    async def fragile(self, key: str) -> str:
        return await self._wait(key)

    async def waits(self, key: str) -> str:
        return await self._wait(key)

    async def once(self, key: str) -> str:
        return await self._wait(key)

    async def now(self, key: str) -> str:
        return await self._wait(key)

    async def note(self, key: str) -> RpcNoWait:
        await self._wait(key)
        return RpcNoWait()


class JobsWorld(World):
    async def start_server(self, port: int = 0) -> None:
        await super().start_server(port)
        self.server.add_service(Jobs, JobsService(self))

    @property
    def jobs(self) -> Jobs:
        return self.client.client(Jobs, self.peer)

    def watch(self) -> list[RpcMessage]:
        """Return a list that gets what the client posts from now on."""
        messages: list[RpcMessage] = []
        peer, post = self.peer, RpcPeer.post

        def note(this: RpcPeer, message: RpcMessage) -> None:
            if this is peer:
                messages.append(message)
            post(this, message)

        RpcPeer.post = note  # type: ignore[method-assign]
        self._stack.callback(setattr, RpcPeer, "post", post)
        return messages


@pytest.fixture
async def world(clock: VirtualClock) -> AsyncIterator[JobsWorld]:
    async with JobsWorld(clock) as world:
        await world.peer.wait_connected()
        yield world


# Time


async def test_a_query_may_take_as_long_as_it_takes(world: JobsWorld) -> None:
    call = world.start(world.jobs.query("a"))
    await world.clock.advance(3_600)
    world.service.let_go("a")
    assert await call == "a done"


async def test_a_query_waits_for_a_link_as_long_as_it_takes(world: JobsWorld) -> None:
    world.network.is_refusing = True
    await world.cut()
    call = world.start(world.jobs.query("a"))
    await world.clock.advance(3_600)
    assert not call.done()
    world.network.is_refusing = False
    world.service.let_go("a")
    await world.clock.advance(20)
    assert await call == "a done"


async def test_a_command_may_take_ten_seconds_in_all(world: JobsWorld) -> None:
    messages = world.watch()
    call = world.start(world.jobs.command("a"))
    await world.clock.advance(9.9)
    assert not call.done()
    await world.clock.advance(0.2)
    with pytest.raises(RpcCallTimeout, match=r"Jobs.command wasn't answered within 10 s"):
        await call
    assert [(message.method, message.related_id) for message in messages] == [(CANCEL, 1)]
    assert world.service.cancelled == ["a"]
    assert len(world.peer.outbound) == len(world.server_peer.inbound) == 0


async def test_a_command_finds_a_link_within_a_second_and_a_half_or_fails(world: JobsWorld) -> None:
    world.network.is_refusing = True
    await world.cut()
    messages = world.watch()
    call = world.start(world.jobs.command("a"))
    await world.clock.advance(1.4)
    assert not call.done()
    await world.clock.advance(0.2)
    with pytest.raises(RpcCallTimeout, match=r"Jobs.command couldn't be sent within 1.5 s"):
        await call
    world.network.is_refusing = False
    await world.clock.advance(20)
    assert world.peer.is_connected
    assert world.log == messages == []


async def test_the_time_of_a_command_goes_on_during_an_outage(world: JobsWorld) -> None:
    call = world.start(world.jobs.command("a"))
    await settle()
    world.network.is_refusing = True
    await world.cut()
    await world.clock.advance(10.1)
    with pytest.raises(RpcCallTimeout, match="wasn't answered within 10 s"):
        await call
    world.network.is_refusing = False
    await world.clock.advance(30)
    # The server wasn't told, as there was no link; when the client came back it didn't ask.
    assert len(world.peer.outbound) == 0
    world.service.let_go("a")
    await settle()
    assert len(world.server_peer.inbound) == 0


async def test_a_method_may_have_limits_of_its_own(world: JobsWorld) -> None:
    short, patient = world.start(world.jobs.short("a")), world.start(world.jobs.patient("b"))
    await world.clock.advance(2.1)
    with pytest.raises(RpcCallTimeout, match=r"Jobs.short wasn't answered within 2 s"):
        await short
    await world.clock.advance(3_600)
    world.service.let_go("b")
    assert await patient == "b done"


async def test_an_answer_that_comes_too_late_is_for_nobody(world: JobsWorld) -> None:
    call = world.start(world.jobs.short("a"))
    await settle()
    # The cancellation is lost.
    world.fault_once(Direction.TO_SERVER, Fault.LOSE)
    await world.clock.advance(2.1)
    with pytest.raises(RpcCallTimeout):
        await call
    world.service.let_go("a")
    await settle()
    world.service.let_go("b")
    assert await world.jobs.query("b") == "b done"


async def test_the_limits_of_a_kind_are_those_of_the_hub(clock: VirtualClock) -> None:
    limits = RpcLimits(
        query_timeouts=RpcCallTimeouts(run=3.0), command_timeouts=RpcCallTimeouts(run=4.0), drain_timeout=0.0
    )
    async with JobsWorld(clock, limits=limits) as world:
        query, command = world.start(world.jobs.query("a")), world.start(world.jobs.command("b"))
        await clock.advance(3.5)
        assert query.done()
        assert not command.done()
        await clock.advance(1)
        for call, seconds in ((query, 3), (command, 4)):
            with pytest.raises(RpcCallTimeout, match=f"within {seconds} s"):
                await call


async def test_a_call_that_has_ended_leaves_no_timer_whatever_its_end(world: JobsWorld) -> None:
    before = world.clock.pending_timers
    world.service.let_go("a")
    await world.jobs.command("a")
    cancelled = world.start(world.jobs.command("b"))
    await settle()
    cancelled.cancel()
    await settle()
    assert world.clock.pending_timers == before


async def test_the_time_of_a_compute_call_ends_with_its_answer() -> None:
    with VirtualClock() as clock:
        stage = RemoteStage(clock)
        await stage.start()
        before = clock.pending_timers
        replica = await stage.client.get.capture("a")
        await clock.advance(50)
        assert replica.is_consistent
        assert stage.open_calls == (1, 1)
        assert clock.pending_timers <= before + 1
        await stage.aclose()
        collect()


# Modes


async def break_link(world: JobsWorld) -> None:
    world.network.is_refusing = True
    await world.cut()


async def mend_link(world: JobsWorld) -> None:
    world.network.is_refusing = False
    await world.clock.advance(20)
    assert world.peer.is_connected


async def test_without_await_connection_a_call_without_a_link_fails_and_is_never_sent(world: JobsWorld) -> None:
    await break_link(world)
    for call in (world.jobs.fragile("a"), world.jobs.now("a")):
        with pytest.raises(RpcDisconnected, match="wasn't called: there is no link, and it doesn't wait for one"):
            await call
    await mend_link(world)
    assert world.log == []
    assert len(world.peer.outbound) == 0


async def test_without_await_connection_a_call_that_waits_for_its_turn_fails_with_the_link(world: JobsWorld) -> None:
    await world.worker.add(0, 0)
    transport = world.server_peer.link and world.server_peer.link._transport
    assert transport is not None
    transport.pause_reading()
    blocking = [world.start(world.worker.size(bytes(100_000))) for _ in range(5)]
    await settle()
    call = world.start(world.jobs.now("a"))
    await settle()
    assert not call.done()
    await break_link(world)
    with pytest.raises(RpcDisconnected, match=r"Jobs.now wasn't sent before the connection broke, and it waits for no"):
        await call
    await mend_link(world)
    assert await asyncio.gather(*blocking) == [100_000] * 5
    assert "wait(a)" not in world.log


async def test_with_await_connection_a_call_waits_for_a_link(world: JobsWorld) -> None:
    await break_link(world)
    calls = [world.start(world.jobs.waits("a")), world.start(world.jobs.once("b"))]
    await mend_link(world)
    for key in "ab":
        world.service.let_go(key)
    assert await asyncio.gather(*calls) == ["a done", "b done"]
    assert world.log == ["wait(a)", "wait(b)"]


async def test_without_allow_reconnect_a_sent_call_ends_with_its_connection(world: JobsWorld) -> None:
    calls = [world.start(world.jobs.fragile("a")), world.start(world.jobs.waits("b"))]
    await settle()
    await world.cut()
    for call, name in zip(calls, ("fragile", "waits"), strict=True):
        with pytest.raises(RpcDisconnected, match=rf"the connection broke during Jobs.{name}"):
            await call
    await mend_link(world)
    assert world.log == ["wait(a)", "wait(b)"]
    assert len(world.peer.outbound) == 0


async def test_with_allow_reconnect_alone_a_call_goes_on_over_the_next_connection(world: JobsWorld) -> None:
    call = world.start(world.jobs.once("a"))
    await settle()
    await world.cut()
    await mend_link(world)
    world.service.let_go("a")
    assert await call == "a done"
    assert world.log == ["wait(a)"]


async def test_without_allow_resend_a_call_fails_when_the_server_was_restarted(world: JobsWorld) -> None:
    call = world.start(world.jobs.once("a"))
    await settle()
    await world.restart_server()
    await mend_link(world)
    with pytest.raises(RpcDisconnected, match=r"the other side has restarted during Jobs.once"):
        await call
    assert world.log == ["wait(a)"]


async def test_without_allow_resend_a_call_whose_answer_was_lost_fails_and_isnt_run_again(world: JobsWorld) -> None:
    call = world.start(world.jobs.once("a"))
    await settle()
    world.fault_once(Direction.TO_CLIENT, Fault.LOSE_AND_CUT)
    world.service.let_go("a")
    await mend_link(world)
    with pytest.raises(RpcDisconnected, match=r"the other side doesn't know of Jobs.once any more"):
        await call
    assert world.log == ["wait(a)"]


async def test_without_allow_resend_a_call_that_may_not_have_arrived_fails_too(world: JobsWorld) -> None:
    world.fault_once(Direction.TO_SERVER, Fault.LOSE_AND_CUT)
    call = world.start(world.jobs.once("a"))
    await mend_link(world)
    with pytest.raises(RpcDisconnected, match=r"doesn't know of Jobs.once any more"):
        await call
    assert world.log == []


async def test_with_all_modes_a_call_is_sent_again_to_a_restarted_server(world: JobsWorld) -> None:
    call = world.start(world.jobs.query("a"))
    await settle()
    await world.restart_server()
    await mend_link(world)
    world.service.let_go("a")
    assert await call == "a done"
    assert world.log == ["wait(a)", "wait(a)"]


async def test_a_mode_without_await_connection_may_still_be_sent_again(world: JobsWorld) -> None:
    call = world.start(world.jobs.now("a"))
    await settle()
    await world.restart_server()
    await mend_link(world)
    world.service.let_go("a")
    assert await call == "a done"
    assert world.log == ["wait(a)", "wait(a)"]


async def test_a_call_that_nobody_waits_for_puts_up_with_nothing(world: JobsWorld) -> None:
    definition = world.client.table.define(Jobs)
    (note,) = [method for method in definition.methods.values() if method.name == "note"]
    assert note.mode is NONE
    await break_link(world)
    await world.jobs.note("a")
    await mend_link(world)
    assert world.log == []


def test_what_may_be_sent_again_has_to_outlive_its_connection() -> None:
    with pytest.raises(RpcContractError, match="has to outlive its connection, too"):
        rpc_method(mode=AWAIT | RESEND)


async def test_calls_of_compute_methods_put_up_with_everything(world: JobsWorld) -> None:
    from refusion import FusionHub, compute_method

    class Impatient:
        @compute_method
        @rpc_method(mode=AWAIT | RECONNECT)
        async def get(self) -> int:
            raise NotImplementedError

    with pytest.raises(RpcContractError, match="its calls stay open, so they have to outlive any connection"):
        FusionHub(transport=world.network).client(Impatient, world.url)
    # A plain hub calls it as any other method.
    RpcHub(transport=world.network).client(Impatient, world.peer)


# Calls that take long


async def test_a_call_that_isnt_answered_in_half_a_minute_is_logged_once(
    world: JobsWorld, caplog: pytest.LogCaptureFixture
) -> None:
    call = world.start(world.jobs.query("a"))
    with caplog.at_level(logging.WARNING):
        await world.clock.advance(29)
        assert caplog.records == []
        await world.clock.advance(12)
        (record,) = caplog.records
        assert "has not answered Jobs.query yet" in record.getMessage()
        await world.clock.advance(300)
        assert len(caplog.records) == 1
    assert world.log == ["wait(a)"]
    world.service.let_go("a")
    assert await call == "a done"


async def test_when_a_call_takes_long_is_a_limit(clock: VirtualClock, caplog: pytest.LogCaptureFixture) -> None:
    limits = RpcLimits(delayed_call_threshold=20.0, drain_timeout=0.0)
    async with JobsWorld(clock, limits=limits) as world:
        call = world.start(world.jobs.query("a"))
        await clock.advance(21)
        assert "has not answered Jobs.query yet" in caplog.text
        call.cancel()


async def test_calls_that_were_answered_or_wait_for_a_link_arent_late(
    world: JobsWorld, caplog: pytest.LogCaptureFixture
) -> None:
    world.service.let_go("a")
    await world.jobs.query("a")
    await break_link(world)
    call = world.start(world.jobs.query("b"))
    await world.clock.advance(100)
    assert "has not answered" not in caplog.text
    call.cancel()


async def test_a_compute_call_that_takes_long_is_sent_again_and_not_run_twice(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with VirtualClock() as clock:
        stage = RemoteStage(clock)
        await stage.start()
        stage.service.gates["a"] = asyncio.Event()
        reading = asyncio.create_task(stage.client.get("a"))
        await settle()
        sent: list[str] = []
        handlers = stage.server.table.handlers
        receive = handlers["CounterApi.Get:2"]
        for peer in stage.server.server_peers:
            peer.handlers = {**handlers, "CounterApi.Get:2": lambda peer, m: (sent.append(m.method), receive(peer, m))}  # type: ignore[dict-item]
        await clock.advance(41)
        assert sent == ["CounterApi.Get:2"]
        assert stage.service.log == ["a"]
        assert "has not answered CounterApi.get yet" in caplog.text
        stage.service.gates["a"].set()
        assert await reading == 0
        assert stage.open_calls == (1, 1)
        await stage.aclose()
        collect()


async def test_a_compute_call_whose_answer_got_lost_without_a_trace_gets_it_when_it_is_sent_again() -> None:
    with VirtualClock() as clock:
        stage = RemoteStage(clock)
        await stage.start()
        lost: list[bytes] = []

        def lose_first(direction: Direction, frame: bytes) -> Fault | None:
            if direction is Direction.TO_CLIENT and not lost:
                lost.append(frame)
                return Fault.LOSE
            return None

        stage.network.fault = lose_first
        reading = asyncio.create_task(stage.client.get("a"))
        await settle()
        assert lost
        assert not reading.done()
        await clock.advance(41)
        assert await reading == 0
        assert stage.service.log == ["a"]
        await stage.aclose()
        collect()
