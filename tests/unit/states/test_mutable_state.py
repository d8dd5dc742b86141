"""MutableState: synchronous, ordered, usable everywhere."""

import asyncio
import logging
import math
import threading
from typing import Any

import pytest

from refusion import ComputedOptions, ConsistencyState, MutableState, compute_method, invalidating
from refusion.testing import VirtualClock
from tests.unit.compute.services import Counters


class Reader:
    def __init__(self, state: MutableState[Any]) -> None:
        self.state = state

    @compute_method
    async def get(self) -> Any:
        return await self.state.use()


def test_a_set_value_is_there_at_once_without_a_loop() -> None:
    state = MutableState(1)
    old = state.computed
    state.set(2)
    assert (state.value, state.computed.value, state.snapshot.computed.value) == (2, 2, 2)
    assert old.is_invalidated
    assert old.value == 1
    assert state.computed.is_consistent


async def test_dependants_are_invalidated_when_set_returns() -> None:
    state = MutableState(1)
    reader = Reader(state)
    computed = await reader.get.capture()
    state.set(2)
    assert computed.is_invalidated
    assert await reader.get() == 2


async def test_the_order_of_a_set() -> None:
    state = MutableState("old")
    reader = Reader(state)
    dependant = await reader.get.capture()
    log: list[tuple[str, str]] = []
    state.on_invalidated(lambda s: log.append(("invalidated", s.value)))
    state.on_updating(lambda s: log.append(("updating", s.value)))
    state.on_updated(lambda s: log.append(("updated", s.value)))
    state.computed.on_invalidated(lambda _: log.append(("handler", state.value)))
    dependant.on_invalidated(lambda _: log.append(("dependant", state.value)))
    state.set("new")
    assert log == [
        ("invalidated", "old"),
        ("updating", "old"),
        ("updated", "new"),
        ("handler", "new"),
        ("dependant", "new"),
    ]


def test_there_are_no_events_at_construction_and_none_for_an_equal_value() -> None:
    state = MutableState(5)
    log: list[object] = []
    state.on_updated(log.append)
    computed = state.computed
    state.set(5)
    assert log == []
    assert state.computed is computed
    state.set(5.0)  # type: ignore
    assert log == [state]


def test_what_counts_as_equal() -> None:
    class Weird:
        def __eq__(self, other: object) -> bool:
            raise ValueError

        __hash__ = None  # type: ignore

    for old, new, is_same in (
        (math.nan, float("nan"), True),
        (1, True, False),
        ([1], [1], True),
        (Weird(), Weird(), False),
    ):
        state: MutableState[Any] = MutableState(old)
        computed = state.computed
        state.set(new)
        assert (state.computed is computed) is is_same


def test_errors_are_outputs() -> None:
    state = MutableState(1)
    error = ValueError("no")
    state.set_error(error)
    computed = state.computed
    assert state.error is error
    assert state.has_error
    assert not state.has_value
    assert state.value_or_none is None
    assert state.last_non_error_value == 1
    with pytest.raises(ValueError, match="no"):
        _ = state.value
    state.set_error(error)
    assert state.computed is computed
    state.set(1)
    assert state.value == 1
    value, problem = state
    assert (value, problem) == (1, None)


async def test_errors_never_expire() -> None:
    with VirtualClock() as clock:
        state = MutableState(1)
        state.set_error(OSError())
        await clock.advance(10_000)
        assert state.computed.is_consistent


def test_a_cancellation_is_an_error_like_any_other() -> None:
    state = MutableState(1)
    state.set_error(asyncio.CancelledError())
    assert isinstance(state.error, asyncio.CancelledError)
    assert state.computed.is_consistent


def test_update_with_always_publishes_and_takes_errors_over() -> None:
    state = MutableState(1)
    computed = state.computed
    state.update_with(lambda output: output.value)
    assert state.computed is not computed
    state.update_with(lambda output: output.value + 1)
    assert state.value == 2
    state.update_with(lambda output: 1 // 0)
    assert isinstance(state.error, ZeroDivisionError)
    state.set(3)
    with pytest.raises(ZeroDivisionError):
        state.update_with(lambda output: 1 // 0, raise_error=True)
    assert state.value == 3


async def test_invalidating_it_from_outside_renews_it_at_once() -> None:
    state = MutableState(1)
    for _ in range(3):
        old = state.computed
        old.invalidate()
        assert state.computed is not old
        assert state.computed.is_consistent
        assert state.value == 1
    assert state.snapshot.update_count == 3
    assert (await state.update()).value == 1
    assert await state.use() == 1


async def test_handlers_compute_real_values_whoever_sets() -> None:
    state, counters = MutableState(1), Counters()
    tasks: list[asyncio.Task[int]] = []
    state.on_updated(lambda _: tasks.append(asyncio.ensure_future(counters.get("a"))))  # type: ignore
    with invalidating():
        state.set(2)
    assert await tasks[0] == 0


def test_a_failing_handler_hides_no_other(caplog: pytest.LogCaptureFixture) -> None:
    state = MutableState(1)
    log: list[object] = []
    state.on_updated(lambda _: 1 / 0)
    stop = state.on_updated(log.append)
    with caplog.at_level(logging.ERROR):
        state.set(2)
    assert log == [state]
    stop()
    stop()
    state.set(3)
    assert log == [state]


def test_a_handler_may_set_the_state_again() -> None:
    state = MutableState(1)
    state.on_updated(lambda s: s.set(10) if s.value < 10 else None)
    state.set(2)
    assert state.value == 10


def test_setting_from_many_threads_ends_with_one_of_the_last_values() -> None:
    state = MutableState(0)
    barrier = threading.Barrier(4)

    def work(number: int) -> None:
        barrier.wait()
        for step in range(500):
            state.set(number * 1_000 + step)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert state.value % 1_000 == 499
    assert state.computed.state is ConsistencyState.CONSISTENT


async def test_with_an_invalidation_delay_a_set_shows_after_it() -> None:
    with VirtualClock() as clock:
        state = MutableState(1, options=ComputedOptions(invalidation_delay=1))
        state.set(2)
        assert state.value == 1
        await clock.advance(1.1)
        assert state.value == 2


def test_a_state_can_not_consolidate() -> None:
    with pytest.raises(TypeError, match="consolidation"):
        MutableState(1, options=ComputedOptions(consolidation_delay=1))


async def test_waits_belong_to_a_generation() -> None:
    state = MutableState(1)
    snapshot = state.snapshot
    assert snapshot.is_initial
    waiting = asyncio.gather(snapshot.when_updating(), snapshot.when_updated())
    await asyncio.sleep(0)
    state.set(2)
    await waiting
    await snapshot.when_updated()
    assert not state.snapshot.is_initial
    assert repr(state.snapshot).startswith("<StateSnapshot #1 of ")
    assert repr(state).startswith("<MutableState <Computed MutableState #")
