"""Waiting for what is under way when a hub is closed."""

import asyncio
from collections.abc import Sequence
from typing import Any, final

from refusion._base._clock import current_clock

from ._invocations import Invocations
from ._peer import RpcPeer

__all__ = ["Draining"]


@final
class Draining:
    """Lets handlers and calls come to their end, except the handlers that wait for the closing themselves."""

    def __init__(self, invocations: Invocations) -> None:
        self._invocations = invocations
        self._closers: set[asyncio.Task[Any]] = set()
        self._waits: list[asyncio.Task[None]] = []

    def add_closer(self, task: asyncio.Task[Any]) -> None:
        """Don't wait for a task that closes the hub."""
        self._closers.add(task)
        self._start_anew()

    async def run(self, peers: Sequence[RpcPeer], seconds: float) -> None:
        """Let no more calls in, and wait until nothing is under way, as long as there is time."""
        for peer in peers:
            peer.takes_calls = False
        is_over = False

        def end() -> None:
            nonlocal is_over
            is_over = True
            self._start_anew()

        clock = current_clock()
        timer = clock.call_at(clock.now() + seconds, end)
        while not is_over:
            waits = [self._invocations.drain(self._closers), *[peer.drain(self._closers) for peer in peers]]
            self._waits = [asyncio.create_task(wait, name="rpc drain") for wait in waits]
            await asyncio.wait(self._waits)
            if not any(task.cancelled() for task in self._waits):
                break
        timer.cancel()

    def _start_anew(self) -> None:
        """See again what is to be waited for."""
        for task in self._waits:
            task.cancel()
