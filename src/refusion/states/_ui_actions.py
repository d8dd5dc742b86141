"""What the user of a UI does, and what came of it."""

import threading
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Final, TypeVar, final

from refusion._aio._waiter import Waiter
from refusion._base._clock import current_clock
from refusion._base._result import Result

__all__ = ["UIActionFailure", "UIActionTracker"]

T = TypeVar("T")

_MAX_FAILURES: Final = 100
"""A UI can't show more, and a failing loop must not fill the memory."""


@final
@dataclass(frozen=True, slots=True)
class UIActionFailure:
    """A user action that has failed."""

    error: BaseException
    """What it has raised."""

    failed_at: float
    """When, in clock time (seconds)."""


@final
class UIActionTracker:
    """Follows user actions, so that their effects are shown without delay and their failures are kept.

    Updates are instant while an action runs and for `instant_update_period` seconds after the last one.
    """

    def __init__(self, *, instant_update_period: float = 0.3, duplicate_window: float = 1.0) -> None:
        """Create a tracker.

        Args:
            instant_update_period: Seconds after an action in which updates are instant.
            duplicate_window: Seconds in which a failure with the type and text of an earlier one isn't kept.
        """
        self.instant_update_period = instant_update_period
        self.duplicate_window = duplicate_window
        self._lock = threading.Lock()
        self._running = 0
        self._last_completed_at = float("-inf")
        self._waiters: dict[Waiter, None] = {}
        self._failures: list[UIActionFailure] = []

    @property
    def running_count(self) -> int:
        """How many actions are running."""
        return self._running

    @property
    def are_instant_updates_enabled(self) -> bool:
        """Whether updates should be shown at once now."""
        return self._running > 0 or current_clock().now() < self._last_completed_at + self.instant_update_period

    @property
    def failures(self) -> tuple[UIActionFailure, ...]:
        """The failures that weren't dismissed, oldest first; a hundred at most."""
        return tuple(self._failures)

    async def call(self, action: Awaitable[T]) -> T:
        """Await an action on behalf of the user and return its value; its error is kept, and raised."""
        self._started()
        try:
            return await action
        except Exception as error:
            self._failed(error)
            raise
        finally:
            self._completed()

    async def run(self, action: Awaitable[T]) -> Result[T]:
        """Await an action on behalf of the user and return its result; its error is kept, not raised."""
        try:
            return Result(await self.call(action))
        except Exception as error:
            return Result(error=error)

    def dismiss(self, failure: UIActionFailure) -> None:
        """Forget a failure."""
        with self._lock:
            self._failures = [kept for kept in self._failures if kept is not failure]

    async def when_instant_updates_enabled(self) -> None:
        """Wait until updates should be shown at once, which is now or when the next action starts."""
        waiter = Waiter()
        if not self.subscribe(waiter):
            return
        try:
            await waiter.wait()
        finally:
            self.unsubscribe(waiter)

    def subscribe(self, waiter: Waiter) -> bool:
        """Wake `waiter` when an action starts; returns False, without subscribing, if updates are instant now."""
        with self._lock:
            if self.are_instant_updates_enabled:
                return False
            self._waiters[waiter] = None
            return True

    def unsubscribe(self, waiter: Waiter) -> None:
        """Don't wake `waiter`."""
        with self._lock:
            self._waiters.pop(waiter, None)

    def _started(self) -> None:
        with self._lock:
            self._running += 1
            waiters, self._waiters = self._waiters, {}
        for waiter in waiters:
            waiter.wake()

    def _completed(self) -> None:
        with self._lock:
            self._running -= 1
            self._last_completed_at = current_clock().now()

    def _failed(self, error: BaseException) -> None:
        now = current_clock().now()
        with self._lock:
            for known in self._failures:
                is_recent = now - known.failed_at < self.duplicate_window
                if is_recent and type(known.error) is type(error) and str(known.error) == str(error):
                    return
            self._failures = [*self._failures, UIActionFailure(error, now)][-_MAX_FAILURES:]
