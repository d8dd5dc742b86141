"""One compute method of one service: what a call does when it isn't a hot hit.

`AsyncMethod` and `SyncMethod` share the bookkeeping here and differ in how a body is run and waited for.
"""

from abc import abstractmethod
from collections.abc import Callable
from contextvars import Token
from traceback import clear_frames
from types import AsyncGeneratorType, CoroutineType, GeneratorType, MethodType, TracebackType
from typing import TYPE_CHECKING, Any, Final
from weakref import ref

from refusion._base._result import StoredError

from ._awaitables import SyncHit, create_hit
from ._cache import MethodCache, raw_of
from ._completion import complete, error_lifetime
from ._computed import Computed, used_by
from ._context import CallContext, ExistingContext, InvalidatingContext, current_context
from ._function import ComputeFunction
from ._graph import graph_lock
from ._hot_py import kind_of
from ._invalidation import invalidate
from ._keys import Key
from ._registry import registry
from ._source import InvalidationSource, caller_source
from ._state import CONSISTENT

if TYPE_CHECKING:
    from ._method import ComputeMethod

__all__ = ["BoundMethod"]

_ONE_SHOT: Final = frozenset({CoroutineType, GeneratorType, AsyncGeneratorType})


class BoundMethod(ComputeFunction):
    """Computes, finds and invalidates the values of one compute method of one service.

    It holds the service, and each of its computed holds it: so a value can always be computed anew.
    """

    __slots__ = (
        "__weakref__",
        "_body",
        "_count",
        "_is_positional",
        "_key_of",
        "_lifetime",
        "_registry",
        "cache",
        "hold",
        "instance",
        "method",
        "options",
    )

    def __init__(self, method: "ComputeMethod", instance: Any, cache: MethodCache) -> None:
        self.method = method
        self.instance = instance
        self.cache = cache
        self.options = method.options
        self.hold = registry().hold_queue(self.options)
        self._body: Callable[..., Any] = method.function if instance is None else MethodType(method.function, instance)
        self._registry = registry()
        self._key_of = method.binder.key_of
        self._is_positional = method.binder.is_positional
        self._count = len(method.binder.parameters)
        self._lifetime = self.options.auto_invalidation_delay

    # What callers use, through the attributes of a bound compute method

    @abstractmethod
    def call(self, *values: Any) -> Any:
        """Answer a call that isn't a hot hit, in the mode of the context that it is made in."""

    def invalidate(self, *args: Any, **kwargs: Any) -> None:
        """Invalidate the result of the call with these arguments, if there is one."""
        self.invalidate_key(self._key_of(self.method.template.pack(*args, **kwargs)), caller_source(1))

    def existing(self, *args: Any, **kwargs: Any) -> Computed[Any] | None:
        """Return what is registered for the call with these arguments; computes nothing."""
        return self.find_existing(self._key_of(self.method.template.pack(*args, **kwargs)))

    # For the kernel

    def invalidate_key(self, key: Key, source: InvalidationSource) -> None:
        """Invalidate what is registered for `key`, if anything."""
        computed = self.cache.find(key)
        target = None if computed is None else self.invalidation_target(computed)
        if target is not None:
            invalidate(target, source, immediately=False)

    def invalidation_target(self, computed: Computed[Any]) -> Computed[Any] | None:
        """Return what is invalidated when `computed` is named by its call; None for nothing."""
        return computed if self.method.is_invalidated_by_calls else None

    def find_existing(self, key: Key) -> Computed[Any] | None:
        """Return what is registered for `key`, in any state, and count that as a use."""
        computed = self.cache.find(key)
        if computed is None or computed._is_expired():
            return None
        with graph_lock:
            if self.hold is not None and computed._state is CONSISTENT:
                self.hold.hold(computed)
        if self._registry.is_observed:
            self._registry.accessed(computed, is_new=False)
        return computed

    def describe(self, key: Key) -> str:
        arguments = ", ".join(map(repr, self.method.binder.values_of(key)))
        return f"{self.method.name}({arguments})"

    def arguments_of(self, key: Key) -> tuple[Any, ...]:
        return self.method.binder.values_of(key)

    def is_same(self, other: ComputeFunction) -> bool:
        return isinstance(other, BoundMethod) and self.cache is other.cache

    def unregister(self, computed: Computed[Any]) -> None:
        cache = self.cache
        key = computed._key
        present = cache.table.pop(key, None)
        if present is not None and present() is not computed:
            cache.table[key] = present
        if cache.hot:
            cache.cool_down(key, computed)
        held_in = computed._held_in
        if held_in is not None:
            held_in.pop(computed, None)
            computed._held_in = None
        registry = self._registry
        registry.unregistered_count += 1
        if registry.is_watched:
            registry.unregistered(computed)

    def cool_down(self, computed: Computed[Any]) -> None:
        """Stop finding `computed` by its plain arguments; the caller holds the lock."""
        self.cache.cool_down(computed._key, computed)

    def last_use(self, computed: Computed[Any]) -> int:
        """Return the epoch of the last hot hit of `computed`, or -1."""
        hit = self.cache.hot.get(raw_of(computed._key))
        return hit.epoch if hit is not None and hit.computed is computed else -1

    # For the subclasses

    def _begin(self, key: Key, leader: Any) -> Computed[Any] | None:
        """Create and register a computed, unless there is one."""
        computed: Computed[Any] = Computed(self, key)
        computed._flight = leader
        own_ref = ref(computed)
        # One step for all threads; only the place of a collected computed needs the lock to be taken over.
        cache = self.cache
        present = cache.table.setdefault(key, own_ref)
        if present is not own_ref and not cache.replace_dead(key, present, own_ref):
            return None
        cache.operations += 1
        if cache.operations >= cache.prune_at:
            with graph_lock:
                cache.prune()
        registry = self._registry
        registry.registered_count += 1
        if registry.is_watched:
            registry.registered(computed)
        return computed

    def _call_body(self, values: tuple[Any, ...]) -> Any:
        if self._is_positional:
            return self._body(*values)
        positional, named = self.method.binder.spread(values)
        return self._body(*positional, **named)

    def _scope_answer(self, context: CallContext, key: Key) -> bool:
        """Do what the scope asks for instead of computing; returns whether it did ask."""
        if type(context) is InvalidatingContext:
            self.invalidate_key(key, context.source)
            return True
        if type(context) is ExistingContext:
            context.captured = self.find_existing(key) or context.captured
            return True
        return False

    def _serve(self, key: Key, computed: Computed[Any], context: CallContext | None) -> Any:
        """Use a consistent result: renew its hold, record the edge, make it hot.

        Returns:
            Its entry in the hot table; None if it may not be there; `NotImplemented` if it has just been invalidated.
        """
        with graph_lock:
            if computed._state is not CONSISTENT:
                return NotImplemented
            hold = self.hold
            if hold is not None:
                hold.hold(computed)
            if context is not None:
                used_by(context, computed)
            raw = raw_of(key)
            hit = self.cache.hot.get(raw)
            if self._registry.is_observed:
                self._registry.accessed(computed, is_new=False)
                return None
            if hold is not None and hit is not None and hit.computed is computed:
                hit.epoch = hold.epoch
                return hit
            if hold is None or not self._may_be_hot(key, computed):
                return None
            kind = kind_of(raw, self._count)
            create: Callable[..., Any] = create_hit if self.method.is_async else SyncHit
            hit = self.cache.hot[raw] = create(computed, kind, hold.epoch)
            return hit

    def _may_be_hot(self, key: Key, computed: Computed[Any]) -> bool:
        # A hot hit looks at nothing: not at a deadline, not at an error, not at observers.
        if computed._error is not None:
            return False
        if computed._pending is not None and computed._pending.deadline is not None:
            return False
        return self.method.binder.is_hot and self.method.binder.is_plain(key)

    def _succeed(self, computed: Computed[Any], value: Any) -> None:
        if type(value) in _ONE_SHOT:
            self._fail(computed, self._one_shot_error(value))
        else:
            complete(computed, value, None, self._lifetime)

    def _fail(self, computed: Computed[Any], error: BaseException) -> None:
        traceback = error.__traceback__
        stored = StoredError(error, _without_kernel_frames(traceback))
        # Locals of the finished body could hold the computed, and so make a cycle with its own error.
        clear_frames(stored.traceback)
        complete(computed, None, stored, error_lifetime(computed, error))

    def _one_shot_error(self, value: Any) -> TypeError:
        kind = type(value).__name__
        if hasattr(value, "close"):
            try:
                value.close()
            except Exception:  # noqa: S110  # it is refused anyway
                pass
        hint = "declare the method `async def`" if kind == "coroutine" else "return a tuple of its items"
        return TypeError(
            f"{self.method.name} returned a {kind}, which can be used only once and so can't be cached; {hint}"
        )


def reset_context(token: Token[CallContext | None]) -> None:
    """Leave a body's context; tolerates being closed by the garbage collector, in a foreign context."""
    try:
        current_context.reset(token)
    except ValueError:  # contextlib.suppress would cost more than the computation
        pass


def _without_kernel_frames(traceback: TracebackType | None) -> TracebackType | None:
    while traceback is not None and traceback.tb_frame.f_globals.get("__name__", "").startswith("refusion.compute."):
        traceback = traceback.tb_next
    return traceback


def active_scope(context: CallContext) -> CallContext | None:
    """Return `context`, or None if the scope was left, so that it counts no more."""
    return context if getattr(context, "is_active", True) else None
