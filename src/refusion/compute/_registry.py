"""The process-wide registry: where live results are found, held, counted, pruned and observed."""

import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

from refusion._base._logging import log_failure
from refusion._base._transiency import TransiencyClassifier, classify_error

from ._graph import DependantSet, graph_lock
from ._invalidation import invalidate
from ._keep_alive import HoldQueue
from ._source import InvalidationSource

if TYPE_CHECKING:
    from ._cache import MethodCache
    from ._computed import Computed
    from ._options import ResolvedOptions

__all__ = ["ComputedRegistry", "RegistryCounters", "collect", "registry"]

LifecycleHandler = Callable[["Computed[Any]"], object]
AccessHandler = Callable[["Computed[Any]", bool], object]


@dataclass(frozen=True, slots=True)
class RegistryCounters:
    """What the registry has seen so far, and what it holds now."""

    registered: int
    """Computed that were created, those of states included."""

    unregistered: int
    """Computed that were invalidated; one that is collected while consistent isn't counted."""

    pruned_keys: int
    """Entries of collected results that were swept out."""

    pruned_dependants: int
    """Edges to collected dependants that were swept out by `prune`."""

    computed_count: int
    """Results of compute methods that exist now."""

    key_count: int
    """Entries, including those of collected results that no prune has met yet."""

    held_count: int
    """Results that are held because of their last use."""


@final
class ComputedRegistry:
    """Knows every result of a compute method that exists, without keeping it alive.

    There is one per process, `registry()`. All members may be used from any thread.
    """

    def __init__(self) -> None:
        self.error_classifier: TransiencyClassifier = classify_error
        """Tells transient errors from others; replace it to teach the library your own."""
        self.keep_alive_limit = 65_536
        """About how many results are held by the implicit `keep_alive` at most; read when a method is first used."""
        self.is_watched: bool = False
        """Whether somebody wants to hear of each new, or each invalidated, computed."""
        self.is_observed: bool = False
        """Whether somebody wants to hear of each access."""
        self._caches: weakref.WeakSet[MethodCache] = weakref.WeakSet()
        self._queues: dict[tuple[float, bool], HoldQueue] = {}
        self._services: list[Callable[[], None]] = []
        self._on_register: tuple[LifecycleHandler, ...] = ()
        self._on_unregister: tuple[LifecycleHandler, ...] = ()
        self._on_access: tuple[AccessHandler, ...] = ()
        self.registered_count: int = 0
        self.unregistered_count: int = 0
        self._pruned_keys = 0
        self._pruned_dependants = 0

    def __iter__(self) -> Iterator["Computed[Any]"]:
        """Iterate over a snapshot of all registered results that exist now, in any state."""
        for cache in list(self._caches):
            yield from cache.live()

    @property
    def counters(self) -> RegistryCounters:
        """A snapshot of the counters."""
        with graph_lock:
            return RegistryCounters(
                registered=self.registered_count,
                unregistered=self.unregistered_count,
                pruned_keys=self._pruned_keys,
                pruned_dependants=self._pruned_dependants,
                computed_count=sum(1 for _ in self),
                key_count=sum(len(cache.table) for cache in list(self._caches)),
                held_count=sum(len(queue) for queue in self._queues.values()),
            )

    # Events

    def on_register(self, handler: LifecycleHandler) -> Callable[[], None]:
        """Call `handler(computed)` for each computed that is created; returns how to stop that.

        The computed is COMPUTING then. What a handler raises is logged. The same holds for the other events.
        """
        self._on_register += (handler,)
        self.is_watched = True

        def unsubscribe() -> None:
            self._on_register = _without(self._on_register, handler)
            self.is_watched = bool(self._on_register or self._on_unregister)

        return unsubscribe

    def on_unregister(self, handler: LifecycleHandler) -> Callable[[], None]:
        """Call `handler(computed)` for each computed that is invalidated; returns how to stop that."""
        self._on_unregister += (handler,)
        self.is_watched = True

        def unsubscribe() -> None:
            self._on_unregister = _without(self._on_unregister, handler)
            self.is_watched = bool(self._on_register or self._on_unregister)

        return unsubscribe

    def on_access(self, handler: AccessHandler) -> Callable[[], None]:
        """Call `handler(computed, is_new)` for each use of a result; returns how to stop that.

        While there is a handler, every call takes the slow path.
        """
        self._on_access += (handler,)
        self.is_observed = True
        with graph_lock:
            for cache in list(self._caches):
                cache.hot.clear()

        def unsubscribe() -> None:
            self._on_access = _without(self._on_access, handler)
            self.is_observed = bool(self._on_access)

        return unsubscribe

    # Maintenance

    def prune(self) -> int:
        """Sweep out what collected results have left behind; returns how many entries that were.

        The registry does this by itself now and then.
        """
        pruned = 0
        with graph_lock:
            for cache in list(self._caches):
                pruned += cache.prune()
                for computed in cache.live():
                    if type(computed._dependants) is DependantSet:
                        self._pruned_dependants += computed._dependants.prune()
        return pruned

    def invalidate_everything(self) -> None:
        """Invalidate every registered result, immediately."""
        for computed in list(self):
            invalidate(computed, InvalidationSource.EVERYTHING, immediately=True)

    def collect(self) -> None:
        """Let go of all results that only the implicit `keep_alive` holds, and of services held for speed."""
        for (_, is_implicit), queue in list(self._queues.items()):
            if is_implicit:
                queue.release_all()
        for release in self._services:
            release()

    # For the kernel

    def hold_queue(self, options: "ResolvedOptions") -> HoldQueue | None:
        """Return what holds the results of a method with these options, or None if nothing does."""
        duration = options.hold_duration
        if duration == 0:
            return None
        is_implicit = options.min_cache_duration < options.keep_alive
        with graph_lock:
            queue = self._queues.get((duration, is_implicit))
            if queue is None:
                limit = self.keep_alive_limit if is_implicit else None
                queue = self._queues[duration, is_implicit] = HoldQueue(duration, limit)
            return queue

    def remove(self, computed: "Computed[Any]") -> None:
        """Count an invalidated computed and tell the observers."""
        self.unregistered_count += 1
        self.unregistered(computed)

    def add(self, computed: "Computed[Any]") -> None:
        """Count a new computed and tell the observers."""
        self.registered_count += 1
        self.registered(computed)

    def registered(self, computed: "Computed[Any]") -> None:
        """Tell the observers of a new computed; the caller has counted it."""
        for handler in self._on_register:
            _guarded(handler, computed)

    def unregistered(self, computed: "Computed[Any]") -> None:
        """Tell the observers of an invalidated computed; the caller has counted it."""
        for handler in self._on_unregister:
            _guarded(handler, computed)

    def accessed(self, computed: "Computed[Any]", *, is_new: bool) -> None:
        """Tell the observers of a use."""
        for handler in self._on_access:
            try:
                handler(computed, is_new)
            except Exception:
                log_failure("a registry handler", handler)


def _guarded(handler: LifecycleHandler, computed: "Computed[Any]") -> None:
    try:
        handler(computed)
    except Exception:
        log_failure("a registry handler", handler)


def _without(handlers: tuple[Any, ...], handler: Any) -> tuple[Any, ...]:
    kept = list(handlers)
    if handler in kept:
        kept.remove(handler)
    return tuple(kept)


_registry = ComputedRegistry()


def registry() -> ComputedRegistry:
    """Return the registry of this process."""
    return _registry


def collect() -> None:
    """Let go of all results that only the implicit keep-alive holds, as time would; for tests.

    What is held by `min_cache_duration`, by a dependant, or by the program stays.
    """
    _registry.collect()
