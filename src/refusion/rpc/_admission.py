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
        self.tasks: set[asyncio.Task[None]] = set()
        """What runs handlers."""

    @property
    def queued_count(self) -> int:
        """How many calls wait for their turn."""
        return len(self._queue)

    def admit(self, call: "InboundCall") -> None:
        """Run a call, now or in its turn.

        Raises:
            RpcOverloaded: If far too many are waiting already.
        """
        if len(self.tasks) < self._max_running:
            self._run(call)
            return
        queued = len(self._queue)
        if queued >= self._max_queued * _REFUSAL_FACTOR:
            raise RpcOverloaded(f"{len(self.tasks):,} calls of this peer are running and {queued:,} wait; come again")
        self._queue.append(call)
        if queued + 1 >= self._max_queued:
            self._has_paused = True
            self._peer.pause_reading(self)

    def clear(self) -> None:
        """Forget the calls that wait."""
        self._queue.clear()

    def _run(self, call: "InboundCall") -> None:
        task = call.task = self._peer.loop.create_task(call.run(), name=call.method, context=call.create_context())
        self.tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self.tasks.discard(task)
        while self._queue and len(self.tasks) < self._max_running:
            call = self._queue.popleft()
            if not call.is_cancelled:
                self._run(call)
        if self._has_paused and len(self._queue) <= self._max_queued // 2:
            self._has_paused = False
            self._peer.resume_reading(self)
