"""How many calls of one peer run at once: a flood of calls waits in the network, not in memory."""

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final, final

from ._errors import RpcOverloaded

if TYPE_CHECKING:
    from ._inbound_call import InboundCall
    from ._peer import RpcPeer

__all__ = ["CallAdmission"]

_REFUSAL_FACTOR: Final = 10


@final
class CallAdmission:
    """Starts calls as they come while few are running, and one for each that ends when many are.

    At most `RpcLimits.max_running_calls` handlers run for a peer. Further calls queue, and from
    `max_queued_calls` on nothing more is read from the peer until half of them have started.
    """

    def __init__(self, peer: "RpcPeer") -> None:
        self._peer = peer
        self._max_running = peer.limits.max_running_calls
        self._max_queued = peer.limits.max_queued_calls
        self._queue: deque[InboundCall] = deque()
        self._has_paused = False
        self._running: set[InboundCall] = set()

    @property
    def tasks(self) -> set[asyncio.Task[None]]:
        """What runs handlers."""
        return {call.task for call in self._running if call.task is not None}

    @property
    def running_count(self) -> int:
        """How many handlers run."""
        return len(self._running)

    @property
    def queued_count(self) -> int:
        """How many calls wait for their turn."""
        return len(self._queue)

    def admit(self, call: "InboundCall") -> None:
        """Run a call, now or in its turn.

        Raises:
            RpcOverloaded: If far too many are waiting already.
        """
        if len(self._running) < self._max_running:
            self._run(call)
            return
        queued = len(self._queue)
        if queued >= self._max_queued * _REFUSAL_FACTOR:
            raise RpcOverloaded(
                f"{len(self._running):,} calls of this peer are running and {queued:,} wait; come again"
            )
        self._queue.append(call)
        # Handlers may be waiting for answers of this very peer, which can be read only together with its calls.
        if queued + 1 >= self._max_queued and not self._peer.is_waiting_for_answers:
            self._has_paused = True
            self._peer.pause_reading()

    def clear(self) -> None:
        """Forget the calls that wait."""
        self._queue.clear()

    def ended(self, call: "InboundCall") -> None:
        """Be told that a call doesn't run any more; it is the turn of the next one."""
        self._running.discard(call)
        if not self._queue:
            return
        while self._queue and len(self._running) < self._max_running:
            next_call = self._queue.popleft()
            if not next_call.is_cancelled:
                self._run(next_call)
        if self._has_paused and len(self._queue) <= self._max_queued // 2:
            self._has_paused = False
            self._peer.resume_reading()

    def _run(self, call: "InboundCall") -> None:
        self._running.add(call)
        loop = self._peer.loop
        context = call.create_context()
        if loop.get_task_factory() is None:
            # As `create_task` does it, at two thirds of the price.
            call.task = asyncio.Task(call.run(), loop=loop, name=call.method, context=context)
        else:
            call.task = loop.create_task(call.run(), name=call.method, context=context)
