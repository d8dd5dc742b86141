"""Consolidation: dependants hear of a change only if the output differs.

What callers see is a *target*, which has no dependencies. A hidden *source* does the work and owns them.
When the source is invalidated, it is recomputed in the background after the consolidation delay; if the
output is the same the target stays as it is and listens to the new source, else the target is invalidated.
"""

import asyncio
import weakref
from collections.abc import Callable
from contextvars import Context
from dataclasses import replace
from typing import TYPE_CHECKING, Any, final

from refusion._base._clock import current_clock
from refusion._base._logging import log_failure
from refusion._base._same import is_same

from ._async_method import AsyncMethod
from ._bound import BoundMethod
from ._cache import MethodCache
from ._computed import Computed
from ._invalidation import invalidate
from ._options import CancellationRetries, ResolvedOptions
from ._source import InvalidationSource
from ._state import CONSISTENT, INVALIDATED
from ._sync_method import SyncMethod

if TYPE_CHECKING:
    from ._method import ComputeMethod

__all__ = ["ConsolidatingAsyncMethod", "ConsolidatingSyncMethod"]


def target_options(options: ResolvedOptions) -> ResolvedOptions:
    """Return the options of a target: invalidated by its source alone."""
    never = float("inf")
    return replace(
        options,
        invalidation_delay=0.0,
        auto_invalidation_delay=never,
        transient_error_invalidation_delay=never,
        non_transient_error_invalidation_delay=never,
        cancellation_retries=CancellationRetries(max_retries=0),
    )


def source_options(options: ResolvedOptions) -> ResolvedOptions:
    """Return the options of a source: the method's own, without consolidation or a hold of its own."""
    return replace(options, consolidation_delay=float("inf"), consolidation_comparer=None, min_cache_duration=0.0)


@final
class _Consolidation:
    """Joins one target to the source it currently stands for; held by the target's invalidation handler."""

    __slots__ = ("_delay", "_loop", "_same", "_target", "_unsubscribe", "source")

    def __init__(self, target: Computed[Any], source: Computed[Any], options: ResolvedOptions) -> None:
        self._target = weakref.ref(target)
        self._delay = options.consolidation_delay
        self._same = options.consolidation_comparer or is_same
        try:
            self._loop: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:
            self._loop = None
        target.on_invalidated(self._stop)
        self._listen_to(source)

    def _listen_to(self, source: Computed[Any]) -> None:
        self.source = source
        # A source that is invalidated already calls back at once.
        self._unsubscribe = source.on_invalidated(self._source_invalidated)

    def _stop(self, _: object) -> None:
        self._unsubscribe()

    def _source_invalidated(self, _: object) -> None:
        target = self._target()
        if target is None or target._state is INVALIDATED:
            return
        if not isinstance(target._function, AsyncMethod):
            current_clock().call_at(current_clock().now() + self._delay, self._consolidate_now)
            return
        try:
            if self._loop is None:
                raise RuntimeError("the target was computed outside of an event loop")  # noqa: TRY301
            self._loop.call_soon_threadsafe(self._start_task, context=Context())
        except RuntimeError:
            # The loop of the target is closed, so nothing can be computed for it ahead of time.
            self._give_up(target)

    def _start_task(self) -> None:
        task = asyncio.get_running_loop().create_task(self._consolidate(), name="consolidate", context=Context())
        _tasks.add(task)
        task.add_done_callback(_tasks.discard)

    async def _consolidate(self) -> None:
        await current_clock().sleep(self._delay)
        target = self._target()
        if target is None or target._state is INVALIDATED:
            return
        try:
            self._compare(target, await self.source.update())
        except Exception:
            log_failure("consolidation", target)
            self._give_up(target)
        except BaseException:
            self._give_up(target)
            raise

    def _consolidate_now(self) -> None:
        target = self._target()
        if target is None or target._state is INVALIDATED:
            return
        function = self.source._function
        try:
            assert isinstance(function, SyncMethod)  # noqa: S101  # the source of a synchronous target
            key = self.source._key
            self._compare(target, function._produce(key, function.arguments_of(key), None))
        except Exception:
            log_failure("consolidation", target)
            self._give_up(target)

    def _compare(self, target: Computed[Any], source: Computed[Any]) -> None:
        if self._is_same_output(target, source):
            self._listen_to(source)
        else:
            self._give_up(target)

    def _is_same_output(self, target: Computed[Any], source: Computed[Any]) -> bool:
        if target._error is None and source._error is None:
            return bool(self._same(target._value, source._value))
        if target._error is None or source._error is None:
            return False
        old, new = target._error.error, source._error.error
        return type(old) is type(new) and str(old) == str(new)

    @staticmethod
    def _give_up(target: Computed[Any]) -> None:
        invalidate(target, InvalidationSource.CONSOLIDATION, immediately=True)


_tasks: set[asyncio.Task[None]] = set()


class _ConsolidatingMixin(BoundMethod):
    """What targets of both kinds share."""

    __slots__ = ()

    if TYPE_CHECKING:
        source_method: Any
        links: weakref.WeakKeyDictionary[Computed[Any], "_Consolidation"]

    def _set_up(self, method: "ComputeMethod", kind: type[BoundMethod], instance: Any) -> None:
        options = self.options
        self.source_method = kind(method, instance, MethodCache())
        self.source_method.options = source_options(options)
        self.source_method.hold = None
        self.options = target_options(options)
        self._lifetime = float("inf")
        self.links = weakref.WeakKeyDictionary()  # type: ignore[misc]  # a slot of the subclasses: layouts can't be mixed

    def _join(self, target: Computed[Any] | None, source: Computed[Any]) -> Any:
        if target is not None:
            self.links[target] = _Consolidation(target, source, self.method.options)
        return source.value

    def invalidation_target(self, computed: Computed[Any]) -> Computed[Any] | None:
        link = self.links.get(computed)
        if link is None or computed._state is not CONSISTENT:
            return computed
        return link.source

    def made_from(self, computed: Computed[Any]) -> tuple[Computed[Any], ...]:
        link = self.links.get(computed)
        return () if link is None or computed._state is INVALIDATED else (link.source,)


class ConsolidatingAsyncMethod(_ConsolidatingMixin, AsyncMethod):
    """A target of an asynchronous compute method."""

    __slots__ = ("links", "source_method")

    def __init__(self, method: "ComputeMethod", instance: Any, cache: MethodCache) -> None:
        super().__init__(method, instance, cache)
        self._set_up(method, AsyncMethod, instance)
        self._body: Callable[..., Any] = self._take_from_source

    async def _take_from_source(self, *args: Any, **kwargs: Any) -> Any:
        target = Computed.current()
        return self._join(target, await self.source_method.capture(*args, **kwargs))


class ConsolidatingSyncMethod(_ConsolidatingMixin, SyncMethod):
    """A target of a synchronous compute method."""

    __slots__ = ("links", "source_method")

    def __init__(self, method: "ComputeMethod", instance: Any, cache: MethodCache) -> None:
        super().__init__(method, instance, cache)
        self._set_up(method, SyncMethod, instance)
        self._body: Callable[..., Any] = self._take_from_source

    def _take_from_source(self, *args: Any, **kwargs: Any) -> Any:
        target = Computed.current()
        return self._join(target, self.source_method.capture(*args, **kwargs))
