"""Waiting in an event loop for something that any thread may cause."""

import asyncio
from contextlib import suppress
from typing import final

__all__ = ["Waiter"]


@final
class Waiter:
    """One task's wait, in its own loop, that any thread can end.

    Futures belong to one loop and are deaf to other threads, so what is shared between loops keeps
    waiters instead of futures.
    """

    __slots__ = ("_future", "_loop")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._future: asyncio.Future[None] = self._loop.create_future()

    def wake(self) -> None:
        """End the wait; may be called from any thread, more than once, and after the loop was closed."""
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            running = None
        if running is self._loop:
            self._finish()
            return
        # A closed loop has nobody left who waits.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._finish)

    async def wait(self) -> None:
        """Wait for `wake`; cancelling leaves nothing behind."""
        await self._future

    def _finish(self) -> None:
        if not self._future.done():
            self._future.set_result(None)
