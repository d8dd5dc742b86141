"""Update delayers: how long a state waits between an invalidation and its update."""

import functools
from typing import Final, Self, final

from refusion._aio._waiter import Waiter
from refusion._base._clock import current_clock
from refusion._base._retries import RetryDelays

from ._ui_actions import UIActionTracker

__all__ = ["MIN_UPDATE_DELAY", "FixedDelayer", "UpdateDelayer"]

MIN_UPDATE_DELAY: Final = 0.032
"""The shortest delay that `FixedDelayer.get` gives, in seconds: two frames of a screen."""

_RETRY_DELAYS: Final = RetryDelays(1.0, 60.0)


@final
class FixedDelayer:
    """Waits the same time before each update, and a growing time before each retry."""

    def __init__(self, update_delay: float, *, retry_delays: RetryDelays = _RETRY_DELAYS) -> None:
        """Create a delayer.

        Args:
            update_delay: Seconds before an update; 0 updates at once, which may take all the time there is.
            retry_delays: Seconds before an update that follows a transient error, in place of `update_delay`.

        Raises:
            ValueError: If the delay is negative or NaN.
        """
        if not update_delay >= 0:
            raise ValueError(f"update_delay must be zero or more seconds, not {update_delay}")
        self.update_delay = update_delay
        self.retry_delays = retry_delays

    @classmethod
    @functools.cache
    def get(cls, update_delay: float) -> Self:
        """Return the shared delayer for `update_delay` seconds, or for the shortest sensible delay."""
        return cls(max(update_delay, MIN_UPDATE_DELAY))

    async def delay(self, retry_count: int) -> None:
        """Wait before an update; `retry_count` transient errors came in a row."""
        await current_clock().sleep(self.retry_delays.delay(retry_count) if retry_count > 0 else self.update_delay)


@final
class UpdateDelayer:
    """Waits a moment before each update, but hurries while the user acts.

    What a person has just caused should be seen at once; what others cause may be seen a second later.
    """

    def __init__(
        self,
        tracker: UIActionTracker | None = None,
        *,
        update_delay: float = 1.0,
        min_delay: float = MIN_UPDATE_DELAY,
        retry_delays: RetryDelays = _RETRY_DELAYS,
    ) -> None:
        """Create a delayer.

        Args:
            tracker: Knows of user actions; without one nothing is hurried.
            update_delay: Seconds before an update when no user acts.
            min_delay: Seconds before an update at least.
            retry_delays: Seconds before an update that follows a transient error; its first is the least.
        """
        self.tracker = tracker
        self.update_delay = update_delay
        self.min_delay = min_delay
        self.retry_delays = retry_delays

    async def delay(self, retry_count: int) -> None:
        """Wait before an update; `retry_count` transient errors came in a row."""
        clock = current_clock()
        min_delay, full_delay = self.min_delay, self.update_delay
        if retry_count > 0:
            min_delay, full_delay = self.retry_delays.min, self.retry_delays.delay(retry_count)
        started_at = clock.now()
        if self.tracker is None:
            await clock.sleep(max(min_delay, full_delay))
            return
        if full_delay > min_delay:
            await self._sleep_until_action(self.tracker, full_delay)
        remaining = min_delay - (clock.now() - started_at)
        if remaining > 0:
            await clock.sleep(remaining)

    @staticmethod
    async def _sleep_until_action(tracker: UIActionTracker, seconds: float) -> None:
        waiter = Waiter()
        if not tracker.subscribe(waiter):
            return
        clock = current_clock()
        timer = clock.call_at(clock.now() + seconds, waiter.wake)
        try:
            await waiter.wait()
        finally:
            timer.cancel()
            tracker.unsubscribe(waiter)
