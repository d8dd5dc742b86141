"""How many calls of one peer run at once: a flood of calls waits in the network, not in memory."""

import asyncio
from collections import OrderedDict
from typing import TYPE_CHECKING, Final, final

from refusion._base._clock import TimerHandle, current_clock

from ._errors import RpcOverloaded

if TYPE_CHECKING:
    from ._inbound_call import InboundCall
    from ._peer import RpcPeer

__all__ = ["CallAdmission"]

_REFUSAL_FACTOR: Final = 10


@final
class CallAdmission:
    """Starts calls as they come while few are running, and one for each that ends when many are.

    Many are `RpcLimits.max_running_calls` handlers of a peer, or `max_call_bytes` of arguments. Further calls
    queue, in their order. With a full queue nothing more is read from the peer, until half of it has started.

    What the running handlers wait for may have to come over the same connection: answers and items of streams, but
    also the word that a call is cancelled, or that the client is gone. So a pause ends at once when this side
    waits for the peer, and in any case after a keep-alive period; what then comes too much is refused.
    """

    def __init__(self, peer: "RpcPeer") -> None:
        limits = peer.limits
        self._peer = peer
        self._max_running = limits.max_running_calls
        self._max_queued = limits.max_queued_calls
        self._max_bytes = limits.max_call_bytes
        self._max_pause = limits.keep_alive_period
        self._queue: OrderedDict[InboundCall, None] = OrderedDict()
        self._queued_bytes = 0
        self._pause: TimerHandle | None = None
        self._has_paused_enough = False
        self.tasks: dict[asyncio.Task[None], InboundCall] = {}
        """What runs handlers, each with its call."""
        self._unstarted: set[InboundCall] = set()
        self.held_bytes: int = 0
        """The size of the arguments of all that run."""

    @property
    def queued_count(self) -> int:
        """How many calls wait for their turn."""
        return len(self._queue)

    @property
    def unstarted_count(self) -> int:
        """How many calls are about to begin: what comes after them has to wait for that, too."""
        return len(self._unstarted)

    def started(self, call: "InboundCall") -> None:
        """Be told that a call has begun."""
        self._unstarted.discard(call)

    @property
    def is_pausing(self) -> bool:
        """Whether nothing is read from the peer."""
        return self._pause is not None

    def admit(self, call: "InboundCall") -> None:
        """Run a call, now or in its turn.

        Raises:
            RpcOverloaded: If far too many are waiting already.
        """
        if not self._queue and self._has_room(call.size):
            self._run(call)
            return
        queued = len(self._queue)
        if queued >= self._max_queued * _REFUSAL_FACTOR or self._queued_bytes >= self._max_bytes:
            raise RpcOverloaded(f"{len(self.tasks):,} calls of this peer are running and {queued:,} wait; come again")
        self._queue[call] = None
        self._queued_bytes += call.size
        if self._pause is None and not self._has_paused_enough and self._is_full and not self._peer.must_read_on:
            clock = current_clock()
            self._pause = clock.call_at(clock.now() + self._max_pause, self._pause_is_over)
        if self._pause is not None:
            # Again with each call: it may have come over another connection.
            self._peer.pause_reading(self)

    def forget(self, call: "InboundCall") -> None:
        """Take a call that nobody wants any more out of the queue, if it is there."""
        if call in self._queue:
            del self._queue[call]
            self._queued_bytes -= call.size
            self._start_queued()

    def read_on(self) -> None:
        """Be told that this side has begun to wait for something of the peer."""
        if self._pause is not None:
            self._end_pause()

    def clear(self) -> None:
        """Forget the calls that wait."""
        self._queue.clear()
        self._queued_bytes = 0
        if self._pause is not None:
            self._end_pause()

    @property
    def _is_full(self) -> bool:
        # With arguments this large one call fills the queue: more than that isn't held beside what runs.
        return len(self._queue) >= self._max_queued or self.held_bytes + self._queued_bytes >= self._max_bytes

    def _has_room(self, size: int) -> bool:
        running = len(self.tasks)
        # The first one may be as large as messages are.
        return running < self._max_running and (self.held_bytes + size <= self._max_bytes or not running)

    def _run(self, call: "InboundCall") -> None:
        loop, context = self._peer.loop, call.create_context()
        if loop.get_task_factory() is None:
            # As `create_task` does it, at two thirds of the price.
            task = asyncio.Task(call.run(), loop=loop, name=call.method, context=context)
        else:
            task = loop.create_task(call.run(), name=call.method, context=context)
        call.task = task
        self.tasks[task] = call
        self._unstarted.add(call)
        self.held_bytes += call.size
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        call = self.tasks.pop(task)
        # Cancelled before its first step it never begins.
        self._unstarted.discard(call)
        self.held_bytes -= call.size
        if self._queue:
            self._start_queued()

    def _start_queued(self) -> None:
        queue = self._queue
        while queue:
            call = next(iter(queue))
            if not self._has_room(call.size):
                break
            del queue[call]
            self._queued_bytes -= call.size
            self._run(call)
        if len(queue) <= self._max_queued // 2 and self._queued_bytes <= self._max_bytes // 2:
            self._has_paused_enough = False
            if self._pause is not None:
                self._end_pause()

    def _pause_is_over(self) -> None:
        self._has_paused_enough = True
        self._end_pause()

    def _end_pause(self) -> None:
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        self._peer.resume_reading(self)
