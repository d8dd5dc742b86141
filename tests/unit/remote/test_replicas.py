"""Replicas: values of another process that stand and fall with it."""

import asyncio
import gc
from typing import Any

import pytest

from refusion import Computed, FusionHub, collect, compute_method, invalidating
from refusion.rpc import InboundContext, Proceed, RpcCallCancelled, RpcContractError, RpcHub
from refusion.rpc.protocol import RpcMessage
from refusion.rpc.transports.memory import Direction, Fault
from refusion.testing import settle

from .stage import URL, CounterApi, CounterService, RemoteStage


@pytest.fixture
def stage(remote_stage: RemoteStage) -> RemoteStage:
    return remote_stage


async def test_a_value_is_fetched_once_and_served_locally_while_it_is_true(stage: RemoteStage) -> None:
    assert [await stage.client.get("a") for _ in range(10)] == [0] * 10
    assert stage.service.log == ["a"]
    assert stage.peer.call_count == 1


async def test_the_server_invalidates_the_replica_and_all_built_on_it(stage: RemoteStage) -> None:
    class Local:
        @compute_method
        async def doubled(self, key: str) -> int:
            return await stage.client.get(key) * 2

    local = Local()
    computed = await local.doubled.capture("a")
    replica = await stage.client.get.capture("a")
    stage.service.change("a", 5)
    await settle()
    assert replica.is_invalidated
    assert str(computed.invalidation_source) == "the server has invalidated it"
    assert await local.doubled("a") == 10
    assert stage.open_calls == (1, 1)


async def test_concurrent_readers_share_one_call(stage: RemoteStage) -> None:
    assert await asyncio.gather(*[stage.client.get("a") for _ in range(100)]) == [0] * 100
    assert stage.peer.call_count == 1


async def test_clients_of_one_hub_each_have_replicas_and_one_server_value(stage: RemoteStage) -> None:
    hubs = [FusionHub(transport=stage.network) for _ in range(20)]
    clients = [hub.client(CounterApi, URL) for hub in hubs]
    assert await asyncio.gather(*[client.get("a") for client in clients]) == [0] * 20
    assert stage.service.log == ["a"]
    replicas = [await client.get.capture("a") for client in clients]
    stage.service.change("a", 1)
    await settle(60)
    assert all(replica.is_invalidated for replica in replicas)
    assert await asyncio.gather(*[client.get("a") for client in clients]) == [1] * 20
    assert stage.service.log == ["a", "a"]
    for hub in hubs:
        await hub.aclose()


async def test_a_result_comes_before_its_invalidation_also_when_it_was_stale_at_once(stage: RemoteStage) -> None:
    stage.service.gates["a"] = asyncio.Event()
    call = asyncio.create_task(stage.client.get.capture("a"))
    await settle()
    stage.service.change("a", 9)
    stage.service.gates["a"].set()
    replica = await call
    assert replica.value == 0
    await settle()
    assert replica.is_invalidated
    assert await stage.client.get("a") == 9


async def test_an_invalidation_before_the_result_makes_the_call_again(stage: RemoteStage) -> None:
    stage.service.gates["a"] = asyncio.Event()
    call = asyncio.create_task(stage.client.get("a"))
    await settle()
    stage.server.server_peers[0].post(RpcMessage("$sys-c.Invalidate:0", 1))
    await stage.clock.advance(0.1)
    stage.service.gates["a"].set()
    assert await call == 0
    assert stage.peer.call_count == 2


async def test_an_invalidation_of_no_call_or_of_a_regular_one_is_ignored(stage: RemoteStage) -> None:
    call = asyncio.create_task(stage.client.set("a", 3))
    await asyncio.sleep(0)
    for number in (1, 99):
        stage.server.server_peers[0].post(RpcMessage("$sys-c.Invalidate:0", number))
    await call
    assert await stage.client.get("a") == 3


async def test_a_remote_error_is_a_replica_too(stage: RemoteStage) -> None:
    stage.service.fail_with["a"] = KeyError("no a")
    for _ in range(3):
        with pytest.raises(KeyError, match="no a"):
            await stage.client.get("a")
    assert stage.service.log == ["a"]
    del stage.service.fail_with["a"]
    stage.service.get.invalidate("a")
    await settle()
    assert await stage.client.get("a") == 0


async def test_a_remote_error_expires_by_the_clients_options(stage: RemoteStage) -> None:
    stage.service.fail_with["a"] = OSError("down")
    replica = await stage.client.get.capture("a")
    assert isinstance(replica.error, OSError)
    await stage.clock.advance(1.1)
    assert replica.is_invalidated


async def test_a_cancellation_of_the_server_is_retried_and_then_an_error(stage: RemoteStage) -> None:
    stage.service.fail_with["a"] = asyncio.CancelledError()
    call = asyncio.create_task(stage.client.get("a"))
    await stage.clock.advance(30)
    with pytest.raises(RpcCallCancelled):
        await call
    del stage.service.fail_with["a"]
    await stage.clock.advance(2)
    assert await stage.client.get("a") == 0


async def test_cancelling_the_caller_cancels_the_computation_there(stage: RemoteStage) -> None:
    stage.service.gates["a"] = asyncio.Event()
    call = asyncio.create_task(stage.client.get("a"))
    await settle()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await settle()
    assert stage.service.cancelled == ["a"]
    assert stage.open_calls == (0, 0)
    assert stage.client.get.existing("a") is None


async def test_a_replica_that_is_invalidated_here_releases_its_call_there(stage: RemoteStage) -> None:
    replica = await stage.client.get.capture("a")
    assert stage.open_calls == (1, 1)
    replica.invalidate()
    await settle()
    assert stage.open_calls == (0, 0)


async def test_a_replica_that_nobody_holds_is_kept_a_minute_and_then_releases_its_call(stage: RemoteStage) -> None:
    await stage.client.get("a")
    collect()
    gc.collect()
    assert stage.open_calls == (1, 1)
    await stage.clock.advance(70)
    gc.collect()
    await settle()
    assert stage.open_calls == (0, 0)


async def test_the_contract_may_say_how_long_replicas_are_kept(stage: RemoteStage) -> None:
    assert (await stage.client.total.capture("a")).options.min_cache_duration == 5
    assert (await stage.client.get.capture("a")).options.min_cache_duration == 60


async def test_an_invalidating_scope_leaves_replicas_to_their_server(stage: RemoteStage) -> None:
    replica = await stage.client.get.capture("a")
    with invalidating():
        assert await stage.client.get("a") is None  # type: ignore
    assert replica.is_consistent


async def test_a_plain_hub_calls_compute_methods_as_regular_ones(stage: RemoteStage) -> None:
    async with RpcHub(transport=stage.network) as hub:
        client = hub.client(CounterApi, URL)
        assert await client.get("a") == 0
        stage.service.change("a", 1)
        assert await client.get("a") == 1
        assert stage.open_calls == (0, 0)


async def test_a_computation_without_a_computed_is_invalidated_after_a_tick(stage: RemoteStage) -> None:
    class Broken(CounterService):
        def __getattribute__(self, name: str) -> object:
            if name == "get":
                raise RuntimeError("before anything was computed")
            return super().__getattribute__(name)

    stage.service.__class__ = Broken
    replica = await stage.client.get.capture("a")
    assert isinstance(replica.error, RuntimeError)
    stage.service.__class__ = CounterService
    await settle()
    assert replica.is_consistent
    await stage.clock.advance(0.02)
    assert replica.is_invalidated


async def test_a_synchronous_compute_method_can_not_be_in_a_contract(stage: RemoteStage) -> None:
    class Bad:
        @compute_method
        def get(self) -> int:
            raise NotImplementedError

    with pytest.raises(RpcContractError, match="async def"):
        stage.hub.client(Bad, URL)


async def test_replicas_outlive_a_short_outage(stage: RemoteStage) -> None:
    replica = await stage.client.get.capture("a")
    await stage.cut()
    assert await stage.client.get("a") == 0
    await stage.reconnect()
    assert replica.is_consistent
    assert stage.service.log == ["a"]
    stage.service.change("a", 1)
    await settle()
    assert replica.is_invalidated


async def test_an_invalidation_during_an_outage_is_delivered_after_it(stage: RemoteStage) -> None:
    replica = await stage.client.get.capture("a")
    await stage.cut()
    stage.service.change("a", 1)
    await settle()
    assert replica.is_consistent
    await stage.reconnect()
    assert replica.is_invalidated
    assert await stage.client.get("a") == 1


async def test_replicas_that_are_released_during_an_outage_are_released_over_there_after_it(stage: RemoteStage) -> None:
    for key in "abc":
        await stage.client.get(key)
    await stage.cut()
    for key in "ab":
        replica = Computed.existing(stage.client.get, key)
        assert replica is not None
        replica.invalidate(immediately=True)
    await settle()
    assert stage.open_calls == (1, 3)

    await stage.reconnect()

    assert stage.open_calls == (1, 1)


async def test_an_invalidation_that_is_lost_on_the_way_is_made_up_for(stage: RemoteStage) -> None:
    replica = await stage.client.get.capture("a")
    stage.network.fault = lambda way, _: Fault.LOSE_AND_CUT if way is Direction.TO_CLIENT else None
    stage.service.change("a", 1)
    await settle()
    assert replica.is_consistent
    stage.network.fault = lambda *_: None
    await stage.reconnect()
    assert replica.is_invalidated


async def test_a_result_that_is_lost_on_the_way_is_sent_again_without_a_second_run(stage: RemoteStage) -> None:
    stage.network.fault = lambda way, _: Fault.LOSE_AND_CUT if way is Direction.TO_CLIENT else None
    call = asyncio.create_task(stage.client.get("a"))
    await settle()
    stage.network.fault = lambda *_: None
    await stage.reconnect()
    assert await call == 0
    assert stage.service.log == ["a"]


async def test_answers_are_not_kept_beside_the_values_that_they_tell(stage: RemoteStage) -> None:
    async def pass_on(call: InboundContext, proceed: Proceed) -> Any:
        return await proceed()

    async def change(call: InboundContext, proceed: Proceed) -> Any:
        return await proceed() + 1_000

    (peer,) = stage.server.server_peers
    stage.values.update(a=500, b=600, c=700)
    for key, middleware in (("a", None), ("b", pass_on), ("c", change)):
        if middleware is not None:
            stage.server.add_inbound_middleware(middleware)
        await stage.client.get(key)
    await stage.service.get("d")
    await stage.client.get("d")

    kept = [call.reply for call in peer.inbound]

    # What middleware has made of a value is told by nothing else.
    assert [reply is None for reply in kept] == [True, True, False, False]


@pytest.mark.parametrize("has_changed", [False, True])
@pytest.mark.parametrize("was_known", [False, True])
async def test_a_result_that_is_lost_on_the_way_is_told_again_from_the_value(
    stage: RemoteStage, has_changed: bool, was_known: bool
) -> None:
    stage.values["a"] = 5
    if was_known:
        await stage.service.get("a")
    stage.network.fault = lambda way, frame: Fault.LOSE_AND_CUT if way is Direction.TO_CLIENT else None
    stage.network.is_refusing = True
    call = asyncio.ensure_future(stage.client.get("a"))
    await settle()
    assert stage.service.log == ["a"]
    stage.network.fault = lambda way, frame: None
    if has_changed:
        stage.service.change("a", 6)
    await stage.reconnect()

    # With its invalidation behind it, if it isn't true any more.
    assert await call == 5
    assert stage.service.log == ["a"]
    assert await stage.client.get("a") == (6 if has_changed else 5)
    assert stage.service.log == (["a", "a"] if has_changed else ["a"])


async def test_a_call_in_flight_goes_on_over_the_next_connection(stage: RemoteStage) -> None:
    stage.service.gates["a"] = asyncio.Event()
    call = asyncio.create_task(stage.client.get("a"))
    await settle()
    await stage.cut()
    stage.service.gates["a"].set()
    await stage.reconnect()
    assert await call == 0
    assert stage.service.log == ["a"]


async def test_a_new_server_process_invalidates_all_replicas_and_answers_open_calls(stage: RemoteStage) -> None:
    replica = await stage.client.get.capture("a")
    stage.service.gates["slow"] = asyncio.Event()
    call = asyncio.create_task(stage.client.get("slow"))
    await settle()
    stage.values["a"] = 7
    await stage.restart_server()
    await stage.reconnect()
    assert replica.is_invalidated
    assert await stage.client.get("a") == 7
    assert await call == 0


async def test_a_call_made_during_an_outage_is_sent_once_when_it_ends(stage: RemoteStage) -> None:
    await stage.cut()
    call = asyncio.create_task(stage.client.get("a"))
    await settle()
    assert not call.done()
    await stage.reconnect()
    assert await call == 0
    assert stage.service.log == ["a"]


async def test_closing_the_hub_invalidates_its_replicas(stage: RemoteStage) -> None:
    replica = await stage.client.get.capture("a")
    await stage.hub.aclose()
    assert replica.is_invalidated


async def test_a_value_invalidated_in_another_thread_reaches_the_client(stage: RemoteStage) -> None:
    replica = await stage.client.get.capture("a")
    await asyncio.to_thread(stage.service.change, "a", 4)
    await asyncio.wait_for(replica.wait_invalidated(), 5)
    assert await stage.client.get("a") == 4


async def test_changes_of_a_replica_are_the_changes_of_the_server(stage: RemoteStage) -> None:
    seen: list[int] = []

    async def follow() -> None:
        async for computed in (await stage.client.total.capture("a")).changes():
            seen.append(computed.value)

    task = asyncio.create_task(follow())
    await settle()
    for value in (1, 2):
        stage.service.change("a", value)
        await stage.clock.advance(0.1)
    await stage.cut()
    stage.service.change("b", 10)
    await stage.reconnect()
    await stage.clock.advance(0.1)
    task.cancel()
    assert seen == [0, 1, 2, 12]


@pytest.mark.no_cover
async def test_ten_thousand_replicas_are_invalidated_and_released(stage: RemoteStage) -> None:
    keys = [str(number) for number in range(10_000)]
    replicas = await asyncio.gather(*[stage.client.get.capture(key) for key in keys])
    assert stage.open_calls == (10_000, 10_000)
    for key in keys:
        stage.service.get.invalidate(key)
    await settle(100)
    assert all(replica.is_invalidated for replica in replicas)
    assert stage.open_calls == (0, 0)
