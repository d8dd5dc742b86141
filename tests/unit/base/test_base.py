"""Clocks, delays, comparison, waiting: what everything else stands on."""

import asyncio
import logging
import math
import threading
from contextvars import ContextVar
from typing import Any

import pytest

from refusion import TransientError
from refusion._aio._signal import Signal
from refusion._aio._waiter import Waiter
from refusion._base._clock import SystemClock, current_clock
from refusion._base._handlers import Handlers
from refusion._base._result import Result
from refusion._base._retries import RetryDelays
from refusion._base._same import is_same
from refusion._base._transiency import Transiency, classify_error
from refusion.testing import VirtualClock, settle


def test_retry_delays_grow_by_the_root_of_two_up_to_the_longest() -> None:
    delays = RetryDelays(1.0, 60.0, jitter=0.0)
    assert [round(delays.delay(n), 3) for n in (-1, 0, 1, 2, 3)] == [0, 0, 1, 1.414, 2]
    assert delays.delay(1_000_000) == 60


def test_retry_delays_vary_by_a_tenth() -> None:
    delays = RetryDelays(1.0, 60.0)
    assert delays.delay(1, lambda: 0.0) == pytest.approx(0.9)
    assert delays.delay(1, lambda: 1.0) == pytest.approx(1.1)


@pytest.mark.parametrize(("low", "high"), [(-1, 1), (2, 1)])
def test_retry_delays_that_make_no_sense_are_refused(low: float, high: float) -> None:
    with pytest.raises(ValueError, match="need 0 <= min <= max"):
        RetryDelays(low, high)


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        (1, 1, True),
        (1, True, False),
        (math.nan, float("nan"), True),
        ([1], [1], True),
        ("a", "b", False),
        (1, None, False),
    ],
)
def test_what_is_the_same(left: Any, right: Any, same: bool) -> None:
    assert is_same(left, right) is same


def test_a_comparison_that_gives_no_plain_truth_means_different() -> None:
    class Array:
        def __eq__(self, other: object) -> Any:
            return [True]

        __hash__ = None  # type: ignore

    array = Array()
    assert is_same(array, array)
    assert not is_same(Array(), Array())


def test_transient_errors_are_told_from_others() -> None:
    class Mine(RuntimeError, TransientError):
        pass

    for error in (OSError(), TimeoutError(), ConnectionError(), Mine(), Exception()):
        assert classify_error(error) is Transiency.TRANSIENT
    for error in (
        ValueError(),
        KeyError(),
        RuntimeError(),
        FileNotFoundError(),
        UnicodeDecodeError("a", b"", 0, 1, ""),
    ):
        assert classify_error(error) is Transiency.NON_TRANSIENT


def test_a_result_raises_its_error_and_unpacks_without() -> None:
    failed: Result[int] = Result(error=KeyError("k"))
    assert failed.has_error
    with pytest.raises(KeyError):
        _ = failed.value
    assert failed.value_or_none is None
    assert repr(failed) == "Result(error=KeyError('k'))"


async def test_a_system_timer_fires_in_the_loop_with_an_empty_context() -> None:
    variable: ContextVar[int] = ContextVar("variable", default=0)
    variable.set(1)
    fired: asyncio.Future[tuple[int, int]] = asyncio.get_running_loop().create_future()
    clock = SystemClock()
    clock.call_at(clock.now(), lambda: fired.set_result((variable.get(), threading.get_ident())))
    assert await fired == (0, threading.get_ident())
    clock.call_at(clock.now() + 100, lambda: None).cancel()
    await clock.sleep(0)


def test_a_system_timer_fires_in_a_thread_where_no_loop_runs(caplog: pytest.LogCaptureFixture) -> None:
    clock = SystemClock()
    fired, order = threading.Event(), []
    now = clock.now()
    clock.call_at(now + 0.2, fired.set)
    clock.call_at(now + 0.1, lambda: order.append("second"))
    clock.call_at(now - 1, lambda: order.append("first"))
    clock.call_at(now, lambda: 1 / 0)
    clock.call_at(now, lambda: order.append("never")).cancel()
    with caplog.at_level(logging.ERROR):
        assert fired.wait(10)
    assert order == ["first", "second"]
    assert "a timer callback failed" in caplog.text


async def test_virtual_time_passes_only_when_told_and_fires_in_order() -> None:
    with VirtualClock(start=5) as clock:
        assert current_clock() is clock
        log: list[tuple[str, float]] = []
        clock.call_at(8, lambda: log.append(("b", clock.now())))
        clock.call_at(7, lambda: log.append(("a", clock.now())))
        clock.call_at(7, lambda: log.append(("never", 0))).cancel()
        sleeper = asyncio.create_task(clock.sleep(10))
        await settle()
        assert clock.pending_timers == 3
        await clock.advance(3)
        assert log == [("a", 7), ("b", 8)]
        assert not sleeper.done()
        await clock.advance(7)
        assert sleeper.done()
        assert clock.now() == 15
    assert current_clock() is not clock


async def test_a_waiter_is_woken_from_any_thread_and_more_than_once() -> None:
    waiter = Waiter()
    thread = threading.Thread(target=waiter.wake)
    thread.start()
    await waiter.wait()
    thread.join()
    waiter.wake()


def test_waking_a_waiter_of_a_closed_loop_is_harmless() -> None:
    async def create() -> Waiter:
        return Waiter()

    asyncio.run(create()).wake()


async def test_a_signal_happens_once_for_all() -> None:
    signal = Signal()
    waiting = [asyncio.create_task(signal.wait()) for _ in range(3)]
    await settle()
    waiting[0].cancel()
    signal.set()
    await asyncio.gather(*waiting[1:])
    await signal.wait()
    assert signal.is_set


def test_handlers_are_called_in_order_each_for_itself(caplog: pytest.LogCaptureFixture) -> None:
    log: list[str] = []
    handlers: Handlers[str] = Handlers("a handler of letters")
    handlers.add(lambda letter: log.append(f"first {letter}"))
    handlers.add(lambda _: 1 // 0)
    handlers.add(lambda letter: log.append(f"last {letter}"))
    handlers.tell("a")
    assert log == ["first a", "last a"]
    assert "a handler of letters failed" in caplog.text


def test_a_handler_that_was_taken_back_isnt_called_any_more() -> None:
    log: list[str] = []
    handlers: Handlers[str] = Handlers("a handler of letters")
    handlers.add(lambda _: stop())
    stop = handlers.add(log.append)
    handlers.tell("a")
    stop()
    assert log == []


def test_handlers_run_on_behalf_of_nobody() -> None:
    caller = ContextVar("caller", default="nobody")
    log: list[str] = []
    handlers: Handlers[str] = Handlers("a handler of letters")
    handlers.add(lambda _: log.append(caller.get()))
    caller.set("Ann")
    handlers.tell("a")
    assert log == ["nobody"]
