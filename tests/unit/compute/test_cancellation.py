"""Cancelling one caller never hurts another, and a cancelled computation is never cached."""

import asyncio
import logging

import pytest

from refusion import compute_method
from refusion.compute import CancellationRetries, ComputationCancelled, InvalidationSource
from refusion.testing import VirtualClock, settle

from .test_single_flight import Gate


async def test_a_cancelled_leader_hands_over_to_one_who_waits() -> None:
    gate = Gate()
    leader = asyncio.create_task(gate.get())
    await settle()
    follower = asyncio.create_task(gate.get())
    await settle()
    leader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leader
    await settle()
    assert gate.runs == 2
    gate.open_all()
    assert await follower == 0


async def test_a_cancelled_follower_just_leaves() -> None:
    gate = Gate()
    leader = asyncio.create_task(gate.get())
    await settle()
    follower = asyncio.create_task(gate.get())
    await settle()
    follower.cancel()
    with pytest.raises(asyncio.CancelledError):
        await follower
    gate.open_all()
    assert await leader == 0
    assert gate.runs == 1


async def test_when_all_are_cancelled_nothing_is_cached() -> None:
    gate = Gate()
    tasks = [asyncio.create_task(gate.get()) for _ in range(3)]
    await settle()
    running = gate.get.existing()
    for task in tasks:
        task.cancel()
    assert all(
        isinstance(result, asyncio.CancelledError) for result in await asyncio.gather(*tasks, return_exceptions=True)
    )
    assert running is not None
    assert running.is_invalidated
    assert running.invalidation_source == InvalidationSource.CANCELLATION
    assert gate.get.existing() is None
    task = asyncio.create_task(gate.get())
    await settle()
    gate.open_all()
    assert await task == 0


async def test_many_cancellations_in_turn_still_leave_a_result_for_the_last() -> None:
    gate = Gate()
    tasks = [asyncio.create_task(gate.get()) for _ in range(20)]
    for task in tasks[:-1]:
        await settle(3)
        task.cancel()
    await settle()
    gate.open_all()
    assert await tasks[-1] == 0


async def test_a_caller_during_the_clean_up_of_a_cancelled_body_starts_afresh() -> None:
    class Service:
        def __init__(self) -> None:
            self.runs = 0
            self.cleaned = asyncio.Event()

        @compute_method
        async def get(self) -> int:
            self.runs += 1
            run = self.runs
            try:
                if run == 1:
                    await asyncio.Event().wait()
            finally:
                if run == 1:
                    await self.cleaned.wait()
            return run

    service = Service()
    first = asyncio.create_task(service.get())
    await settle()
    first.cancel()
    await settle()
    assert await service.get() == 2
    service.cleaned.set()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert await service.get() == 2


async def test_a_timeout_around_one_caller_cancels_nobody_else() -> None:
    gate = Gate()

    async def impatient() -> None:
        async with asyncio.timeout(0):
            await gate.get()

    first = asyncio.create_task(impatient())
    second = asyncio.create_task(gate.get())
    with pytest.raises(TimeoutError):
        await first
    await settle()
    gate.open_all()
    assert await second == 0


class Flaky:
    """Is cancelled from inside a given number of times."""

    def __init__(self, cancellations: int) -> None:
        self.cancellations = cancellations
        self.runs = 0

    @compute_method
    async def get(self) -> int:
        self.runs += 1
        if self.runs <= self.cancellations:
            inner = asyncio.create_task(asyncio.sleep(0))
            inner.cancel()
            await inner
        return self.runs


async def test_a_cancellation_from_inside_is_retried_after_a_pause(caplog: pytest.LogCaptureFixture) -> None:
    with VirtualClock() as clock, caplog.at_level(logging.WARNING):
        flaky = Flaky(1)
        task = asyncio.create_task(flaky.get())
        await clock.advance(0.04)
        assert not task.done()
        await clock.advance(0.02)
        assert await task == 2
        assert "was cancelled from inside" in caplog.text


async def test_cancellations_without_end_surface_as_an_ordinary_error_and_are_not_cached() -> None:
    with VirtualClock() as clock:
        flaky = Flaky(1_000)
        task = asyncio.create_task(flaky.get())
        await clock.advance(10)
        with pytest.raises(ComputationCancelled, match=r"Flaky\.get\(\) was cancelled from inside its body on each"):
            await task
        assert 5 <= flaky.runs <= 11
        assert flaky.get.existing() is None


async def test_retries_can_be_switched_off() -> None:
    class Once:
        runs = 0

        @compute_method(cancellation_retries=CancellationRetries(max_retries=0))
        async def get(self) -> int:
            self.runs += 1
            raise asyncio.CancelledError

    once = Once()
    with pytest.raises(ComputationCancelled):
        await once.get()
    assert once.runs == 1


async def test_cancelling_the_caller_ends_the_pause_between_retries() -> None:
    with VirtualClock():
        flaky = Flaky(5)
        task = asyncio.create_task(flaky.get())
        await settle()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert flaky.get.existing() is None


async def test_cancelling_deep_inside_a_chain_that_runs_in_several_tasks_leaves_nothing_behind() -> None:
    class Deep:
        def __init__(self) -> None:
            self.gate = asyncio.Event()

        @compute_method
        async def get(self, n: int) -> int:
            if n == 0:
                await self.gate.wait()
                return 0
            return await self.get(n - 1) + 1

    deep = Deep()
    task = asyncio.create_task(deep.get(500))
    await settle(50)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [deep.get.existing(n) for n in (0, 100, 499)] == [None] * 3
    deep.gate.set()
    assert await deep.get(500) == 500
