"""`Computed`: one result of a computation, and when it stops being true."""

import itertools
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterator
from typing import TYPE_CHECKING, Any, Final, Generic, ParamSpec, TypeVar, cast, overload

from refusion._aio._waiter import Waiter
from refusion._base._result import Result, StoredError

from ._context import (
    CallContext,
    CaptureContext,
    ComputeContext,
    ExistingContext,
    InvalidatingContext,
    IsolatedContext,
    current_context,
)
from ._errors import ComputedNotReady, ComputeModeError
from ._graph import Dependants, add_dependency, graph_lock, live_dependants
from ._invalidation import Handler, Pending, invalidate, schedule_invalidation
from ._source import InvalidationSource, InvalidationTracking, caller_source, invalidation_tracking
from ._state import COMPUTING, CONSISTENT, INVALIDATED, ConsistencyState

if TYPE_CHECKING:
    from ._changes import Delayer
    from ._function import ComputedInput, ComputeFunction
    from ._options import ResolvedOptions

__all__ = ["Computed"]

P = ParamSpec("P")
T = TypeVar("T")
U = TypeVar("U")

next_version: Final = itertools.count(1).__next__


class Computed(Generic[T]):
    """One result of a compute method or state: its value or error, and whether that is still true.

    An instance never changes its output. When it stops being true it becomes invalidated and tells its
    dependants and handlers; `update` then gives the one that took its place. Compared by identity.
    All members may be used from any thread; the awaitable ones from any event loop.

    Example:
        ```python
        computed = await counters.get.capture("a")
        async for current in computed.changes():
            print(current.value)
        ```
    """

    __slots__ = (
        "__weakref__",
        "_dependants",
        "_dependencies",
        "_error",
        "_flight",
        "_function",
        "_held_in",
        "_key",
        "_pending",
        "_source",
        "_state",
        "_value",
        "_version",
    )

    def __init__(self, function: "ComputeFunction", key: Any) -> None:
        self._function = function
        self._key = key
        self._version = next_version()
        self._value: Any
        self._state: ConsistencyState = COMPUTING
        self._error: StoredError | None = None
        self._dependencies: list[Computed[Any]] | None = None
        self._dependants: Dependants = None
        self._pending: Pending | None = None
        self._source: InvalidationSource | None = None
        self._flight: Any = None
        self._held_in: dict[Computed[Any], None] | None = None

    # What it is

    @property
    def state(self) -> ConsistencyState:
        """Where it is in its life: computing, consistent or invalidated."""
        return self._state

    @property
    def is_consistent(self) -> bool:
        """Whether the output is there and nobody has invalidated it."""
        return self._state is CONSISTENT

    @property
    def is_invalidated(self) -> bool:
        """Whether the output is stale."""
        return self._state is INVALIDATED

    @property
    def version(self) -> int:
        """A number that no other computed of this process has; not an order."""
        return self._version

    @property
    def input(self) -> "ComputedInput":
        """What it was computed for: the function and its arguments."""
        return self._function.input_of(self._key)

    @property
    def options(self) -> "ResolvedOptions":
        """The options it is kept and invalidated by."""
        return self._options

    @property
    def invalidation_source(self) -> InvalidationSource | None:
        """Why it was invalidated; None while it isn't."""
        return self._source

    @property
    def dependencies(self) -> "tuple[Computed[Any], ...]":
        """What it was computed from; empty once it is invalidated."""
        with graph_lock:
            return tuple(self._dependencies or ())

    @property
    def dependants(self) -> "tuple[Computed[Any], ...]":
        """Those computed from it that still exist; empty once it is invalidated."""
        with graph_lock:
            return tuple(live_dependants(self._dependants))

    # Its output

    @property
    def value(self) -> T:
        """The value.

        Raises:
            Exception: The stored error, if the computation failed.
            ComputedNotReady: If it is still computing.
        """
        if self._state is COMPUTING:
            raise ComputedNotReady(repr(self))
        if self._error is None:
            return cast(T, self._value)
        try:
            raise self._error.restored()
        finally:
            # The traceback of the error has this frame, which must not hold what holds the error.
            del self

    @property
    def error(self) -> BaseException | None:
        """The error, or None; raises `ComputedNotReady` while computing."""
        self._check_ready()
        return None if self._error is None else self._error.restored()

    @property
    def value_or_none(self) -> T | None:
        """The value, or None if there is an error; raises `ComputedNotReady` while computing."""
        self._check_ready()
        return None if self._error is not None else cast(T, self._value)

    @property
    def has_value(self) -> bool:
        """Whether the computation succeeded; raises `ComputedNotReady` while computing."""
        self._check_ready()
        return self._error is None

    @property
    def has_error(self) -> bool:
        """Whether the computation failed; raises `ComputedNotReady` while computing."""
        return not self.has_value

    @property
    def output(self) -> Result[T]:
        """Value or error as one thing; raises `ComputedNotReady` while computing."""
        self._check_ready()
        return Result(self.value_or_none, self.error)

    def __iter__(self) -> Iterator[Any]:
        """Unpack as `value, error = computed`, which never raises the stored error."""
        return iter(self.output)

    # Invalidation

    def invalidate(
        self,
        after: float | None = None,
        *,
        immediately: bool = False,
        source: InvalidationSource | str | None = None,
    ) -> None:
        """Say that the output is stale, which also invalidates everything computed from it.

        Does nothing when it is invalidated already; never raises an error of a handler. While it is
        computing, the request is kept until the computation is done, and its value is served to nobody
        but those who had asked before.

        Args:
            after: Do it this many seconds from now, then immediately; of several requests the earliest
                counts. `math.inf` does nothing.
            immediately: Skip the `invalidation_delay` of its options.
            source: The reason to record; by default the place of this call.
        """
        if source is None:
            source = caller_source(1)
        elif isinstance(source, str):
            source = InvalidationSource(source)
        if after is not None and after > 0:
            if after != float("inf"):
                with graph_lock:
                    if self._state is not INVALIDATED:
                        schedule_invalidation(self, after, source)
            return
        invalidate(self, source, immediately=immediately or after is not None)

    def on_invalidated(self, handler: Callable[["Computed[T]"], object]) -> Callable[[], None]:
        """Call `handler(computed)` once when it is invalidated; at once if it already is.

        Handlers run in the invalidating thread, in the order of subscription, each once however often it
        was added, and may do anything; what they raise is logged. When it is invalidated already, the
        handler runs right here and its error is the caller's.

        Returns:
            A function that takes the subscription back; it may be called at any time.
        """
        with graph_lock:
            is_late = self._state is INVALIDATED
            if not is_late:
                self._ensure_pending().handlers[cast(Handler, handler)] = None
        if is_late:
            handler(self)

        def unsubscribe() -> None:
            with graph_lock:
                if self._pending is not None:
                    self._pending.handlers.pop(cast(Handler, handler), None)

        return unsubscribe

    async def wait_invalidated(self) -> None:
        """Wait until it is invalidated; cancelling leaves nothing behind."""
        if self._state is INVALIDATED:
            return
        waiter = Waiter()

        def wake(_: object) -> None:
            waiter.wake()

        unsubscribe = self.on_invalidated(wake)
        try:
            await waiter.wait()
        finally:
            unsubscribe()

    # Following the changes

    async def update(self) -> "Computed[T]":
        """Return a consistent computed for the same input, computing it if needed.

        It may be this one, or one that somebody else has produced. A failed computation is returned, not
        raised. The caller becomes no dependant. Several tasks may call this at once; they share one
        computation, and cancelling one of them doesn't hurt the others.
        """
        return await self._renew(current_context.get())

    def use(self, *, allow_inconsistent: bool = False) -> Coroutine[Any, Any, T]:
        """Return an awaitable of the value of the current computed for the same input, and depend on it.

        Args:
            allow_inconsistent: Take the output of this very computed, even if it is stale; the caller's
                result is then stale from birth.

        Raises:
            Exception: The stored error, if the computation failed.
            ComputeModeError: If called inside `invalidating()`.
        """
        context = current_context.get()
        check_can_use(context, self)
        return self._use(context, allow_inconsistent)

    async def _use(self, context: CallContext | None, allow_inconsistent: bool) -> T:
        computed = self if allow_inconsistent else await self._renew(context)
        used_by(context, computed)
        return computed.value

    async def when(self, predicate: Callable[[T], object], delayer: "Delayer | None" = None) -> "Computed[T]":
        """Wait for a value that satisfies `predicate` and return its computed.

        The current value is looked at first. After an invalidation the delayer waits (one tick by
        default), then the value is updated. Values that come and go in between aren't seen.

        Raises:
            Exception: A stored error, as soon as the current computed has one.
        """
        return await _changes.when(self, lambda computed: predicate(computed.value), delayer)

    async def when_output(
        self, predicate: Callable[[T | None, BaseException | None], object], delayer: "Delayer | None" = None
    ) -> "Computed[T]":
        """Wait as `when` does, with a predicate on value and error that is asked about errors, too."""
        return await _changes.when(self, lambda computed: predicate(*computed), delayer)

    def changes(self, delayer: "Delayer | None" = None) -> AsyncGenerator["Computed[T]", None]:
        """Iterate over the current computed and, without end, over those that take its place.

        Values that come and go between two steps are skipped. Failed computations are yielded, not
        raised; the delayer is told how many transient errors came in a row.
        """
        return _changes.changes(self, delayer)

    # Looking up

    @staticmethod
    def current() -> "Computed[Any] | None":
        """Return the computed whose body is calling, or None; it is COMPUTING as long as the body runs."""
        context = current_context.get()
        return context.computed if type(context) is ComputeContext else None

    @overload
    @staticmethod
    async def capture(function: Callable[P, Awaitable[U]], /, *args: P.args, **kwargs: P.kwargs) -> "Computed[U]": ...
    @overload
    @staticmethod
    async def capture(function: Callable[P, U], /, *args: P.args, **kwargs: P.kwargs) -> "Computed[U]": ...
    @staticmethod
    async def capture(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Computed[Any]":
        """Call `function(*args, **kwargs)` and return the computed behind the last compute call it made.

        The caller becomes no dependant. A computed that failed is returned, not raised.

        Raises:
            NothingCaptured: If it made no compute call.
            Exception: What the function raised by itself, when the compute call succeeded.
        """
        return cast("Computed[Any]", await _capture.capture(function, *args, **kwargs))

    @overload
    @staticmethod
    async def try_capture(
        function: Callable[P, Awaitable[U]], /, *args: P.args, **kwargs: P.kwargs
    ) -> "Computed[U] | None": ...
    @overload
    @staticmethod
    async def try_capture(function: Callable[P, U], /, *args: P.args, **kwargs: P.kwargs) -> "Computed[U] | None": ...
    @staticmethod
    async def try_capture(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Computed[Any] | None":
        """Do what `capture` does, but return None if no compute call was made."""
        return cast("Computed[Any] | None", await _capture.try_capture(function, *args, **kwargs))

    @overload
    @staticmethod
    def existing(function: Callable[P, Awaitable[U]], /, *args: P.args, **kwargs: P.kwargs) -> "Computed[U] | None": ...
    @overload
    @staticmethod
    def existing(function: Callable[P, U], /, *args: P.args, **kwargs: P.kwargs) -> "Computed[U] | None": ...
    @staticmethod
    def existing(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Computed[Any] | None":
        """Return the computed that is registered for `function(*args, **kwargs)`, in any state, or None.

        Computes nothing; counts as a use for the keep-alive.
        """
        return cast("Computed[Any] | None", _capture.existing(function, *args, **kwargs))

    @staticmethod
    def new(function: Callable[[], Awaitable[U]], *, initial_value: U | None = None) -> "Computed[U]":
        """Return a computed of its own for `function`, with no compute method behind it.

        It starts invalidated, with the initial value readable; `update` and `use` compute it.
        """
        return cast("Computed[U]", _computed_source.ComputedSource(function, initial_value).computed)

    def __repr__(self) -> str:
        return f"<Computed {self._function.describe(self._key)} #{self._version} {self._state.name}>"

    # For the kernel only; those with an underscore that touch the graph want its lock held.

    @property
    def _options(self) -> "ResolvedOptions":
        return self._function.options

    async def _renew(self, context: CallContext | None) -> "Computed[T]":
        if self._state is CONSISTENT and not self._is_expired():
            return self
        return cast("Computed[T]", await self._function.renew(self, IsolatedContext(context)))

    def _check_ready(self) -> None:
        if self._state is COMPUTING:
            raise ComputedNotReady(repr(self))

    def _ensure_pending(self) -> Pending:
        if self._pending is None:
            self._pending = Pending()
        return self._pending

    def _is_expired(self) -> bool:
        """Tell whether its time has passed though no timer told, and invalidate it if so."""
        pending = self._pending
        if pending is None or pending.deadline is None:
            return False
        return self._function.expire(self, pending.deadline)

    def _request_invalidation(self, source: InvalidationSource, *, immediately: bool) -> None:
        """Note an invalidation that can't happen now: it is computing, or has an invalidation delay."""
        pending = self._ensure_pending()
        pending.source = pending.source or source
        if self._state is COMPUTING:
            pending.is_requested = True
            pending.is_immediate |= immediately
        elif not pending.is_delaying:
            pending.is_delaying = True
            schedule_invalidation(self, self._options.invalidation_delay, pending.source)

    def _source_for_dependants(self) -> InvalidationSource:
        return source_through(self)


def source_through(computed: Computed[Any]) -> InvalidationSource:
    """Return what to record at a dependant that is invalidated because of `computed`."""
    if invalidation_tracking() is InvalidationTracking.WHOLE_CHAIN:
        return InvalidationSource(dependency=computed)
    return computed._source or InvalidationSource.UNKNOWN


def check_can_use(context: CallContext | None, computed: Computed[Any]) -> None:
    """Refuse `use()` where calls aren't made to compute."""
    if isinstance(context, (InvalidatingContext, ExistingContext)) and context.is_active:
        raise ComputeModeError(repr(computed))


def used_by(context: CallContext | None, computed: Computed[Any]) -> None:
    """Record that a call made in `context` was answered with `computed`."""
    if type(context) is ComputeContext:
        if context.computed is not None:
            add_dependency(context.computed, computed)
    elif isinstance(context, CaptureContext) and context.is_active:
        context.captured = computed


from . import _capture, _changes, _computed_source  # noqa: E402  # they need Computed itself
