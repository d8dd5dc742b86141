"""A computation in flight: who leads it, and who waits for it."""

import asyncio
import threading
from typing import TYPE_CHECKING, Any, final

from refusion._aio._waiter import Waiter

from ._context import CallContext, computing_ancestors
from ._errors import CyclicComputation

if TYPE_CHECKING:
    from ._computed import Computed

__all__ = ["Flight", "ThreadWaiter", "check_cycle", "is_abandoned", "join", "lead", "leader_of", "leave"]


@final
class ThreadWaiter:
    """A thread's wait for a synchronous computation in another thread."""

    __slots__ = ("_event",)

    def __init__(self) -> None:
        self._event = threading.Event()

    def wake(self) -> None:
        """End the wait."""
        self._event.set()

    def wait(self) -> None:
        """Block this thread until `wake`."""
        self._event.wait()


@final
class Flight:
    """The waiters of a computation; made when the first one joins.

    Until then `Computed._flight` is just the leader: a task, or the number of a thread.
    """

    __slots__ = ("leader", "waiters")

    def __init__(self, leader: "asyncio.Task[Any] | int | None") -> None:
        self.leader = leader
        self.waiters: dict[Waiter | ThreadWaiter, None] = {}

    def wake(self) -> None:
        """Let all waiters look at the outcome; each decides for itself what it means."""
        for waiter in list(self.waiters):
            waiter.wake()


def join(computed: "Computed[Any]", waiter: Waiter | ThreadWaiter) -> None:
    """Wait for the computation of `computed`; the caller holds the lock."""
    flight = computed._flight
    if type(flight) is not Flight:
        flight = computed._flight = Flight(flight)
    flight.waiters[waiter] = None


def leave(computed: "Computed[Any]", waiter: Waiter | ThreadWaiter) -> None:
    """Wait no longer."""
    flight = computed._flight
    if type(flight) is Flight:
        flight.waiters.pop(waiter, None)


def lead(computed: "Computed[Any]", leader: "asyncio.Task[Any]") -> None:
    """Make `leader` the one that runs the body of `computed`."""
    flight = computed._flight
    if type(flight) is Flight:
        flight.leader = leader
    else:
        computed._flight = leader


def leader_of(computed: "Computed[Any]") -> Any:
    """Return who runs the body: a task, the number of a thread, or None when that isn't known."""
    flight = computed._flight
    return flight.leader if type(flight) is Flight else flight


def is_abandoned(computed: "Computed[Any]") -> bool:
    """Tell whether the leader can't, or won't, finish: it is being cancelled, or its loop was closed."""
    leader = leader_of(computed)
    if not isinstance(leader, asyncio.Task):
        return False
    return leader.cancelling() > 0 or leader.done() or leader.get_loop().is_closed()


def check_cycle(context: CallContext | None, computed: "Computed[Any]") -> None:
    """Refuse to wait for a computation that waits for the caller."""
    for ancestor in computing_ancestors(context):
        if ancestor is computed:
            raise CyclicComputation(repr(computed))
