"""Waiting until what came from a cache is known to be true."""

import asyncio
from typing import Any

import pytest

from refusion import Computed, ComputedState, FixedDelayer, MutableState, compute_method
from refusion.remote import Synchronizer
from refusion.rpc import OutboundContext, Proceed, RpcRef
from refusion.testing import settle

from .cached_stage import CachedStage
from .stage import URL, CounterApi

PRECISE, SAFE, NONE = Synchronizer.PRECISE, Synchronizer.SAFE, Synchronizer.NONE


@pytest.fixture
async def stage(cached_stage: CachedStage) -> CachedStage:
    """A server that has changed `a` from 1 to 2 since the cache was written; it answers when its gate opens."""
    cached_stage.values.update(a=1, b=10)
    first = await cached_stage.open_online_client()
    for key in "ab":
        await first.get(key)
    await cached_stage.hub.aclose()
    cached_stage.service.gates["a"] = asyncio.Event()
    cached_stage.service.change("a", 2)
    return cached_stage


def answer(stage: CachedStage) -> None:
    stage.service.gates.pop("a").set()


async def test_without_one_everything_is_synchronized(stage: CachedStage) -> None:
    await stage.open_online_client()
    replica = await stage.replica("a")
    assert Synchronizer.current() is NONE
    assert NONE.is_synchronized(replica)
    assert await NONE.synchronize(replica) is replica
    assert replica.value == 1


async def test_a_precise_one_waits_for_the_servers_word_and_updates_once(stage: CachedStage) -> None:
    await stage.open_online_client()
    replica = await stage.replica("a")
    wait = asyncio.create_task(PRECISE.synchronize(replica))
    await stage.clock.advance(1_000)
    assert not wait.done()
    answer(stage)
    assert (await wait).value == 2
    assert stage.peer.call_count == 1


async def test_a_safe_one_gives_up_after_five_seconds(stage: CachedStage) -> None:
    await stage.open_online_client()
    replica = await stage.replica("a")
    wait = asyncio.create_task(SAFE.synchronize(replica))
    await stage.clock.advance(4.9)
    assert not wait.done()
    await stage.clock.advance(0.2)
    assert (await wait) is replica


async def test_a_safe_one_does_not_wait_without_a_link(stage: CachedStage) -> None:
    stage.network.is_refusing = True
    stage.open_client()
    replica = await stage.replica("a")
    assert SAFE.is_synchronized(replica)
    assert not PRECISE.is_synchronized(replica)
    assert await SAFE.synchronize(replica) is replica


async def test_a_safe_one_does_not_wait_for_what_is_not_asked_at_once(stage: CachedStage) -> None:
    async def delay(*_: object) -> None:
        await stage.clock.sleep(60)

    await stage.open_online_client(refresh_delayer=delay)
    replica = await stage.replica("a")
    assert SAFE.is_synchronized(replica)
    assert not PRECISE.is_synchronized(replica)


@pytest.mark.parametrize("is_connected", [False, True])
@pytest.mark.parametrize("assumes_when_disconnected", [False, True])
@pytest.mark.parametrize("max_wait", [0.0, 3.0, None])
async def test_inside_of_its_scope_calls_return_what_is_synchronized(
    stage: CachedStage, is_connected: bool, assumes_when_disconnected: bool, max_wait: float | None
) -> None:
    synchronizer = Synchronizer(assumes_when_disconnected=assumes_when_disconnected, max_wait=max_wait)
    if is_connected:
        await stage.open_online_client()
    else:
        stage.network.is_refusing = True
        stage.open_client()
    with synchronizer.activate():
        call = asyncio.create_task(stage.replica("a"))
    await settle()
    answer(stage)
    assert call.done() == (max_wait == 0.0 or (assumes_when_disconnected and not is_connected))

    if is_connected:
        await settle()
    else:
        stage.network.is_refusing = False
        await stage.clock.advance(2)
    is_fresh = not (max_wait == 0.0 or (assumes_when_disconnected and not is_connected))
    assert (await call).value == (2 if is_fresh else 1)


async def test_plain_calls_in_a_scope_wait_too_and_become_dependencies(stage: CachedStage) -> None:
    client = await stage.open_online_client()
    assert await client.get("a") == 1

    class Local:
        @compute_method
        async def doubled(self) -> int:
            return 2 * await client.get("a")

    with PRECISE.activate():
        value = asyncio.create_task(client.get("a"))
        doubled = asyncio.create_task(Local().doubled.capture())
        await settle()
        assert not value.done()
        answer(stage)
        assert await value == 2
    computed = await doubled
    assert (computed.value, computed.is_consistent) == (4, True)
    stage.service.change("a", 3)
    await settle()
    assert computed.is_invalidated


async def test_what_was_read_many_times_is_waited_for_too(stage: CachedStage) -> None:
    client = await stage.open_online_client()
    assert [await client.get("a") for _ in range(5)] == [1] * 5
    with PRECISE.activate():
        call = asyncio.create_task(client.get("a"))
        await settle()
        assert not call.done()
        answer(stage)
        assert await call == 2


async def test_scopes_nest_and_end(stage: CachedStage) -> None:
    with PRECISE.activate():
        with SAFE.activate():
            assert Synchronizer.current() is SAFE
        assert Synchronizer.current() is PRECISE
    assert Synchronizer.current() is NONE


async def test_looking_up_and_invalidating_in_a_scope_do_not_wait(stage: CachedStage) -> None:
    client = await stage.open_online_client()
    replica = await stage.replica("a")
    with PRECISE.activate():
        assert Computed.existing(client.get, "a") is replica
        assert client.get.existing("a") is replica


async def test_what_is_computed_from_others_is_synchronized_with_the_last_of_them(stage: CachedStage) -> None:
    client = await stage.open_online_client()

    class Local:
        @compute_method
        async def inner(self, key: str) -> int:
            return await client.get(key)

        @compute_method
        async def total(self) -> int:
            return await self.inner("a") + await self.inner("b")

    local = Local()
    computed = await local.total.capture()
    assert computed.value == 11
    wait = asyncio.create_task(PRECISE.synchronize(computed))
    await settle()
    assert not wait.done()
    answer(stage)
    assert (await wait).value == 12


async def test_a_long_chain_is_looked_through(stage: CachedStage) -> None:
    client = await stage.open_online_client()

    class Chain:
        @compute_method
        async def link(self, number: int) -> int:
            return await (client.get("a") if number == 0 else self.link(number - 1))

    computed = await Chain().link.capture(3_000)
    assert not PRECISE.is_synchronized(computed)


async def test_a_consolidated_value_is_synchronized_with_what_it_was_made_from(stage: CachedStage) -> None:
    client = await stage.open_online_client()

    class Local:
        @compute_method(consolidation_delay=0)
        async def is_small(self) -> bool:
            return await client.get("a") < 100

    computed = await Local().is_small.capture()
    assert not PRECISE.is_synchronized(computed)
    answer(stage)
    await stage.clock.advance(1)
    assert computed.is_consistent
    assert PRECISE.is_synchronized(computed)


async def test_what_was_invalidated_is_not_synchronized_as_nobody_knows_what_it_was_made_from(
    stage: CachedStage,
) -> None:
    client = await stage.open_online_client()
    switch = MutableState(1)

    class Local:
        @compute_method
        async def switched(self) -> int:
            return await switch.use() * await client.get("a")

    local = Local()
    computed = await local.switched.capture()
    async with ComputedState(local.switched, update_delayer=FixedDelayer(60)) as state:
        await settle()
        switch.set(2)
        for shown in (computed, state.computed):
            assert shown.is_invalidated
            assert not PRECISE.is_synchronized(shown)
            assert NONE.is_synchronized(shown)
            await PRECISE.wait_synchronized(shown)


@pytest.mark.parametrize("numbers", [{"max_wait": -1.0}, {"max_wait": float("nan")}, {"max_updates": -1}])
async def test_a_synchronizer_has_no_negative_patience(numbers: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="zero or more"):
        Synchronizer(**numbers)


async def test_a_mutable_state_always_is_and_a_computed_state_after_its_first_update(stage: CachedStage) -> None:
    client: CounterApi = await stage.open_online_client()
    assert PRECISE.is_synchronized(MutableState(1).computed)
    async with ComputedState(lambda: client.get("a"), update_delayer=FixedDelayer(0)) as state:
        computed = state.computed
        assert not PRECISE.is_synchronized(computed)
        wait = asyncio.create_task(PRECISE.synchronize(computed))
        await settle()
        assert state.value == 1
        assert not wait.done()
        answer(stage)
        assert (await wait).value == 2


async def test_cancelling_the_wait_leaves_nothing_behind(stage: CachedStage) -> None:
    await stage.open_online_client()
    replica = await stage.replica("a")
    await settle()
    before = asyncio.all_tasks()
    wait = asyncio.create_task(PRECISE.synchronize(replica))
    await settle()
    wait.cancel()
    with pytest.raises(asyncio.CancelledError):
        await wait
    assert asyncio.all_tasks() == before


async def test_a_failed_update_is_returned_as_an_error(stage: CachedStage) -> None:
    await stage.open_online_client()
    replica = await stage.replica("a")
    stage.service.fail_with["a"] = KeyError("a")
    answer(stage)
    computed = await PRECISE.synchronize(replica)
    assert isinstance(computed.error, KeyError)


async def test_two_clients_with_a_common_cache_entry_are_synchronized_each_by_its_own_answer(
    stage: CachedStage,
) -> None:
    gate = asyncio.Event()

    async def hold_up_the_second(call: OutboundContext, proceed: Proceed) -> Any:
        if call.route is not None and not call.route.ref.is_fixed:
            await gate.wait()
        return await proceed()

    await stage.open_online_client()
    stage.hub.add_outbound_middleware(hold_up_the_second)
    second = stage.hub.client(CounterApi, RpcRef(URL))
    replicas = [await client.get.capture("a") for client in (stage.client, second)]
    answer(stage)
    await settle()
    assert replicas[0].is_invalidated
    assert replicas[1].is_consistent
    assert not PRECISE.is_synchronized(replicas[1])
    gate.set()
    assert (await PRECISE.synchronize(replicas[1])).value == 2


async def test_the_hub_is_synchronized_when_all_that_was_shown_is(stage: CachedStage) -> None:
    client = await stage.open_online_client()
    await stage.hub.synchronized()
    assert await client.get("a") + await client.get("b") == 11
    wait = asyncio.create_task(stage.hub.synchronized())
    await settle()
    assert not wait.done()
    answer(stage)
    await wait
    assert await client.get("a") == 2
