"""Where the library's time comes from.

Everything that waits or expires asks `current_clock()`, so a test can put a virtual clock in its place
and no test has to sleep. The system clock counts in every thread and needs no event loop: a timer armed
where a loop runs fires in that loop, any other fires in one daemon thread that is started on demand.
"""

import asyncio
import heapq
import itertools
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context
from typing import Protocol, final

__all__ = ["Clock", "SystemClock", "TimerHandle", "current_clock", "on_clock_changed", "set_clock"]


class TimerHandle(Protocol):
    """A timer that hasn't fired yet."""

    def cancel(self) -> None:
        """Stop the timer; does nothing when it has fired or was cancelled."""


class Clock(Protocol):
    """A source of monotonic time, in seconds, with timers."""

    def now(self) -> float:
        """Return the current time in seconds; only differences mean anything."""
        ...

    def call_at(self, when: float, callback: Callable[[], object]) -> TimerHandle:
        """Call `callback` once when `now()` reaches `when`, with an empty context.

        With a running event loop in this thread the call happens in that loop, else in a thread of the clock.
        """
        ...

    async def sleep(self, delay: float) -> None:
        """Wait `delay` seconds; a delay of zero or less still lets other tasks run once."""
        ...


@final
class SystemClock:
    """The real clock: `time.monotonic` with timers in event loops or, where none runs, in a daemon thread."""

    def __init__(self) -> None:
        self._thread = _TimerThread()

    def now(self) -> float:
        return time.monotonic()

    def call_at(self, when: float, callback: Callable[[], object]) -> TimerHandle:
        delay = max(0.0, when - time.monotonic())
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return self._thread.call_at(when, callback)
        # An empty context: a timer must not pin, nor act on behalf of, the task that armed it.
        return loop.call_later(delay, callback, context=Context())

    async def sleep(self, delay: float) -> None:
        await asyncio.sleep(delay)


@final
class _ThreadTimer:
    __slots__ = ("callback",)

    def __init__(self, callback: Callable[[], object]) -> None:
        self.callback: Callable[[], object] | None = callback

    def cancel(self) -> None:
        self.callback = None


@final
class _TimerThread:
    """Fires timers that were armed where no event loop runs."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._timers: list[tuple[float, int, _ThreadTimer]] = []
        self._order = itertools.count()
        self._thread: threading.Thread | None = None

    def call_at(self, when: float, callback: Callable[[], object]) -> TimerHandle:
        timer = _ThreadTimer(callback)
        with self._changed:
            heapq.heappush(self._timers, (when, next(self._order), timer))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="refusion-timers", daemon=True)
                self._thread.start()
            self._changed.notify()
        return timer

    def _run(self) -> None:
        while True:
            with self._changed:
                while self._timers and self._timers[0][2].callback is None:
                    heapq.heappop(self._timers)
                if not self._timers:
                    # An idle minute ends the thread; the next timer starts another one.
                    if not self._changed.wait(60.0) and not self._timers:
                        self._thread = None
                        return
                    continue
                delay = self._timers[0][0] - time.monotonic()
                if delay > 0:
                    self._changed.wait(delay)
                    continue
                timer = heapq.heappop(self._timers)[2]
            callback, timer.callback = timer.callback, None
            if callback is not None:
                _run_guarded(callback)


def _run_guarded(callback: Callable[[], object]) -> None:
    try:
        Context().run(callback)
    except Exception:
        from refusion._base._logging import log_failure

        with suppress(Exception):
            log_failure("a timer callback", callback)


_clock: Clock = SystemClock()
_observers: list[Callable[[], object]] = []


def current_clock() -> Clock:
    """Return the clock that the library uses in this process."""
    return _clock


def set_clock(clock: Clock) -> Clock:
    """Make `clock` the library's clock and return the one that it replaces; meant for tests."""
    global _clock
    previous, _clock = _clock, clock
    for observer in _observers:
        observer()
    return previous


def on_clock_changed(observer: Callable[[], object]) -> None:
    """Call `observer` whenever another clock is put in place: timers of the old one may never fire."""
    _observers.append(observer)
