"""Something that happens once, that any number of tasks in any loops may wait for."""

import threading
from typing import final

from ._waiter import Waiter

__all__ = ["Signal"]


@final
class Signal:
    """A one-shot event without a loop of its own; may be set from any thread."""

    __slots__ = ("_is_set", "_lock", "_waiters")

    def __init__(self) -> None:
        self._is_set = False
        self._lock = threading.Lock()
        self._waiters: dict[Waiter, None] = {}

    @property
    def is_set(self) -> bool:
        """Whether it has happened."""
        return self._is_set

    def set(self) -> None:
        """Let it happen: all who wait, and all who will, go on."""
        with self._lock:
            self._is_set = True
            waiters, self._waiters = self._waiters, {}
        for waiter in waiters:
            waiter.wake()

    async def wait(self) -> None:
        """Wait until it has happened; cancelling leaves nothing behind."""
        waiter = Waiter()
        if not self.subscribe(waiter):
            return
        try:
            await waiter.wait()
        finally:
            self.unsubscribe(waiter)

    def subscribe(self, waiter: Waiter) -> bool:
        """Wake `waiter` when it happens; returns False, without subscribing, if it has happened already."""
        with self._lock:
            if not self._is_set:
                self._waiters[waiter] = None
            return not self._is_set

    def unsubscribe(self, waiter: Waiter) -> None:
        """Don't wake `waiter`."""
        with self._lock:
            self._waiters.pop(waiter, None)
