"""Computed values of a TypeScript server, as a Python client keeps them: over changes, and over outages."""

import asyncio
import random

import pytest

from refusion import ComputedState, FixedDelayer, FusionHub, compute_method
from refusion.rpc import RpcClientPeer, RpcRemoteError

from .contracts import CounterApi
from .links import EVERYWHERE, cut, eventually, need_typescript_server, wait_value
from .runs import Process

need_typescript_server()
pytestmark = EVERYWHERE


@pytest.fixture
async def other(hub: FusionHub, server: Process) -> CounterApi:
    """A client whose link nobody breaks."""
    return hub.client(CounterApi, hub.peer(f"{server.url}?other=1"))


async def test_a_replica_is_invalidated_by_the_server(counters: CounterApi, key: str) -> None:
    await counters.set(key, 42)
    computed = await counters.get_counter.capture(key)
    assert computed.value == 42
    await counters.increment(key)
    await computed.wait_invalidated()
    assert await counters.get_counter(key) == 43


async def test_a_replica_is_read_without_asking(peer: RpcClientPeer, counters: CounterApi, key: str) -> None:
    assert await counters.get_counter(key) == 0
    count = peer.call_count
    assert [await counters.get_counter(key) for _ in range(10)] == [0] * 10
    assert peer.call_count == count


async def test_readers_at_once_ask_once(peer: RpcClientPeer, counters: CounterApi, key: str) -> None:
    count = peer.call_count
    assert await asyncio.gather(*[counters.get_counter(key) for _ in range(10)]) == [0] * 10
    assert peer.call_count == count + 1


async def test_changes_are_followed(counters: CounterApi, key: str) -> None:
    seen = []
    computed = await counters.get_counter.capture(key)
    async for current in computed.changes():
        seen.append(current.value)
        if current.value == 5:
            break
        await counters.increment(key)
    assert seen == [0, 1, 2, 3, 4, 5]


async def test_an_error_is_a_result_that_may_change(counters: CounterApi, key: str) -> None:
    with pytest.raises(RpcRemoteError, match=f"Error: {key} is zero"):
        await counters.get_failing(key)
    failed = await counters.get_failing.capture(key)
    await counters.set(key, 7)
    await failed.wait_invalidated()
    assert await counters.get_failing(key) == 7


async def test_two_clients_see_the_changes_of_each_other(counters: CounterApi, other: CounterApi, key: str) -> None:
    following = asyncio.ensure_future(wait_value(counters, key, 3))
    for _ in range(3):
        await other.increment(key)
    await following


async def test_a_state_follows_replicas_through_an_outage(
    peer: RpcClientPeer, counters: CounterApi, other: CounterApi, key: str
) -> None:
    async with ComputedState(lambda: counters.get_counter(key), update_delayer=FixedDelayer(0)) as state:
        await state.when_first_updated()
        assert state.value == 0
        await other.increment(key)
        while state.value != 1:
            await state.when_updated()
        await cut(peer)
        await other.increment(key)
        while state.value != 2:
            await state.when_updated()


class Totals:
    """Computed here from what is computed there."""

    def __init__(self, counters: CounterApi) -> None:
        self._counters = counters
        self.computed = 0

    @compute_method
    async def total(self, keys: tuple[str, ...]) -> int:
        self.computed += 1
        return sum(await asyncio.gather(*[self._counters.get_counter(key) for key in keys]))


async def test_what_is_computed_here_follows_what_is_computed_there(
    peer: RpcClientPeer, counters: CounterApi, other: CounterApi, key: str
) -> None:
    totals = Totals(counters)
    keys = tuple(f"{key} {index}" for index in range(5))
    assert [await totals.total(keys) for _ in range(3)] == [0, 0, 0]
    assert totals.computed == 1

    computed = await totals.total.capture(keys)
    await other.set(keys[2], 10)
    await computed.wait_invalidated()
    assert await totals.total(keys) == 10

    computed = await totals.total.capture(keys)
    await cut(peer)
    await computed.wait_invalidated()
    assert await totals.total(keys) == 10


async def test_what_has_changed_in_an_outage_is_seen_after_it(
    peer: RpcClientPeer, counters: CounterApi, other: CounterApi, key: str
) -> None:
    computed = await counters.get_counter.capture(key)
    peer.disconnect()
    await other.set(key, 5)
    await peer.wait_connected()
    await computed.wait_invalidated()
    assert await counters.get_counter(key) == 5


async def test_a_value_that_was_asked_for_in_an_outage_arrives_after_it(
    peer: RpcClientPeer, counters: CounterApi, key: str
) -> None:
    await counters.set(key, 5)
    peer.disconnect()
    while peer.is_connected:
        await asyncio.sleep(0)
    assert await counters.get_counter(key) == 5
    following = asyncio.ensure_future(wait_value(counters, key, 6))
    await counters.increment(key)
    await following


async def test_a_value_on_its_way_when_the_link_breaks_arrives(
    peer: RpcClientPeer, counters: CounterApi, key: str
) -> None:
    for number in range(5):
        await counters.set(key, number)
        reading = asyncio.ensure_future(counters.get_counter(f"{key} {number}"))
        # Sent, and cut off before the answer.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await cut(peer)
        assert await reading == 0


async def test_replicas_are_right_after_any_outages(
    peer: RpcClientPeer, counters: CounterApi, other: CounterApi, key: str
) -> None:
    chance = random.Random(key)
    keys = [f"{key} {index}" for index in range(20)]
    totals = Totals(counters)
    async with ComputedState(lambda: totals.total(tuple(keys)), update_delayer=FixedDelayer(0)) as state:
        for _ in range(8):
            changes = [other.increment(chance.choice(keys)) for _ in range(10)]
            reads = [counters.get_counter(chance.choice(keys)) for _ in range(10)]
            work = asyncio.gather(*changes, *reads)
            await asyncio.sleep(chance.choice([0, 0.001, 0.01]))
            await cut(peer)
            await work
        # Nobody touches them any more, so what is shown has to become what is so.
        values = [await other.get_counter_non_compute(key) for key in keys]
        for key_, value in zip(keys, values, strict=True):
            await eventually(lambda key=key_: counters.get_counter(key), value)
        while state.value != sum(values):
            await state.when_updated()
    assert sum(values) == 80
