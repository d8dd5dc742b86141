"""update, use, when, changes, and computeds of their own."""

import asyncio

import pytest

from refusion import Computed, ComputedOptions, compute_method
from refusion.compute._computed_source import ComputedSource
from refusion.testing import VirtualClock, settle

from .services import Counters


async def test_update_returns_the_same_while_consistent_and_the_current_one_after() -> None:
    counters = Counters()
    computed = await counters.get.capture("a")
    assert await computed.update() is computed
    counters.set("a", 5)
    current = await counters.get.capture("a")
    assert await computed.update() is current
    counters.set("a", 6)
    assert (await computed.update()).value == 6


async def test_update_returns_a_failure_and_makes_no_dependant() -> None:
    class Service:
        @compute_method
        async def get(self) -> int:
            raise ValueError("no")

        @compute_method
        async def parent(self) -> bool:
            computed = await self.get.capture()
            computed.invalidate()
            return (await computed.update()).has_error

    parent = await Service().parent.capture()
    assert parent.value is True
    assert parent.dependencies == ()


async def test_many_updates_at_once_share_one_computation() -> None:
    counters = Counters()
    computed = await counters.get.capture("a")
    computed.invalidate()
    updated = await asyncio.gather(*[computed.update() for _ in range(20)])
    assert len(set(updated)) == 1
    assert counters.log == ["get(a)"] * 2


async def test_use_gives_the_current_value_and_a_dependency() -> None:
    counters = Counters()
    leaf = await counters.get.capture("a")

    class Service:
        @compute_method
        async def get(self) -> int:
            return await leaf.use() * 10

    service = Service()
    counters.set("a", 2)
    computed = await service.get.capture()
    assert computed.value == 20
    counters.set("a", 3)
    assert computed.is_invalidated
    assert await service.get() == 30


async def test_use_is_captured() -> None:
    leaf = await Counters().get.capture("a")
    assert await Computed.capture(leaf.use) is leaf


async def test_waiting_for_an_invalidation_that_has_happened_ends_at_once() -> None:
    computed = await Counters().get.capture("a")
    computed.invalidate()
    await computed.wait_invalidated()


async def test_when_waits_for_a_value() -> None:
    with VirtualClock() as clock:
        counters = Counters()
        computed = await counters.get.capture("a")
        waiting = asyncio.create_task(computed.when(lambda value: value >= 2))
        for value in (1, 2):
            assert not waiting.done()
            counters.set("a", value)
            await clock.advance(0.02)
        assert (await waiting).value == 2
        assert (await computed.when(lambda value: value == 2)).value == 2


async def test_when_raises_a_stored_error_and_when_output_is_asked_about_it() -> None:
    class Service:
        @compute_method
        async def get(self) -> int:
            raise ValueError("no")

    computed = await Service().get.capture()
    with pytest.raises(ValueError, match="no"):
        await computed.when(lambda value: True)
    assert await computed.when_output(lambda value, error: error is not None) is computed


async def test_changes_start_with_the_current_value_and_skip_what_came_in_between() -> None:
    with VirtualClock() as clock:
        counters = Counters()
        seen: list[int] = []

        async def follow() -> None:
            async for computed in (await counters.get.capture("a")).changes():
                seen.append(computed.value)

        task = asyncio.create_task(follow())
        await settle()
        for value in (1, 2, 3):
            counters.set("a", value)
        await clock.advance(0.02)
        counters.set("a", 4)
        await clock.advance(0.02)
        task.cancel()
        assert seen == [0, 3, 4]


async def test_changes_yield_failures_and_tell_the_delayer_how_many_came_in_a_row() -> None:
    class Flaky:
        runs = 0

        @compute_method
        async def get(self) -> int:
            self.runs += 1
            if self.runs < 4:
                raise OSError("down")
            return self.runs

    retries: list[int] = []

    class Recorder:
        async def delay(self, retry_count: int) -> None:
            retries.append(retry_count)

    with VirtualClock() as clock:
        outcomes: list[bool] = []

        async def follow() -> None:
            async for computed in (await Flaky().get.capture()).changes(Recorder()):
                outcomes.append(computed.has_value)
                if computed.has_value:
                    return

        task = asyncio.create_task(follow())
        await clock.advance(5)
        await task
    assert outcomes == [False, False, False, True]
    assert retries == [1, 2, 3]


async def test_a_computed_of_its_own_starts_invalidated_and_computes_on_first_use() -> None:
    counters = Counters()
    computed = Computed.new(lambda: counters.total("a", "b"), initial_value=-1)
    assert computed.is_invalidated
    assert computed.value == -1
    assert await computed.use() == 0
    counters.set("a", 4)
    assert await computed.use() == 4
    updated = await computed.update()
    assert len(updated.dependencies) == 1
    counters.set("b", 1)
    assert updated.is_invalidated
    assert repr(updated).startswith("<Computed Computed.new(")


async def test_a_computed_of_its_own_is_single_flight_and_survives_a_cancelled_leader() -> None:
    runs, gate = [], asyncio.Event()

    async def compute() -> int:
        runs.append(1)
        await gate.wait()
        return len(runs)

    computed = Computed.new(compute)
    leader = asyncio.create_task(computed.update())
    await settle()
    followers = [asyncio.create_task(computed.update()) for _ in range(3)]
    await settle()
    leader.cancel()
    await settle()
    gate.set()
    assert {(await follower).value for follower in followers} == {2}


async def test_a_computed_of_its_own_keeps_errors_for_their_time() -> None:
    with VirtualClock() as clock:
        runs: list[int] = []

        async def fail() -> int:
            runs.append(1)
            raise OSError

        computed = Computed.new(fail)
        with pytest.raises(OSError):
            await computed.use()
        with pytest.raises(OSError):
            await computed.use()
        assert len(runs) == 1
        await clock.advance(1.1)
        with pytest.raises(OSError):
            await computed.use()
        assert len(runs) == 2


def test_a_computed_of_its_own_can_not_consolidate() -> None:
    async def compute() -> int:
        return 1

    with pytest.raises(TypeError, match="consolidation"):
        ComputedSource(compute, options=ComputedOptions(consolidation_delay=1))
