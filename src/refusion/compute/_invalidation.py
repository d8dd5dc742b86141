"""How a computed becomes invalidated, and everything built on it.

The cascade keeps its own stack instead of recursing, so its depth is bounded by memory only. For each
computed, in this order: its state flips; its function forgets it; its handlers run, with the lock released,
while its dependants are still consistent; then its dependants follow, one after another, depth first.
"""

from collections.abc import Callable, Iterator
from contextvars import Context
from typing import TYPE_CHECKING, Any, final
from weakref import ref

from refusion._base._clock import TimerHandle, current_clock
from refusion._base._logging import log_failure

from ._graph import Dependants, acquire_graph_lock, iter_dependants, release_graph_lock, remove_dependant
from ._source import InvalidationSource, InvalidationTracking, invalidation_tracking
from ._state import COMPUTING, INVALIDATED

if TYPE_CHECKING:
    from ._computed import Computed

__all__ = ["Handler", "Pending", "invalidate", "schedule_invalidation"]

Handler = Callable[["Computed[Any]"], object]


@final
class Pending:
    """What is planned for a computed that isn't invalidated yet; made when there is something to note."""

    __slots__ = ("deadline", "handlers", "is_delaying", "is_immediate", "is_requested", "source", "timer")

    def __init__(self) -> None:
        self.handlers: dict[Handler, None] = {}
        """What to call on invalidation, in the order of subscription."""
        self.is_requested = False
        """Somebody invalidated it while it was computing."""
        self.is_immediate = False
        """One of the requests doesn't wait for `invalidation_delay`."""
        self.is_delaying = False
        """The time of `invalidation_delay` runs."""
        self.source: InvalidationSource | None = None
        """The first reason that was given."""
        self.deadline: float | None = None
        """When it becomes invalidated by itself, in clock time."""
        self.timer: TimerHandle | None = None

    def cancel_timer(self) -> None:
        """Stop the timer, if there is one."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        self.deadline = None


def invalidate(root: "Computed[Any]", source: InvalidationSource, *, immediately: bool) -> None:
    """Invalidate `root`, then its dependants, transitively; never raises an error of a handler.

    Args:
        root: Where the cascade starts.
        source: The reason to record.
        immediately: Whether `root` skips its `invalidation_delay`; its dependants never do.
    """
    interrupt: BaseException | None = None
    keeps_chain = invalidation_tracking() is InvalidationTracking.WHOLE_CHAIN
    # Iterators instead of lists of work to do: nothing is allocated for a dependant, so that a large cascade
    # doesn't set off the garbage collector, which would look at everything that is cached.
    stack: list[tuple[Iterator[ref[Computed[Any]]], InvalidationSource]] = [(iter((ref(root),)), source)]
    acquire_graph_lock()
    try:
        while stack:
            refs, source = stack[-1]
            for computed_ref in refs:
                computed = computed_ref()
                if computed is None or computed._state is INVALIDATED:
                    continue
                function = computed._function
                if computed._state is COMPUTING or (not immediately and function.options.invalidation_delay > 0):
                    computed._request_invalidation(source, immediately=immediately)
                    immediately = False
                    continue
                immediately = False
                pending, dependants = flip(computed, source)
                if pending is not None or function.is_told_of_invalidation:
                    release_graph_lock()
                    try:
                        interrupt = notify(computed, pending) or interrupt
                    finally:
                        acquire_graph_lock()
                if dependants is not None:
                    through = InvalidationSource(dependency=computed) if keeps_chain else computed._source or source
                    stack.append((iter_dependants(dependants), through))
                    break
            else:
                stack.pop()
    finally:
        release_graph_lock()
    if interrupt is not None:
        raise interrupt


def flip(computed: "Computed[Any]", source: InvalidationSource) -> "tuple[Pending | None, Dependants]":
    """Make one computed invalidated and unlink it; the caller holds the lock and has to `notify`.

    Returns:
        Its pending record with the handlers, and its former dependants.
    """
    pending = computed._pending
    if pending is not None:
        pending.cancel_timer()
        source = pending.source or source
        computed._pending = None
    computed._state = INVALIDATED
    computed._source = source
    computed._function.unregister(computed)
    dependants = computed._dependants
    computed._dependants = None
    dependencies = computed._dependencies
    if dependencies is not None:
        computed._dependencies = None
        for dependency in dependencies:
            # Where the cascade has come from, there is nothing left to unlink.
            if dependency._dependants is not None:
                remove_dependant(dependency, ref(computed))
    return pending, dependants


def notify(computed: "Computed[Any]", pending: Pending | None) -> BaseException | None:
    """Tell the function and the handlers of a freshly invalidated computed, with no lock held.

    Handlers run in an empty context, so that a compute call made by one computes, whoever invalidated.

    Returns:
        A process-control exception (as KeyboardInterrupt) raised by a handler, for after the cascade.
    """
    interrupt = None
    function = computed._function
    if function.is_told_of_invalidation:
        interrupt = _run(function.invalidated, computed)
    if pending is not None:
        for handler in pending.handlers:
            interrupt = _run(handler, computed) or interrupt
    return interrupt


def _run(handler: Handler, computed: "Computed[Any]") -> BaseException | None:
    try:
        Context().run(handler, computed)
    except Exception:
        log_failure("an invalidation handler", handler)
    except BaseException as error:
        return error
    return None


def schedule_invalidation(computed: "Computed[Any]", delay: float, source: InvalidationSource) -> None:
    """Invalidate `computed` after `delay` seconds, immediately then; of several requests the earliest counts.

    The timer holds the computed. Where its event loop is closed before it fires, the deadline is noticed
    by the next access. The caller holds the lock.
    """
    clock = current_clock()
    deadline = clock.now() + delay
    pending = computed._ensure_pending()
    if pending.deadline is not None and pending.deadline <= deadline:
        return
    pending.cancel_timer()
    pending.deadline = deadline
    pending.timer = clock.call_at(deadline, lambda: invalidate(computed, source, immediately=True))
