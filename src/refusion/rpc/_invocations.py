"""Calls of services that come from no peer: by plain HTTP, or along a local route."""

import asyncio
from collections.abc import Container
from typing import TYPE_CHECKING, Any, final

from refusion._base._logging import logger

from ._call_context import InboundContext

if TYPE_CHECKING:
    from ._hub import RpcHub

__all__ = ["Invocations"]


@final
class Invocations:
    """Runs such calls in the tasks of their callers, and keeps count, so that a hub can wait for them."""

    def __init__(self, hub: "RpcHub") -> None:
        self._hub = hub
        self._open: dict[asyncio.Future[None], asyncio.Task[Any] | None] = {}
        self._unattended: set[asyncio.Task[None]] = set()

    async def run(self, context: InboundContext) -> Any:
        """Return the result of a call, through the inbound middleware."""
        ended = asyncio.get_running_loop().create_future()
        self._open[ended] = asyncio.current_task()
        try:
            return await self._hub.inbound.run(context)
        finally:
            del self._open[ended]
            ended.set_result(None)

    def run_unattended(self, context: InboundContext) -> None:
        """Run a call that nobody waits for; its error is logged."""
        task = self._hub.loop.create_task(self._run_unattended(context), name=context.method.wire_name)
        self._unattended.add(task)
        task.add_done_callback(self._unattended.discard)

    async def drain(self, but: Container[asyncio.Task[Any]]) -> None:
        """Wait until none is under way, except in the tasks `but`."""
        while busy := [ended for ended, task in self._open.items() if task is None or task not in but]:
            await asyncio.wait(busy)

    async def aclose(self) -> None:
        """Cancel those that nobody waits for."""
        tasks = self._unattended - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run_unattended(self, context: InboundContext) -> None:
        try:
            await self.run(context)
        except Exception as error:
            logger.error("%s failed, and nobody waits for it", context.method.full_name, exc_info=error)
