"""One event loop for all inputs of a target: a new one for each would cost more than most of them."""

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, TypeVar, final

from refusion.rpc import RpcHub
from refusion.testing import VirtualClock

__all__ = ["LOOP"]

T = TypeVar("T")

_CLOSE_ROUNDS: Final = 10


@final
class _Loop:
    """Runs coroutines to their end; what goes wrong in the background counts as their failure."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._problems: list[dict[str, Any]] = []

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine and return its result; no task may be left of it."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._loop.set_exception_handler(lambda _, context: self._problems.append(context))
        self._problems.clear()
        result = self._loop.run_until_complete(work)
        left = [task for task in asyncio.all_tasks(self._loop) if not task.done()]
        if left:
            names = [repr(task) for task in left]
            for task in left:
                task.cancel()
            self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
            raise AssertionError(f"tasks were left: {names}")
        for context in self._problems:
            error = context.get("exception")
            raise AssertionError(f"in the background: {context.get('message')}: {error!r}") from error
        return result

    async def forever(self) -> Any:
        """Wait for what never comes."""
        return await asyncio.get_running_loop().create_future()

    async def close(self, hub: RpcHub, clock: VirtualClock) -> None:
        """Close a hub in virtual time."""
        closing = asyncio.ensure_future(hub.aclose(drain_timeout=0.0))
        for _ in range(_CLOSE_ROUNDS):
            await clock.advance(5.0)
            if closing.done():
                return closing.result()
        raise AssertionError("a hub doesn't come to its end")


LOOP: Final = _Loop()
"""The loop of this process."""
