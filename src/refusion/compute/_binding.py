"""Which function a service's compute method is: made once for each service, and kept while it is used.

A bound function holds its service, so whoever keeps functions keeps services. They are kept for speed
only, and let go once their service hasn't been used for a while.
"""

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, final

from refusion._base._clock import TimerHandle, current_clock, on_clock_changed

from ._cache import MethodCache
from ._graph import graph_lock
from ._registry import registry

if TYPE_CHECKING:
    from ._method import ComputeMethod

__all__ = ["BoundTable", "InstanceCaches", "retained"]

_IDLE_PERIOD: Final = 10.0


@final
class InstanceCaches:
    """The caches of one compute method, by instance.

    Instances are told apart by identity, never by their own equality, and nothing is stored on them, so
    that a copy of a service is a service of its own. An instance that can't be referenced weakly is held.
    """

    def __init__(self) -> None:
        self._caches: dict[int, tuple[Callable[[], Any], MethodCache]] = {}

    def get(self, instance: Any) -> MethodCache:
        """Return the cache for `instance`."""
        number = id(instance)
        with graph_lock:
            entry = self._caches.get(number)
            if entry is not None and entry[0]() is instance:
                return entry[1]
            cache = MethodCache()
            self._caches[number] = (self._reference(instance, number), cache)
            return cache

    def _reference(self, instance: Any, number: int) -> Callable[[], Any]:
        try:
            # Runs before the memory of the instance, and so its number, can be used again.
            return weakref.ref(instance, lambda _: self._caches.pop(number, None))
        except TypeError:
            return lambda: instance


@final
class BoundTable(dict[Any, Callable[..., Any]]):
    """Bound functions by service, for services that compare by identity; binds on a miss.

    Its `__getitem__` is the getter of a compute method that is looked up the fast way.
    """

    __slots__ = ("_method",)

    def __init__(self, method: "ComputeMethod") -> None:
        super().__init__()
        self._method = method

    def __missing__(self, instance: Any) -> Callable[..., Any]:
        return self._method.bind(instance)


@final
class _RetainedFunctions:
    """Bound functions that are kept, until their services fall idle."""

    def __init__(self) -> None:
        self._entries: dict[tuple[int, int], tuple[Callable[[], object], MethodCache, int]] = {}
        self._timer: TimerHandle | None = None
        registry()._services.append(self.release_all)
        on_clock_changed(self._clock_changed)

    def add(self, key: tuple[int, int], release: Callable[[], object], cache: MethodCache) -> None:
        """Keep a function until its cache falls idle; `release` lets it go. The caller holds the lock."""
        self._entries[key] = (release, cache, -1)
        if self._timer is None:
            self._arm()

    def release_all(self) -> None:
        """Let all functions go."""
        with graph_lock:
            entries, self._entries = self._entries, {}
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
        for release, _, _ in entries.values():
            release()

    def _clock_changed(self) -> None:
        with graph_lock:
            if self._timer is not None:
                self._timer.cancel()
                self._arm()

    def _arm(self) -> None:
        clock = current_clock()
        self._timer = clock.call_at(clock.now() + _IDLE_PERIOD, self._sweep)

    def _sweep(self) -> None:
        idle: list[Callable[[], object]] = []
        with graph_lock:
            self._timer = None
            for key, (release, cache, seen) in list(self._entries.items()):
                if cache.hot or cache.operations != seen:
                    self._entries[key] = (release, cache, cache.operations)
                else:
                    del self._entries[key]
                    idle.append(release)
            if self._entries:
                self._arm()
        for release in idle:
            release()


retained: Final = _RetainedFunctions()
