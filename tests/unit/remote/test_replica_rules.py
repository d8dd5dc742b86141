"""Rules of replicas that concern the server's side, options, and what happens around an outage."""

import asyncio
from typing import Any

import pytest

from refusion import Computed, ComputedOptions, FusionHub, collect, compute_method, isolated
from refusion.compute import CancellationRetries
from refusion.rpc import RpcCallCancelled, RpcHub, current_peer
from refusion.rpc.protocol import RpcMessage
from refusion.rpc.transports.memory import Direction
from refusion.testing import VirtualClock, settle

from .stage import LIMITS, URL, CounterApi, RemoteStage


@pytest.fixture
def stage(remote_stage: RemoteStage) -> RemoteStage:
    return remote_stage


def messages(stage: RemoteStage, way: Direction) -> list[RpcMessage]:
    """Note what goes this way from now on."""
    found: list[RpcMessage] = []

    def note(direction: Direction, frame: Any) -> None:
        if direction is way:
            found.extend(stage.peer.format.read(bytes(frame), stage.hub.table.names).messages)

    stage.network.fault = note
    return found


# Around an outage


async def test_a_result_that_is_ready_during_an_outage_comes_after_it_and_is_followed_by_its_invalidation(
    stage: RemoteStage,
) -> None:
    stage.service.gates["a"] = asyncio.Event()
    call = asyncio.create_task(stage.client.get.capture("a"))
    await settle()
    await stage.cut()
    stage.service.gates["a"].set()
    await settle()
    await stage.reconnect()
    replica = await call
    assert replica.is_consistent
    assert stage.service.log == ["a"]
    stage.service.change("a", 1)
    await settle()
    assert replica.is_invalidated


async def test_a_value_invalidated_before_its_result_could_be_told_is_stale_when_it_comes(stage: RemoteStage) -> None:
    stage.service.gates["a"] = asyncio.Event()
    call = asyncio.create_task(stage.client.get.capture("a"))
    await settle()
    await stage.cut()
    stage.service.gates.pop("a").set()
    await settle()
    stage.service.change("a", 1)
    await settle()
    await stage.reconnect()
    replica = await call
    await settle()
    assert (replica.value, replica.is_invalidated) == (0, True)
    assert stage.service.log == ["a"]
    assert await stage.client.get("a") == 1
    assert stage.service.log == ["a", "a"]


async def test_an_invalidation_during_an_outage_runs_nothing_by_itself(stage: RemoteStage) -> None:
    replica = await stage.client.get.capture("a")
    await stage.cut()
    stage.service.change("a", 1)
    await stage.reconnect()
    assert replica.is_invalidated
    assert stage.service.log == ["a"]


async def test_the_first_handshake_changes_nothing_for_calls_that_wait_for_it() -> None:
    with VirtualClock() as clock:
        stage = RemoteStage(clock)
        stage.network.is_refusing = True
        client = stage.hub.client(CounterApi, URL)
        call = asyncio.create_task(client.get.capture("a"))
        await clock.advance(30)
        await stage.start_server()
        await stage.reconnect()
        assert (await call).is_consistent
        assert stage.service.log == ["a"]
        await stage.aclose()


# Letting go


async def test_a_replica_that_is_invalidated_here_cancels_its_call_once(stage: RemoteStage) -> None:
    replica = await stage.client.get.capture("a")
    sent = messages(stage, Direction.TO_SERVER)
    replica.invalidate()
    replica.invalidate()
    del replica
    collect()
    await settle()
    assert [message.method for message in sent] == ["$sys.Cancel:0"]


async def test_a_replica_that_was_invalidated_by_its_server_says_nothing(stage: RemoteStage) -> None:
    replica = await stage.client.get.capture("a")
    sent = messages(stage, Direction.TO_SERVER)
    stage.service.change("a", 1)
    await settle()
    assert replica.is_invalidated
    assert sent == []


async def test_a_server_says_no_more_about_a_call_that_was_given_up_after_its_result(stage: RemoteStage) -> None:
    replica = await stage.client.get.capture("a")
    replica.invalidate()
    await settle()
    sent = messages(stage, Direction.TO_CLIENT)
    stage.service.change("a", 1)
    await settle()
    assert sent == []


# Errors


async def test_a_method_that_the_server_does_not_have_is_an_error_and_not_a_wait(stage: RemoteStage) -> None:
    class NewerApi(CounterApi):
        @compute_method
        async def median(self) -> int:
            raise NotImplementedError

    NewerApi.__name__ = "CounterApi"
    replica = await stage.hub.client(NewerApi, URL).median.capture()
    assert "Endpoint not found: 'Service.Method<" in str(replica.error)


async def test_an_error_that_the_server_invalidates_is_asked_for_again(stage: RemoteStage) -> None:
    stage.service.fail_with["a"] = LookupError("not yet")
    replica = await stage.client.get.capture("a")
    assert replica.has_error
    del stage.service.fail_with["a"]
    stage.service.get.invalidate("a")
    await settle()
    assert replica.is_invalidated
    assert await stage.client.get("a") == 0


# The server's side


async def test_a_call_is_computed_on_behalf_of_nobody_there(stage: RemoteStage) -> None:
    outer: list[Computed[Any] | None] = []

    class Spy:
        @compute_method
        async def look(self) -> str:
            raise NotImplementedError

    class SpyService(Spy):
        @compute_method
        async def look(self) -> str:
            own = Computed.current()
            assert own is not None
            outer.append(own)
            current_peer()
            return repr(own.dependants)

    stage.server.add_service(Spy, SpyService())

    class Local:
        @compute_method
        async def relay(self) -> str:
            return await stage.hub.client(Spy, URL).look()

    assert await Local().relay() == "()"
    (seen,) = outer
    assert seen is not None
    assert seen.dependants == ()


async def test_a_server_that_consolidates_tells_of_real_changes_only(stage: RemoteStage) -> None:
    class Limits:
        @compute_method
        async def is_high(self) -> bool:
            raise NotImplementedError

    class LimitService(Limits):
        @compute_method(consolidation_delay=0)
        async def is_high(self) -> bool:
            return await stage.service.get("a") > 10

    stage.server.add_service(Limits, LimitService())
    client = stage.hub.client(Limits, URL)
    replica = await client.is_high.capture()
    for value in (1, 2, 3):
        stage.service.change("a", value)
        await stage.clock.advance(0.1)
    assert replica.is_consistent
    stage.service.change("a", 11)
    await stage.clock.advance(0.1)
    assert replica.is_invalidated
    assert await client.is_high()
    assert stage.peer.call_count == 2


async def test_consolidation_of_a_contract_is_not_for_its_clients(stage: RemoteStage) -> None:
    class Sums:
        @compute_method(consolidation_delay=5, invalidation_delay=5, auto_invalidation_delay=5)
        async def get(self) -> int:
            raise NotImplementedError

    options = (await stage.hub.client(Sums, URL).get.capture()).options
    assert not options.must_consolidate
    assert options.invalidation_delay == 0
    assert options.auto_invalidation_delay == float("inf")


# Options


async def test_what_the_server_says_is_not_delayed_by_the_clients_options(
    stage: RemoteStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    default = ComputedOptions(invalidation_delay=60.0).merged(ComputedOptions.client_default)
    monkeypatch.setattr(ComputedOptions, "client_default", default)
    async with FusionHub(transport=stage.network, limits=LIMITS) as hub:
        replica = await hub.client(CounterApi, URL).get.capture("a")
        assert replica.options.invalidation_delay == 60
        stage.service.change("a", 1)
        await settle()
        assert replica.is_invalidated


async def test_how_often_a_cancelled_call_is_made_again_is_up_to_the_defaults_of_clients(
    stage: RemoteStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.service.fail_with["a"] = asyncio.CancelledError()
    for max_retries, times in ((2, "3 times"), (0, "once")):
        retries = CancellationRetries(max_retries=max_retries, max_duration=1_000.0)
        monkeypatch.setattr(
            ComputedOptions,
            "client_default",
            ComputedOptions(cancellation_retries=retries).merged(ComputedOptions.client_default),
        )
        async with FusionHub(transport=stage.network, limits=LIMITS) as hub:
            call = asyncio.create_task(hub.client(CounterApi, URL).get("a"))
            await stage.clock.advance(100)
            with pytest.raises(RpcCallCancelled, match=times):
                await call


async def test_an_error_is_kept_as_long_as_the_contract_says(stage: RemoteStage) -> None:
    class Flaky:
        @compute_method(transient_error_invalidation_delay=7, min_cache_duration=3)
        async def get(self) -> int:
            raise NotImplementedError

    options = (await stage.hub.client(Flaky, URL).get.capture()).options
    assert options.transient_error_invalidation_delay == 7
    assert options.min_cache_duration == 3


# Plain calls of compute methods


async def test_a_plain_call_of_a_compute_method_leaves_nothing_open_on_the_server(stage: RemoteStage) -> None:
    async with RpcHub(transport=stage.network) as hub:
        client = hub.client(CounterApi, URL)
        assert await asyncio.gather(*[client.get("a") for _ in range(100)]) == [0] * 100
        stage.service.change("a", 1)
        await settle()
        assert [len(peer.inbound) for peer in stage.server.server_peers] == [0, 0]


async def test_a_computation_in_isolation_does_not_depend_on_the_replica(stage: RemoteStage) -> None:
    class Local:
        @compute_method
        async def snapshot(self) -> int:
            with isolated():
                return await stage.client.get("a")

    local = Local()
    computed = await local.snapshot.capture()
    stage.service.change("a", 1)
    await settle()
    assert computed.is_consistent
