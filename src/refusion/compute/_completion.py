"""How a computation ends: with an output, or abandoned."""

import math
from typing import TYPE_CHECKING, Any, Final

from refusion._base._result import StoredError
from refusion._base._transiency import Transiency, transiency_of

from ._errors import ComputationCancelled
from ._flight import Flight
from ._graph import acquire_graph_lock, graph_lock, release_graph_lock
from ._invalidation import Pending, flip, notify, schedule_invalidation
from ._source import InvalidationSource
from ._state import COMPUTING, CONSISTENT

if TYPE_CHECKING:
    from ._computed import Computed

__all__ = ["abandon", "complete", "error_lifetime"]

_NEVER: Final = math.inf


def complete(computed: "Computed[Any]", value: Any, error: StoredError | None, lifetime: float) -> bool:
    """Publish the output of a computation and wake those who wait for it.

    A computation that was invalidated on its way goes straight on to INVALIDATED, unless there is an
    `invalidation_delay` to serve it for.

    Args:
        computed: What was computed.
        value: The value, if there is no error.
        error: The error.
        lifetime: After how many seconds it invalidates itself; `math.inf` for never.

    Returns:
        Whether the output was published as consistent.
    """
    # Not `with`: this is part of every miss, and acquiring by hand takes half the time.
    acquire_graph_lock()
    try:
        if computed._state is not COMPUTING:
            return False
        computed._value = value
        computed._error = error
        flight = computed._flight
        computed._flight = None
        pending = computed._pending
        if pending is not None and pending.is_requested and _must_flip(computed, pending):
            is_consistent = False
            pending, _ = flip(computed, InvalidationSource.UNKNOWN)
        else:
            is_consistent = True
            computed._state = CONSISTENT
            hold = computed._function.hold
            if hold is not None:
                hold.hold(computed)
            if pending is not None and pending.is_requested:
                computed._request_invalidation(InvalidationSource.UNKNOWN, immediately=False)
            if lifetime != _NEVER:
                source = InvalidationSource.AUTO_INVALIDATION if error is None else InvalidationSource.ERROR_EXPIRED
                schedule_invalidation(computed, lifetime, source)
    finally:
        release_graph_lock()
    if type(flight) is Flight:
        flight.wake()
    if not is_consistent:
        interrupt = notify(computed, pending)
        if interrupt is not None:
            raise interrupt
    return is_consistent


def _must_flip(computed: "Computed[Any]", pending: Pending) -> bool:
    return pending.is_immediate or computed._options.invalidation_delay <= 0


def abandon(computed: "Computed[Any]", error: BaseException | None = None) -> None:
    """End a computation without an output that anybody may use; one of those who wait starts over."""
    with graph_lock:
        if computed._state is not COMPUTING:
            return
        computed._value = None
        computed._error = StoredError(error or ComputationCancelled(repr(computed), 1), None)
        flight, computed._flight = computed._flight, None
        pending, _ = flip(computed, InvalidationSource.CANCELLATION)
    if type(flight) is Flight:
        flight.wake()
    interrupt = notify(computed, pending)
    if interrupt is not None:
        raise interrupt


def error_lifetime(computed: "Computed[Any]", error: BaseException) -> float:
    """Return how many seconds an error is cached; an error that names a `retry_delay` is kept that long at least."""
    from ._registry import registry

    options = computed._options
    transiency = transiency_of(error, registry().error_classifier)
    if transiency is Transiency.TRANSIENT:
        lifetime = options.transient_error_invalidation_delay
    elif transiency is Transiency.TERMINAL:
        lifetime = options.auto_invalidation_delay
    else:
        lifetime = min(options.auto_invalidation_delay, options.non_transient_error_invalidation_delay)
    retry_delay = getattr(error, "retry_delay", None)
    return max(lifetime, retry_delay) if isinstance(retry_delay, (int, float)) and retry_delay > 0 else lifetime
