"""A clock that moves only when a test says so."""

import asyncio
import heapq
import itertools
from collections.abc import Callable
from contextvars import Context
from typing import Self, final

from refusion._base._clock import Clock, TimerHandle, set_clock

__all__ = ["VirtualClock"]


@final
class _VirtualTimer:
    __slots__ = ("callback",)

    def __init__(self, callback: Callable[[], object]) -> None:
        self.callback: Callable[[], object] | None = callback

    def cancel(self) -> None:
        self.callback = None


@final
class VirtualClock:
    """The library's clock while a test's `with` block runs; time passes in `advance` alone.

    Example:
        ```python
        with VirtualClock() as clock:
            ...
            await clock.advance(10.0)  # fires what is due, in order, and lets the event loop settle
        ```
    """

    def __init__(self, start: float = 1_000.0) -> None:
        self._now = start
        self._timers: list[tuple[float, int, _VirtualTimer]] = []
        self._order = itertools.count()
        self._previous: Clock | None = None

    def __enter__(self) -> Self:
        self._previous = set_clock(self)
        return self

    def __exit__(self, *_: object) -> None:
        if self._previous is not None:
            set_clock(self._previous)

    def now(self) -> float:
        """Return the virtual time in seconds."""
        return self._now

    def call_at(self, when: float, callback: Callable[[], object]) -> TimerHandle:
        """Arm a timer that fires inside `advance`."""
        timer = _VirtualTimer(callback)
        heapq.heappush(self._timers, (when, next(self._order), timer))
        return timer

    async def sleep(self, delay: float) -> None:
        """Wait until the virtual time has moved on by `delay` seconds."""
        if delay <= 0:
            await asyncio.sleep(0)
            return
        woken = asyncio.get_running_loop().create_future()

        def wake() -> None:
            if not woken.done():
                woken.set_result(None)

        timer = self.call_at(self._now + delay, wake)
        try:
            await woken
        finally:
            timer.cancel()

    async def advance(self, seconds: float, *, settle_turns: int = 20) -> None:
        """Let `seconds` pass: fire every due timer at its own time, with loop turns in between.

        Args:
            seconds: How far to move, zero or more.
            settle_turns: How many turns of the event loop follow each timer, so that woken tasks can run.
        """
        deadline = self._now + seconds
        await settle(settle_turns)
        while self._fire_next(deadline):
            await settle(settle_turns)
        self._now = deadline

    def advance_sync(self, seconds: float) -> None:
        """Let `seconds` pass where no event loop runs: fire every due timer at its own time."""
        deadline = self._now + seconds
        while self._fire_next(deadline):
            pass
        self._now = deadline

    @property
    def pending_timers(self) -> int:
        """How many timers are armed."""
        return sum(1 for _, _, timer in self._timers if timer.callback is not None)

    def _fire_next(self, deadline: float) -> bool:
        while self._timers and self._timers[0][0] <= deadline:
            when, _, timer = heapq.heappop(self._timers)
            callback, timer.callback = timer.callback, None
            if callback is not None:
                self._now = max(self._now, when)
                Context().run(callback)
                return True
        return False


async def settle(turns: int = 20) -> None:
    """Let the event loop make `turns` turns, so that tasks that can run do run."""
    for _ in range(turns):
        await asyncio.sleep(0)
