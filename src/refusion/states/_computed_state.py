"""`ComputedState`: a value that is recomputed whenever what it was computed from changes."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextvars import Context
from typing import Any, Final, Self, TypeVar, final

from refusion._aio._current_task import current_task
from refusion._aio._wait_first import wait_first
from refusion._aio._waiter import Waiter
from refusion._base._clock import current_clock
from refusion._base._logging import logger
from refusion._base._result import StoredError
from refusion.compute import Computed, ComputedOptions, Delayer, InvalidationSource, registry
from refusion.compute._completion import abandon, complete, error_lifetime
from refusion.compute._computed import used_by
from refusion.compute._context import CallContext, ComputeContext, current_context
from refusion.compute._flight import check_cycle, is_abandoned, join, leave
from refusion.compute._graph import graph_lock
from refusion.compute._invalidation import flip
from refusion.compute._state import CONSISTENT, INVALIDATED

from ._delayers import UpdateDelayer
from ._state import State, StateEvent

__all__ = ["ComputedState", "StateClosed"]

T = TypeVar("T")

# Tasks that nobody else refers to would be collected while they wait.
_tasks: Final[set[asyncio.Task[None]]] = set()


class StateClosed(RuntimeError):
    """Raised to those who wait for an update of a state that was closed."""


@final
class ComputedState(State[T]):
    """A value that follows what it was computed from, until the state is closed.

    The first computation starts right away. After each invalidation the state waits as its update delayer
    says, then recomputes. `use` and `update` don't wait for the delayer. Errors are values here: transient
    ones are retried with growing delays. The state lives in the event loop that it was created in; what its
    function does is done on behalf of nobody, whatever the context of the creator.

    Use it as `async with ComputedState(...) as state:`, or `aclose` it: a state that isn't closed keeps
    recomputing.
    """

    __slots__ = ("_compute", "_delayer", "_graceful_delay", "_in_flight", "_initial_value", "_is_closed", "_task")

    def __init__(
        self,
        compute: Callable[[], Awaitable[T]],
        *,
        initial_value: T | None = None,
        update_delayer: Delayer | None = None,
        options: ComputedOptions | None = None,
        graceful_close_delay: float = 10.0,
    ) -> None:
        """Create a state and start its first computation in the running event loop.

        Args:
            compute: Computes the value.
            initial_value: What can be read before the first computation is done.
            update_delayer: How long to wait after an invalidation; `UpdateDelayer()` by default.
            options: Options of its computed.
            graceful_close_delay: How many seconds a running computation may go on after `aclose`.

        Raises:
            RuntimeError: If no event loop runs in this thread.
            TypeError: If the options ask for consolidation.
        """
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise RuntimeError(
                "a ComputedState recomputes in an event loop, and none is running here; create it in async code"
            ) from None
        self._compute = compute
        self._initial_value = initial_value
        self._delayer: Delayer = update_delayer or UpdateDelayer()
        self._graceful_delay = graceful_close_delay
        self._in_flight: Computed[T] | None = None
        self._is_closed = False
        super().__init__(options or ComputedOptions())
        self._task = loop.create_task(self._follow(), name=f"{self.describe(())} updates", context=Context())
        _tasks.add(self._task)
        self._task.add_done_callback(_tasks.discard)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    @property
    def is_closed(self) -> bool:
        """Whether the state has stopped following."""
        return self._is_closed

    async def when_first_updated(self) -> Computed[T]:
        """Wait for the first computation and return its outcome; at once when it is there.

        Raises:
            StateClosed: If the state is closed before.
        """
        while self._snapshot.is_initial:
            await self.when_updated()
        return self._snapshot.computed

    async def when_updated(self) -> Computed[T]:
        """Wait for the next generation and return its computed.

        Raises:
            StateClosed: If the state is or gets closed.
        """
        snapshot = self._snapshot
        if not self._is_closed:
            await snapshot.when_updated()
        if self._snapshot is snapshot:
            raise StateClosed(f"{self!r} is closed and won't be updated any more")
        return self._snapshot.computed

    def recompute(self) -> "Recomputation[T]":
        """Invalidate the current value, and a computation that is running; awaited, also update.

        The invalidation has happened when this returns; awaiting the result isn't needed for it.
        """
        in_flight = self._in_flight
        if in_flight is not None:
            in_flight.invalidate(immediately=True, source=InvalidationSource.RECOMPUTE)
        self._snapshot.computed.invalidate(immediately=True, source=InvalidationSource.RECOMPUTE)
        return Recomputation(self)

    async def aclose(self) -> None:
        """Stop following; may be called more than once.

        No computation starts afterwards. One that runs may go on for the graceful close delay; those who
        wait for updates get `StateClosed`. The last value stays readable.
        """
        if self._is_closed:
            return
        self._is_closed = True
        if self._in_flight is None or self._graceful_delay <= 0:
            self._task.cancel()
        else:
            clock = current_clock()
            timer = clock.call_at(clock.now() + self._graceful_delay, self._task.cancel)
            self._task.add_done_callback(lambda _: timer.cancel())
        # Whoever waits looks at `is_closed`.
        self._snapshot._updated_signal.set()
        if self._in_flight is None and current_task() is not self._task:
            await asyncio.wait([self._task])

    # The update loop

    async def _follow(self) -> None:
        try:
            self._raise_invalidated(self._snapshot)
            await self._update_once()
            while not self._is_closed:
                snapshot = self._snapshot
                await snapshot.computed.wait_invalidated()
                if not await self._delay_unless_updated():
                    await self._update_once()
        except asyncio.CancelledError:
            if not self._is_closed:
                # The event loop is shutting down.
                self._is_closed = True
                self._snapshot._updated_signal.set()
                raise
        except Exception:
            self._is_closed = True
            self._snapshot._updated_signal.set()
            logger.exception("%r has stopped: its update delayer failed", self)

    async def _update_once(self) -> None:
        if not self._is_closed:
            await self._produce(None)

    async def _delay_unless_updated(self) -> bool:
        """Wait as the delayer says; returns early, and True, when somebody else has updated the state."""
        snapshot = self._snapshot
        if snapshot._updated_signal.is_set:
            return True
        _, is_updated = await wait_first(self._delayer.delay(snapshot.retry_count), snapshot.when_updated())
        return is_updated

    # Computing

    def renew(self, computed: Computed[Any], context: CallContext | None) -> Coroutine[Any, Any, Computed[T]]:
        return self._produce(context)

    async def _produce(self, context: CallContext | None) -> Computed[T]:
        while True:
            waiter = None
            with graph_lock:
                computed = self._in_flight
                if computed is None:
                    current = self._snapshot.computed
                    if current._state is CONSISTENT:
                        return current
                    if self._is_closed:
                        raise StateClosed(f"{self!r} is closed and won't be updated any more")
                    computed = self._in_flight = Computed(self, ())
                    computed._flight = current_task()
                    break
                if not is_abandoned(computed):
                    check_cycle(context, computed)
                    waiter = Waiter()
                    join(computed, waiter)
            if waiter is None:
                self._give_up(computed)
                continue
            try:
                await waiter.wait()
            finally:
                leave(computed, waiter)
        registry().add(computed)
        await self._run(computed, ComputeContext(computed, context))
        used_by(context, computed)
        return computed

    async def _run(self, computed: Computed[T], context: ComputeContext) -> None:
        snapshot = self._snapshot
        snapshot._updating_signal.set()
        Context().run(self._raise_event, StateEvent.UPDATING)
        token = current_context.set(context)
        try:
            value = await self._compute()
        except Exception as error:
            stored = StoredError(error, error.__traceback__ and error.__traceback__.tb_next)
            self._finish(computed, None, stored, error_lifetime(computed, error))
        except BaseException:
            self._give_up(computed)
            raise
        else:
            self._finish(computed, value, None, self.options.auto_invalidation_delay)
        finally:
            current_context.reset(token)
            context.computed = None

    def _finish(self, computed: Computed[T], value: Any, error: StoredError | None, lifetime: float) -> None:
        with self._lock:
            Context().run(self._finish_in_order, computed, value, error, lifetime)

    def _finish_in_order(self, computed: Computed[T], value: Any, error: StoredError | None, lifetime: float) -> None:
        # Those who wait for the flight look at the snapshot, so it has to be there when they wake; but a
        # computed can't be shown before it has an output.
        with graph_lock:
            flight, computed._flight = computed._flight, None
            complete(computed, value, error, lifetime)
            self._in_flight = None
        snapshot = self._publish(computed)
        if computed._state is INVALIDATED:
            self._raise_invalidated(snapshot)
        if hasattr(flight, "wake"):
            flight.wake()

    def _give_up(self, computed: Computed[T]) -> None:
        with graph_lock:
            if self._in_flight is computed:
                self._in_flight = None
        abandon(computed)

    def invalidated(self, computed: Computed[Any]) -> None:
        """Tell of a stale generation; of one that isn't published yet this is told after it was."""
        snapshot = self._snapshot
        if snapshot.computed is computed:
            self._raise_invalidated(snapshot)

    def _create_initial(self) -> Computed[T]:
        computed: Computed[T] = Computed(self, ())
        registry().add(computed)
        with graph_lock:
            computed._value = self._initial_value
            flip(computed, InvalidationSource.INITIAL_STATE)
        return computed


@final
class Recomputation(Awaitable[Computed[T]]):
    """The update that follows `ComputedState.recompute`, for those who want to wait for it."""

    __slots__ = ("_state",)

    def __init__(self, state: ComputedState[T]) -> None:
        self._state = state

    def __await__(self) -> Generator[Any, None, Computed[T]]:
        return self._state.update().__await__()
