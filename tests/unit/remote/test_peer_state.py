"""What a UI is told of a link, and when."""

import asyncio
import gc
import itertools
import logging
import math
import subprocess
import sys
import threading
import weakref
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from refusion import ComputedState, FixedDelayer, FusionHub, compute_method
from refusion._base._retries import RetryDelays
from refusion.remote import PeerState, PeerStateKind, PeerStateMonitor
from refusion.rpc import LOCAL, RpcConnectionKind, RpcDisconnected, RpcError, RpcHub, RpcLimits, RpcRef
from refusion.rpc.transports import ConnectionRequest, Rejection
from refusion.rpc.transports.memory import MemoryNetwork
from refusion.testing import VirtualClock, settle

from .stage import URL, CounterApi, RemoteStage

JUST_CONNECTED = PeerStateKind.JUST_CONNECTED
CONNECTED = PeerStateKind.CONNECTED
JUST_DISCONNECTED = PeerStateKind.JUST_DISCONNECTED
DISCONNECTED = PeerStateKind.DISCONNECTED

PAUSE = 9.5
LIMITS = RpcLimits(drain_timeout=0.0, reconnect_delays=RetryDelays(PAUSE, PAUSE, jitter=0.0))
"""Each attempt to connect follows the one before after the same time."""

HASTY = RpcLimits(drain_timeout=0.0, reconnect_delays=RetryDelays(0.5, 0.5, jitter=0.0))


@pytest.fixture
def clock() -> Iterator[VirtualClock]:
    with VirtualClock() as clock:
        yield clock


@asynccontextmanager
async def staged(clock: VirtualClock, limits: RpcLimits) -> AsyncIterator[RemoteStage]:
    stage = RemoteStage(clock)
    stage.hub = FusionHub(transport=stage.network, limits=limits)
    await stage.start()
    yield stage
    await stage.aclose()


@pytest.fixture
async def stage(clock: VirtualClock) -> AsyncIterator[RemoteStage]:
    async with staged(clock, LIMITS) as stage:
        yield stage


@pytest.fixture
async def hasty_stage(clock: VirtualClock) -> AsyncIterator[RemoteStage]:
    async with staged(clock, HASTY) as stage:
        yield stage


@pytest.fixture
async def monitor(stage: RemoteStage) -> AsyncIterator[PeerStateMonitor]:
    async with PeerStateMonitor(stage.hub, URL) as monitor:
        yield monitor


def record(monitor: PeerStateMonitor) -> list[PeerState]:
    states = [monitor.state.value]
    monitor.state.on_updated(lambda state: states.append(state.value))
    return states


def kinds(states: list[PeerState]) -> list[PeerStateKind]:
    return [state.kind for state in states]


def rejecting(request: ConnectionRequest) -> Rejection:
    return Rejection("Unsupported RPC serialization format: 'msgpack6c'", close_code=4001)


# States


def test_only_a_lost_link_isnt_likely_connected() -> None:
    assert [PeerState(kind).is_connected for kind in PeerStateKind] == [True, True, False, False]
    assert [PeerState(kind).is_likely_connected for kind in PeerStateKind] == [True, True, True, False]


def test_states_describe_themselves_in_fixed_phrases() -> None:
    assert [PeerState(kind).describe() for kind in PeerStateKind] == [
        "Just connected.",
        "Connected.",
        "Just disconnected, reconnecting...",
        "Reconnecting...",
    ]
    assert PeerState(DISCONNECTED, OSError("no"), reconnects_in=5.0).describe() == "Disconnected."


@pytest.mark.parametrize(
    ("message", "description"),
    [
        ("no route", "Disconnected: no route."),
        ("  no route.\n", "Disconnected: no route."),
        ("no route!", "Disconnected: no route!"),
        ("no route?", "Disconnected: no route?"),
        (" ", "Disconnected."),
    ],
)
def test_a_description_with_the_error_is_a_sentence(message: str, description: str) -> None:
    assert PeerState(DISCONNECTED, OSError(message), reconnects_in=5.0).describe(use_last_error=True) == description


def test_the_error_is_told_only_while_there_is_nothing_better_to_say() -> None:
    error = OSError("no route")
    assert PeerState(DISCONNECTED, error).describe(use_last_error=True) == "Reconnecting..."
    assert PeerState(JUST_DISCONNECTED, error).describe(use_last_error=True) == "Just disconnected, reconnecting..."
    assert PeerState(DISCONNECTED, reconnects_in=5.0).describe(use_last_error=True) == "Disconnected."


def test_who_has_given_up_isnt_reconnecting() -> None:
    state = PeerState(DISCONNECTED, OSError("no such format"), has_given_up=True)
    assert state.describe() == "Disconnected."
    assert state.describe(use_last_error=True) == "Disconnected: no such format."


def test_states_are_equal_if_they_look_the_same() -> None:
    state = PeerState(DISCONNECTED, OSError("no route"))
    assert state == PeerState(DISCONNECTED, OSError("no route"))
    assert hash(state) == hash(PeerState(DISCONNECTED, OSError("no route")))
    assert state != PeerState(DISCONNECTED, OSError("no server"))
    assert state != PeerState(DISCONNECTED, ValueError("no route"))
    assert state != PeerState(DISCONNECTED)
    assert state != PeerState(DISCONNECTED, OSError("no route"), reconnects_in=1.0)
    assert state != "no route"


# Time passes


async def test_without_a_target_there_is_always_a_link(stage: RemoteStage) -> None:
    async with PeerStateMonitor(stage.hub, None) as monitor:
        assert monitor.state.value == PeerState(CONNECTED)
        await stage.cut()
        await stage.clock.advance(60)
        assert monitor.state.value == PeerState(CONNECTED)
    await PeerStateMonitor(RpcHub(), None).aclose()


async def test_a_new_link_is_news_for_a_while(stage: RemoteStage, monitor: PeerStateMonitor) -> None:
    assert monitor.state.value == PeerState(JUST_CONNECTED)
    await stage.clock.advance(1.49)
    assert monitor.state.value == PeerState(JUST_CONNECTED)
    await stage.clock.advance(0.01)
    assert monitor.state.value == PeerState(CONNECTED)


async def test_a_link_that_was_there_before_is_no_news(stage: RemoteStage) -> None:
    await stage.clock.advance(1)
    async with PeerStateMonitor(stage.hub, URL) as monitor:
        assert monitor.state.value.kind is JUST_CONNECTED
        await stage.clock.advance(0.5)
        assert monitor.state.value.kind is CONNECTED
    async with PeerStateMonitor(stage.hub, URL) as monitor:
        assert monitor.state.value.kind is CONNECTED


async def test_a_lost_link_may_be_back_in_a_moment(stage: RemoteStage, monitor: PeerStateMonitor) -> None:
    await stage.cut()
    state = monitor.state.value
    assert (state.kind, state.reconnects_in) == (JUST_DISCONNECTED, 0.0)
    assert "was lost" in str(state.last_error)
    computed = monitor.state.computed
    await stage.clock.advance(2.99)
    assert computed.is_consistent
    await stage.clock.advance(0.01)
    assert monitor.state.value.kind is DISCONNECTED


async def test_the_periods_may_be_others(stage: RemoteStage) -> None:
    times = {"just_connected_period": 0.0, "just_disconnected_period": 7.0, "min_reconnects_in": 0.0}
    async with PeerStateMonitor(stage.hub, URL, **times) as monitor:
        assert monitor.state.value.kind is CONNECTED
        await stage.cut()
        await stage.clock.advance(6.9)
        assert monitor.state.value.kind is JUST_DISCONNECTED
        states = record(monitor)
        await stage.clock.advance(2.59)
        assert [round(state.reconnects_in, 6) for state in states] == [0, 2.5, 1.5, 0.5]


@pytest.mark.parametrize("name", ["just_connected_period", "just_disconnected_period", "min_reconnects_in"])
@pytest.mark.parametrize("seconds", [-1.0, math.nan])
async def test_times_that_make_no_sense_are_refused(stage: RemoteStage, name: str, seconds: float) -> None:
    with pytest.raises(ValueError, match=name):
        PeerStateMonitor(stage.hub, URL, **{name: seconds})


async def test_the_time_until_the_next_attempt_is_counted_down(stage: RemoteStage, monitor: PeerStateMonitor) -> None:
    await stage.cut()
    states = record(monitor)
    await stage.clock.advance(PAUSE - 0.01)
    assert kinds(states) == [JUST_DISCONNECTED] + [DISCONNECTED] * 7
    assert [round(state.reconnects_in, 6) for state in states] == [0, 6.5, 5.5, 4.5, 3.5, 2.5, 1.5, 0]
    assert states[-2].describe() == "Disconnected."
    assert states[-1].describe() == "Reconnecting..."


async def test_a_time_that_is_as_short_as_may_be_is_shown_for_a_moment(stage: RemoteStage) -> None:
    async with PeerStateMonitor(stage.hub, URL, min_reconnects_in=1.5) as monitor:
        await stage.cut()
        states = record(monitor)
        await stage.clock.advance(8.05)
        assert states[-1].reconnects_in == 1.5
        await stage.clock.advance(0.06)
        assert states[-1].reconnects_in == 0


async def test_nothing_ticks_while_there_is_a_link(stage: RemoteStage, monitor: PeerStateMonitor) -> None:
    await stage.clock.advance(2)
    timers = stage.clock.pending_timers
    await monitor.aclose()
    assert stage.clock.pending_timers == timers
    updates = monitor.state.snapshot.update_count
    await stage.clock.advance(120)
    assert monitor.state.snapshot.update_count == updates


async def test_a_link_that_comes_back_is_news_and_its_error_is_gone(
    stage: RemoteStage, monitor: PeerStateMonitor
) -> None:
    await stage.cut()
    await stage.clock.advance(5)
    states = record(monitor)
    stage.network.is_refusing = False
    stage.peer.reconnect()
    await settle()
    assert states[-1] == PeerState(JUST_CONNECTED)
    await stage.clock.advance(1.5)
    assert states[-1] == PeerState(CONNECTED)


async def test_an_attempt_that_is_made_at_once_is_shown_at_once(stage: RemoteStage, monitor: PeerStateMonitor) -> None:
    await stage.cut()
    await stage.clock.advance(5)
    states = record(monitor)
    assert states[-1].reconnects_in == 4.5
    stage.hub.peer(URL).reconnect()
    await settle()
    assert [state.describe() for state in states] == ["Disconnected.", "Reconnecting...", "Disconnected."]
    assert states[-1].reconnects_in == PAUSE


async def test_attempts_that_fail_dont_begin_the_outage_again(
    hasty_stage: RemoteStage,
) -> None:
    async with PeerStateMonitor(hasty_stage.hub, URL) as monitor:
        await hasty_stage.cut()
        states = record(monitor)
        await hasty_stage.clock.advance(2.99)
        assert set(kinds(states)) == {JUST_DISCONNECTED}
        await hasty_stage.clock.advance(0.01)
        await hasty_stage.clock.advance(20)
        assert set(kinds(states[2:])) == {DISCONNECTED}


async def test_a_new_error_replaces_the_old_one_and_none_keeps_it(hasty_stage: RemoteStage) -> None:
    async with PeerStateMonitor(hasty_stage.hub, URL) as monitor:
        await hasty_stage.cut()
        lost = monitor.state.value.last_error
        assert isinstance(lost, RpcDisconnected)
        await hasty_stage.clock.advance(0.5)
        refused = monitor.state.value.last_error
        assert "nobody listens" in str(refused)
        hasty_stage.hub.peer(URL)._set_state(RpcConnectionKind.CONNECTING)
        assert monitor.state.value.last_error is refused


async def test_an_error_that_looks_like_the_one_before_is_no_change(hasty_stage: RemoteStage) -> None:
    async with PeerStateMonitor(hasty_stage.hub, URL) as monitor:
        await hasty_stage.cut()
        await hasty_stage.clock.advance(0.6)
        computed = monitor.state.computed
        tries = hasty_stage.peer.connection_state.try_index
        await hasty_stage.clock.advance(2)
        assert hasty_stage.peer.connection_state.try_index > tries
        assert monitor.state.computed is computed


async def test_a_link_that_is_there_for_a_moment_only_isnt_missed(
    stage: RemoteStage, monitor: PeerStateMonitor
) -> None:
    await stage.clock.advance(2)
    states = record(monitor)
    stage.network.cut()
    await settle(2)
    stage.peer.reconnect()
    stage.peer.on_state_changed(lambda state: state.kind is RpcConnectionKind.CONNECTED and stage.network.cut())
    await settle()
    assert kinds(states) == [CONNECTED, JUST_DISCONNECTED, JUST_CONNECTED, JUST_DISCONNECTED]


# A state like others


async def test_a_computation_may_depend_on_the_link(stage: RemoteStage, monitor: PeerStateMonitor) -> None:
    class Page:
        @compute_method
        async def title(self) -> str:
            return (await monitor.state.use()).describe()

    page = Page()
    assert await page.title() == "Just connected."
    computed = await page.title.capture()
    await stage.cut()
    assert computed.is_invalidated
    assert await page.title() == "Just disconnected, reconnecting..."


async def test_a_computed_state_follows_data_and_link(stage: RemoteStage, monitor: PeerStateMonitor) -> None:
    async def page() -> str:
        link = await monitor.state.use()
        return f"{await stage.client.get('a')}, {link.kind.value}"

    stage.service.change("a", 7)
    async with ComputedState(page, update_delayer=FixedDelayer(0.0)) as state:
        await state.when_first_updated()
        assert state.value == "7, just connected"
        await stage.cut()
        assert state.value == "7, just disconnected"
        await stage.clock.advance(3)
        assert state.value == "7, disconnected"
        await stage.reconnect()
        stage.service.change("a", 8)
        await settle(60)
        assert state.value == "8, connected"


async def test_changes_can_be_iterated_over(stage: RemoteStage, monitor: PeerStateMonitor) -> None:
    seen: list[PeerStateKind] = []

    async def watch() -> None:
        async for computed in monitor.state.changes():
            seen.append(computed.value.kind)

    watching = asyncio.create_task(watch())
    await stage.clock.advance(2)
    await stage.cut()
    await stage.clock.advance(0.1)
    assert seen == [JUST_CONNECTED, CONNECTED, JUST_DISCONNECTED]
    watching.cancel()


async def test_a_handler_that_fails_doesnt_stop_the_monitor(
    stage: RemoteStage, monitor: PeerStateMonitor, caplog: pytest.LogCaptureFixture
) -> None:
    monitor.state.on_updated(lambda _: 1 // 0)
    await stage.cut()
    await stage.clock.advance(3)
    assert monitor.state.value.kind is DISCONNECTED
    assert "ZeroDivisionError" in caplog.text


# Peers come and go


async def test_a_url_that_nobody_has_asked_for_is_connected_to_while_it_is_watched(stage: RemoteStage) -> None:
    await stage.hub.aclose()
    async with FusionHub(transport=stage.network, limits=LIMITS) as hub:
        monitor = PeerStateMonitor(hub, URL)
        assert monitor.state.value == PeerState(JUST_DISCONNECTED)
        await settle()
        assert monitor.state.value == PeerState(JUST_CONNECTED)
        await monitor.aclose()
        await settle()
        assert hub.client_peers.find(URL) is None


async def test_a_peer_that_somebody_has_asked_for_stays_when_the_monitor_goes(stage: RemoteStage) -> None:
    async with FusionHub(transport=stage.network, limits=LIMITS) as hub:
        monitor = PeerStateMonitor(hub, URL)
        counters = hub.client(CounterApi, URL)
        await monitor.aclose()
        await settle()
        assert await counters.get("a") == 0


async def test_a_monitor_doesnt_keep_a_peer_that_no_route_leads_to_any_more(stage: RemoteStage) -> None:
    listener = await stage.server.serve()
    ref = RpcRef(listener.url)
    await stage.hub.client(CounterApi, ref).get("a")
    peer: Any = stage.hub.client_peers.find(listener.url)
    async with (
        PeerStateMonitor(stage.hub, listener.url) as by_url,
        PeerStateMonitor(stage.hub, RpcRef(listener.url)) as by_another_ref,
        PeerStateMonitor(stage.hub, ref) as by_ref,
    ):
        ref.reroute(URL)
        await stage.clock.advance(20)
        assert peer.connection_state.kind is RpcConnectionKind.CLOSED
        for monitor in (by_url, by_another_ref):
            state = monitor.state.value
            assert (state.kind, state.has_given_up) == (DISCONNECTED, True)
        assert by_ref.state.value.kind is CONNECTED

        stage.hub.peer(listener.url)
        await settle()
        assert by_url.state.value.kind is JUST_CONNECTED
        assert by_another_ref.state.value.kind is JUST_CONNECTED


async def test_a_peer_stands_for_its_url(stage: RemoteStage) -> None:
    async with PeerStateMonitor(stage.hub, stage.peer) as monitor:
        await stage.peer.aclose()
        assert monitor.state.value.kind is JUST_DISCONNECTED
        stage.hub.peer(URL)
        await settle()
        assert monitor.state.value.kind is JUST_CONNECTED


async def test_a_peer_that_was_given_up_says_so_and_its_successor_is_followed(
    stage: RemoteStage, caplog: pytest.LogCaptureFixture
) -> None:
    listener = await stage.network.listen("", 78, rejecting, LIMITS.transport)
    async with PeerStateMonitor(stage.hub, listener.url) as monitor:
        await settle()
        assert monitor.state.value.has_given_up
        await stage.clock.advance(60)
        state = monitor.state.value
        assert (state.kind, state.has_given_up, state.reconnects_in) == (DISCONNECTED, True, 0.0)
        assert "msgpack6c" in state.describe(use_last_error=True)
        assert "gives up" in caplog.text

        await listener.aclose()
        await stage.server.serve("memory", 78)
        stage.hub.peer(listener.url)
        assert not monitor.state.value.has_given_up
        assert monitor.state.value.describe() == "Reconnecting..."
        await settle()
        assert monitor.state.value == PeerState(JUST_CONNECTED)


async def test_a_ref_is_followed_along_its_routes(stage: RemoteStage) -> None:
    listener = await stage.server.serve()
    ref = RpcRef(URL)
    await stage.clock.advance(2)
    async with PeerStateMonitor(stage.hub, ref) as monitor:
        states = record(monitor)
        ref.reroute(listener.url)
        await settle()
        assert kinds(states) == [CONNECTED, JUST_DISCONNECTED, JUST_CONNECTED]
        await stage.clock.advance(2)
        ref.reroute(URL)
        await settle()
        # It was connected all the time.
        assert kinds(states) == [CONNECTED, JUST_DISCONNECTED, JUST_CONNECTED, CONNECTED]
        await stage.cut()
        assert states[-1].kind is JUST_DISCONNECTED


async def test_here_is_always_connected(stage: RemoteStage) -> None:
    ref = RpcRef(LOCAL)
    async with PeerStateMonitor(stage.hub, ref) as monitor:
        assert monitor.state.value == PeerState(CONNECTED)
        await stage.cut()
        assert monitor.state.value == PeerState(CONNECTED)
        ref.reroute("ws://nobody:9")
        await stage.clock.advance(5)
        assert monitor.state.value.kind is DISCONNECTED
        ref.reroute(LOCAL)
        await settle()
        assert monitor.state.value == PeerState(JUST_CONNECTED)
        await stage.clock.advance(1.5)
        assert monitor.state.value == PeerState(CONNECTED)


async def test_a_ref_may_be_rerouted_in_any_thread_and_more_than_once(stage: RemoteStage) -> None:
    ref = RpcRef(URL)
    async with PeerStateMonitor(stage.hub, ref) as monitor:
        for target in ("ws://nobody:9", "ws://nobody:10", LOCAL):
            thread = threading.Thread(target=ref.reroute, args=(target,))
            thread.start()
            thread.join()
        states = record(monitor)
        await settle()
        assert monitor.state.value.is_connected
        assert set(kinds(states)) == {JUST_CONNECTED}


async def test_a_ref_that_fails_over_is_followed(stage: RemoteStage) -> None:
    listener = await stage.server.serve()
    ref = stage.hub.failover(URL, listener.url)
    await settle()
    async with PeerStateMonitor(stage.hub, ref) as monitor:
        await stage.clock.advance(2)
        states = record(monitor)
        stage.network.stop(1)
        await settle(60)
        await stage.clock.advance(20)
        assert ref.route.target == listener.url
        assert kinds(states)[:2] == [CONNECTED, JUST_DISCONNECTED]
        assert kinds(states)[-2:] == [JUST_CONNECTED, CONNECTED]


async def test_a_route_that_leads_nowhere_is_no_link_until_it_changes(
    stage: RemoteStage, caplog: pytest.LogCaptureFixture
) -> None:
    await stage.client.get("a")
    (client,) = stage.server.server_peers
    ref = RpcRef(URL)
    async with PeerStateMonitor(stage.hub, ref) as monitor:
        for target in ("http://nobody:9", client):
            ref.reroute(target)
            await stage.clock.advance(3)
            state = monitor.state.value
            assert (state.kind, state.has_given_up) == (DISCONNECTED, True)
            assert isinstance(state.last_error, ValueError)
        assert "has no link to follow" in caplog.text
        ref.reroute(URL)
        await settle()
        assert monitor.state.value == PeerState(JUST_CONNECTED)


async def test_targets_that_have_no_link_of_this_hub_are_refused(stage: RemoteStage) -> None:
    await stage.client.get("a")
    (client,) = stage.server.server_peers
    ref = RpcRef(client)
    with pytest.raises(ValueError, match="leads to a client of this hub"):
        PeerStateMonitor(stage.server, ref)
    with pytest.raises(ValueError, match="belongs to another hub"):
        PeerStateMonitor(stage.server, stage.peer)
    with pytest.raises(ValueError, match="not at 'http://nobody'"):
        PeerStateMonitor(stage.hub, "http://nobody")
    assert not ref.route._handlers


# The end


async def test_a_closed_monitor_leaves_nothing_behind(stage: RemoteStage) -> None:
    ref = RpcRef(URL)
    await stage.clock.advance(1)
    timers, tasks = stage.clock.pending_timers, asyncio.all_tasks()
    monitors = [PeerStateMonitor(stage.hub, target) for target in (URL, stage.peer, ref)]
    assert asyncio.all_tasks() == tasks
    assert stage.clock.pending_timers == timers + 3
    assert ref.route._handlers
    for monitor in monitors:
        await monitor.aclose()
        await monitor.aclose()
    assert stage.clock.pending_timers == timers
    assert not ref.route._handlers
    assert not stage.peer._state_handlers._handlers
    assert not stage.hub.client_peers.opened._handlers
    assert not stage.hub._close_handlers._handlers

    await stage.cut()
    ref.reroute("ws://nobody:9")
    await settle()
    assert [monitor.state.value.kind for monitor in monitors] == [JUST_CONNECTED] * 3
    ends = [weakref.ref(monitor) for monitor in monitors]
    monitors.clear()
    del monitor
    gc.collect()
    assert [end() for end in ends] == [None] * 3


async def test_a_monitor_may_be_closed_right_after_a_reroute(stage: RemoteStage) -> None:
    ref = RpcRef(URL)
    monitor = PeerStateMonitor(stage.hub, ref)
    ref.reroute("ws://nobody:9")
    await monitor.aclose()
    await settle()
    assert not ref.route._handlers
    assert stage.hub.client_peers.find("ws://nobody:9") is None


@pytest.mark.parametrize("target", [URL, RpcRef(URL), RpcRef(LOCAL)], ids=str)
async def test_a_monitor_ends_quietly_with_its_hub(
    stage: RemoteStage, caplog: pytest.LogCaptureFixture, target: str | RpcRef
) -> None:
    monitor = PeerStateMonitor(stage.hub, target)
    await stage.hub.aclose()
    state = monitor.state.value
    assert (state.kind, state.has_given_up) == (DISCONNECTED, True)
    assert monitor._timer is None
    if isinstance(target, RpcRef):
        assert not target.route._handlers
    await monitor.aclose()
    assert [entry for entry in caplog.records if entry.levelno >= logging.WARNING] == []
    with pytest.raises(RpcDisconnected, match="the hub is closed"):
        PeerStateMonitor(stage.hub, target)


def test_a_ref_may_outlive_the_loop_of_its_monitor(caplog: pytest.LogCaptureFixture) -> None:
    ref = RpcRef(LOCAL)

    async def watch() -> PeerStateMonitor:
        return PeerStateMonitor(RpcHub(transport=MemoryNetwork()), ref)

    monitor = asyncio.run(watch())
    ref.reroute(URL)
    assert monitor.state.value.kind is CONNECTED
    assert not caplog.records


# Over real sockets


_SERVER = """
import asyncio, sys
from refusion.rpc import RpcHub

async def main():
    server = await RpcHub(transport="websockets").serve(port=int(sys.argv[1]))
    print(server.port, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@asynccontextmanager
async def server_process(port: int) -> AsyncIterator[int]:
    """Serve at a port until the end, which comes without a word."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", _SERVER, str(port), stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        yield int(await process.stdout.readline())
    finally:
        process.kill()
        await process.communicate()


async def test_a_server_that_is_killed_and_started_again_is_seen_to_go_and_come() -> None:
    async def wait(kind: PeerStateKind) -> PeerState:
        async with asyncio.timeout(20):
            return (await monitor.state.computed.when(lambda state: state.kind is kind)).value

    async with RpcHub(transport="websockets") as hub:
        async with server_process(0) as port:
            times = {"just_connected_period": 0.2, "just_disconnected_period": 0.2, "min_reconnects_in": 0.01}
            monitor = PeerStateMonitor(hub, f"ws://127.0.0.1:{port}", **times)
            states = record(monitor)
            await wait(CONNECTED)
        state = await wait(DISCONNECTED)
        assert isinstance(state.last_error, RpcError)
        async with server_process(port):
            await wait(CONNECTED)
            changes = [kind for kind, _ in itertools.groupby(kinds(states))]
            assert changes[-6:] == [
                JUST_CONNECTED,
                CONNECTED,
                JUST_DISCONNECTED,
                DISCONNECTED,
                JUST_CONNECTED,
                CONNECTED,
            ]
            assert max(state.reconnects_in for state in states) > 0.01
        await monitor.aclose()
