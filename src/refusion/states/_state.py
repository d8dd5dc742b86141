"""What mutable and computed states have in common."""

import threading
from abc import abstractmethod
from collections.abc import AsyncGenerator, Callable, Coroutine
from enum import Enum
from typing import Any, Generic, Self, TypeVar

from refusion._base._logging import log_failure
from refusion._base._result import Result
from refusion.compute import Computed, ComputedOptions, ComputeFunction, Delayer, ResolvedOptions, registry
from refusion.compute._keep_alive import HoldQueue

from ._snapshot import StateSnapshot

__all__ = ["State", "StateEvent"]

T = TypeVar("T")


class StateEvent(Enum):
    """What a state tells of."""

    INVALIDATED = "invalidated"
    """The current generation has become stale; told exactly once of each."""

    UPDATING = "updating"
    """An update is about to start."""

    UPDATED = "updated"
    """A new generation is there."""


class State(ComputeFunction, Generic[T]):
    """A value that changes over time, and can be depended on by computations.

    All members may be used from any thread. Handlers are isolated: what one raises is logged and hides
    nothing from the others. They never run on behalf of a computation.
    """

    is_told_of_invalidation = True

    __slots__ = ("__weakref__", "_handlers", "_lock", "_snapshot", "hold", "options")

    def __init__(self, options: ComputedOptions) -> None:
        self.options: ResolvedOptions = options.resolve()
        if self.options.must_consolidate:
            raise TypeError("consolidation works for compute methods only; remove consolidation_delay")
        self.hold: HoldQueue | None = None
        self._lock = threading.RLock()
        self._handlers: dict[StateEvent, tuple[Callable[[Any], object], ...]] = dict.fromkeys(StateEvent, ())
        self._snapshot: StateSnapshot[T] = StateSnapshot(self._create_initial())

    @abstractmethod
    def _create_initial(self) -> Computed[T]:
        """Return the computed of the first generation."""

    # The current generation

    @property
    def snapshot(self) -> StateSnapshot[T]:
        """The current generation, whose parts belong together."""
        return self._snapshot

    @property
    def computed(self) -> Computed[T]:
        """The computed of the current generation; never one that is still computing."""
        return self._snapshot.computed

    @property
    def value(self) -> T:
        """The current value, fresh or stale; raises the error if that is what there is."""
        return self._snapshot.computed.value

    @property
    def error(self) -> BaseException | None:
        """The current error, or None."""
        return self._snapshot.computed.error

    @property
    def value_or_none(self) -> T | None:
        """The current value, or None if there is an error."""
        return self._snapshot.computed.value_or_none

    @property
    def has_value(self) -> bool:
        """Whether the current generation has a value."""
        return self._snapshot.computed.has_value

    @property
    def has_error(self) -> bool:
        """Whether the current generation has an error."""
        return self._snapshot.computed.has_error

    @property
    def output(self) -> Result[T]:
        """The current value or error as one thing."""
        return self._snapshot.computed.output

    @property
    def last_non_error_value(self) -> T:
        """The latest value that there was, whatever has failed since; raises if there never was one."""
        return self._snapshot.last_non_error_computed.value

    # Following it

    def use(self) -> Coroutine[Any, Any, T]:
        """Return an awaitable of the up-to-date value, which the calling computation depends on.

        Raises:
            Exception: The error, if the update failed.
            ComputeModeError: If called inside `invalidating()`.
            CyclicComputation: If called from inside of its own computation.
        """
        return self._snapshot.computed.use()

    def update(self) -> Coroutine[Any, Any, Computed[T]]:
        """Return an awaitable of an up-to-date computed; the caller doesn't depend on it.

        Raises:
            CyclicComputation: If called from inside of its own computation.
        """
        return self._snapshot.computed.update()

    def changes(self, delayer: Delayer | None = None) -> AsyncGenerator[Computed[T], None]:
        """Iterate over the current computed and, without end, over those that take its place."""
        return self._snapshot.computed.changes(delayer)

    def on_invalidated(self, handler: Callable[[Self], object]) -> Callable[[], None]:
        """Call `handler(state)` when the current generation has become stale; returns how to stop that."""
        return self._subscribe(StateEvent.INVALIDATED, handler)

    def on_updating(self, handler: Callable[[Self], object]) -> Callable[[], None]:
        """Call `handler(state)` before each update; returns how to stop that."""
        return self._subscribe(StateEvent.UPDATING, handler)

    def on_updated(self, handler: Callable[[Self], object]) -> Callable[[], None]:
        """Call `handler(state)` after each update, with the new generation visible; returns how to stop that."""
        return self._subscribe(StateEvent.UPDATED, handler)

    def __iter__(self) -> Any:
        """Unpack as `value, error = state`, which never raises the error."""
        return iter(self.output)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._snapshot.computed!r}>"

    # For the kernel and the subclasses

    def describe(self, key: Any) -> str:
        return type(self).__name__

    def unregister(self, computed: Computed[Any]) -> None:
        registry().remove(computed)

    def _subscribe(self, event: StateEvent, handler: Callable[[Any], object]) -> Callable[[], None]:
        with self._lock:
            self._handlers[event] += (handler,)

        def unsubscribe() -> None:
            with self._lock:
                kept = list(self._handlers[event])
                if handler in kept:
                    kept.remove(handler)
                self._handlers[event] = tuple(kept)

        return unsubscribe

    def _raise_event(self, event: StateEvent) -> None:
        for handler in self._handlers[event]:
            try:
                handler(self)
            except Exception:
                log_failure(f"a handler of {event.value}", handler)

    def _raise_invalidated(self, snapshot: StateSnapshot[T]) -> None:
        """Tell that a generation is stale, unless that was told before."""
        with self._lock:
            if snapshot._invalidated_signal.is_set:
                return
            snapshot._invalidated_signal.set()
        self._raise_event(StateEvent.INVALIDATED)

    def _publish(self, computed: Computed[T]) -> StateSnapshot[T]:
        """Make `computed` the current generation, and tell."""
        with self._lock:
            previous = self._snapshot
            snapshot = self._snapshot = StateSnapshot(computed, previous)
        previous._updated_signal.set()
        self._raise_event(StateEvent.UPDATED)
        return snapshot
