"""How long states wait, and how user actions shorten it."""

import asyncio
import math
from collections.abc import Iterator

import pytest

from refusion import FixedDelayer, UIActionTracker, UpdateDelayer
from refusion._base._retries import RetryDelays
from refusion.states._delayers import MIN_UPDATE_DELAY
from refusion.testing import VirtualClock, settle

STEADY = RetryDelays(1.0, 60.0, jitter=0.0)


@pytest.fixture(autouse=True)
def clock() -> Iterator[VirtualClock]:
    with VirtualClock() as clock:
        yield clock


async def lasts(clock: VirtualClock, delayer: FixedDelayer | UpdateDelayer, seconds: float, retry: int = 0) -> None:
    task = asyncio.create_task(delayer.delay(retry))
    await clock.advance(seconds - 0.001)
    assert not task.done()
    await clock.advance(0.002)
    assert task.done()
    await task


async def test_a_fixed_delayer_waits_its_time_and_for_retries_theirs(clock: VirtualClock) -> None:
    delayer = FixedDelayer(0.5, retry_delays=STEADY)
    await lasts(clock, delayer, 0.5)
    await lasts(clock, delayer, 1.0, retry=1)
    await lasts(clock, delayer, math.sqrt(2), retry=2)
    await lasts(clock, delayer, 60.0, retry=50)


def test_shared_delayers_are_cached_and_never_too_short() -> None:
    assert FixedDelayer.get(1.0) is FixedDelayer.get(1.0)
    assert FixedDelayer.get(0).update_delay == MIN_UPDATE_DELAY


@pytest.mark.parametrize("delay", [-1, math.nan])
def test_a_negative_delay_is_refused(delay: float) -> None:
    with pytest.raises(ValueError, match="zero or more seconds"):
        FixedDelayer(delay)


async def test_without_a_tracker_the_update_delay_counts(clock: VirtualClock) -> None:
    await lasts(clock, UpdateDelayer(), 1.0)


async def test_a_user_action_ends_the_wait_but_not_before_the_least_delay(clock: VirtualClock) -> None:
    tracker = UIActionTracker()
    delayer = UpdateDelayer(tracker, min_delay=0.1)
    waiting = asyncio.create_task(delayer.delay(0))
    await clock.advance(0.05)
    acting = asyncio.create_task(tracker.call(asyncio.sleep(0)))
    await settle()
    assert not waiting.done()
    await clock.advance(0.06)
    assert waiting.done()
    await acting


async def test_updates_are_instant_during_an_action_and_shortly_after(clock: VirtualClock) -> None:
    tracker, gate = UIActionTracker(), asyncio.Event()
    delayer = UpdateDelayer(tracker)
    acting = asyncio.create_task(tracker.call(gate.wait()))
    await settle()
    assert tracker.running_count == 1
    await lasts(clock, delayer, MIN_UPDATE_DELAY)
    gate.set()
    await acting
    await clock.advance(0.2)
    assert tracker.are_instant_updates_enabled
    await lasts(clock, delayer, MIN_UPDATE_DELAY)
    await clock.advance(0.1)
    assert not tracker.are_instant_updates_enabled
    await lasts(clock, delayer, 1.0)


async def test_retries_wait_at_least_the_first_retry_delay(clock: VirtualClock) -> None:
    tracker, gate = UIActionTracker(), asyncio.Event()
    delayer = UpdateDelayer(tracker, retry_delays=STEADY)
    acting = asyncio.create_task(tracker.call(gate.wait()))
    await settle()
    await lasts(clock, delayer, 1.0, retry=5)
    gate.set()
    await acting


async def test_a_cancelled_delay_leaves_nothing_behind(clock: VirtualClock) -> None:
    tracker = UIActionTracker()
    waiting = asyncio.create_task(UpdateDelayer(tracker).delay(0))
    await settle()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert clock.pending_timers == 0
    assert tracker._waiters == {}


async def test_waiting_for_instant_updates(clock: VirtualClock) -> None:
    tracker = UIActionTracker()
    waiting = asyncio.create_task(tracker.when_instant_updates_enabled())
    await settle()
    assert not waiting.done()
    await tracker.call(asyncio.sleep(0))
    await waiting
    await tracker.when_instant_updates_enabled()


async def test_run_returns_a_result_and_call_raises(clock: VirtualClock) -> None:
    tracker = UIActionTracker()

    async def fail() -> int:
        raise ValueError("no")

    async def fine() -> int:
        return 1

    assert (await tracker.run(fine())).value == 1
    assert isinstance((await tracker.run(fail())).error, ValueError)
    with pytest.raises(ValueError):
        await tracker.call(fail())
    assert tracker.running_count == 0


async def test_the_same_failure_is_kept_once_in_a_second_and_the_oldest_go(clock: VirtualClock) -> None:
    tracker = UIActionTracker()

    async def fail(text: str) -> int:
        raise ValueError(text)

    for _ in range(3):
        await tracker.run(fail("same"))
    assert len(tracker.failures) == 1
    await clock.advance(1.1)
    await tracker.run(fail("same"))
    assert len(tracker.failures) == 2
    tracker.dismiss(tracker.failures[0])
    assert len(tracker.failures) == 1
    for number in range(150):
        await tracker.run(fail(str(number)))
    assert len(tracker.failures) == 100
    assert str(tracker.failures[-1].error) == "149"
