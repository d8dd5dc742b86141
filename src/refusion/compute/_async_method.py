"""Asynchronous compute methods: single flight with the first caller in the lead.

On a miss the first caller runs the body in its own task, so that a computation costs no task; others wait.
When the leader is cancelled, one of those who wait starts over. Nobody ever sees somebody else's
cancellation, and a caller who comes after an invalidation never gets what was computed before it: those
who wait look at the outcome again, and use it only if it is consistent.
"""

import asyncio
from collections.abc import Awaitable
from typing import Any, Final, final
from weakref import ref

from refusion._aio._current_task import current_task
from refusion._aio._waiter import Waiter
from refusion._base._clock import current_clock
from refusion._base._logging import logger
from refusion._base._result import StoredError

from ._awaitables import Finished
from ._bound import BoundMethod, active_scope, reset_context
from ._completion import abandon, complete, error_lifetime
from ._computed import Computed, used_by
from ._context import CallContext, CaptureContext, ComputeContext, current_context
from ._errors import ComputationCancelled
from ._flight import check_cycle, is_abandoned, join, lead, leave
from ._graph import graph_lock
from ._invalidation import invalidate
from ._keys import Key
from ._options import CancellationRetries
from ._source import InvalidationSource
from ._state import COMPUTING, CONSISTENT

__all__ = ["AsyncMethod", "Tries", "value_of"]

# Deeper chains of computations continue in a task of their own: the interpreter's stack is finite.
_MAX_DEPTH_PER_TASK: Final = 64


@final
class Tries:
    """Counts the tries of one computation that keeps being cancelled from inside."""

    def __init__(self, policy: CancellationRetries, started_at: float | None = None) -> None:
        self.count = 0
        self._policy = policy
        self._started_at = current_clock().now() if started_at is None else started_at

    def next_delay(self) -> float | None:
        """Count a try that has failed, and return how long to wait for the next one; None to give up."""
        self.count += 1
        elapsed = current_clock().now() - self._started_at
        if self.count > self._policy.max_retries or elapsed >= self._policy.max_duration:
            return None
        return self._policy.delays.delay(self.count)


class AsyncMethod(BoundMethod):
    """A bound asynchronous compute method."""

    __slots__ = ()

    def call(self, *values: Any) -> Awaitable[Any]:
        context = current_context.get()
        key = self._key_of(values)
        if context is not None and type(context) is not ComputeContext:
            context = active_scope(context)
            if context is not None and self._scope_answer(context, key):
                return Finished()
        ref = self.cache.table.get(key)
        if ref is not None:
            computed = ref()
            if computed is not None and computed._state is CONSISTENT and not computed._is_expired():
                hit = self._serve(key, computed, context)
                if hit is not NotImplemented:
                    return hit if hit is not None else Finished(computed._value, computed._error)
        return self._produce(key, values, context, wants_value=True)

    async def capture(self, *args: Any, **kwargs: Any) -> Computed[Any]:
        """Return the computed for the call with these arguments, computing it if needed."""
        values = self.method.template.pack(*args, **kwargs)
        # Without a name for what it returns: the traceback of an error leads back to this frame.
        return await self._produce(  # type: ignore[no-any-return]
            self._key_of(values), values, CaptureContext(current_context.get())
        )

    def renew(self, computed: Computed[Any], context: CallContext | None) -> Awaitable[Computed[Any]]:
        key = computed._key
        return self._produce(key, self.arguments_of(key), context)

    def supersede(self, computed: Computed[Any], value: Any, error: Exception | None = None) -> Computed[Any] | None:
        """Put another result in the place of one that turned out to be stale, and invalidate that.

        Whoever computes anew because of the invalidation finds the successor, so nothing is computed for it.

        Returns:
            The successor; None if `computed` was invalidated before, so that somebody may be computing already.
        """
        key = computed._key
        successor: Computed[Any] = Computed(self, key)
        successor._flight = current_task()
        with graph_lock:
            if computed._state is not CONSISTENT:
                return None
            # From here on whoever doesn't have the old one yet waits for the new one.
            self.cache.table[key] = ref(successor)
        self._registry.add(successor)
        lifetime = self._lifetime if error is None else error_lifetime(successor, error)
        complete(successor, value, None if error is None else StoredError(error, None), lifetime)
        invalidate(computed, InvalidationSource.REPLACED, immediately=True)
        return successor

    async def _produce(
        self, key: Key, values: tuple[Any, ...], context: CallContext | None, *, wants_value: bool = False
    ) -> Any:
        """Answer a call made in `context` with what is found, awaited, or computed right here.

        This is the path of every miss, so its common case is kept in one piece: a coroutine for each step
        would double what it costs.

        Returns:
            The value if that is wanted, raising the error if there is one; else the computed.
        """
        while True:
            computed = self._begin(key, current_task())
            if computed is not None:
                break
            found = await self._find_or_wait(key, context)
            if found is not None:
                return value_of(found) if wants_value else found
        own = ComputeContext(computed, context)
        if own.depth >= _MAX_DEPTH_PER_TASK:
            await self._run_in_task(computed, values, own)
        else:
            token = current_context.set(own)
            try:
                value = await (self._body(*values) if self._is_positional else self._call_body(values))
            except BaseException as error:
                reset_context(token)
                await self._recover(computed, values, own, error)
            else:
                reset_context(token)
                self._succeed(computed, value)
            # What was started in the body and goes on must neither capture nor pin the computed.
            own.computed = None
        if context is not None:
            used_by(context, computed)
        if self._registry.is_observed:
            self._registry.accessed(computed, is_new=True)
        if computed._error is None:
            return computed._value if wants_value else computed
        try:
            return computed.value if wants_value else computed
        finally:
            # The traceback of the error leads back to this frame, which must not hold what holds the error.
            del computed, own, context

    async def _find_or_wait(self, key: Key, context: CallContext | None) -> Computed[Any] | None:
        """Return the consistent computed for `key`, after waiting for one in flight; None to try again."""
        waiter = None
        with graph_lock:
            computed = self.cache.find(key)
            if computed is None:
                return None
            if computed._state is COMPUTING and not is_abandoned(computed):
                check_cycle(context, computed)
                waiter = Waiter()
                join(computed, waiter)
        if waiter is not None:
            try:
                await waiter.wait()
            finally:
                leave(computed, waiter)
            # Whoever led may have been cancelled, or invalidated on the way: look again.
            return None
        if computed._state is COMPUTING:
            abandon(computed)
        elif computed._state is CONSISTENT and not computed._is_expired():
            return None if self._serve(key, computed, context) is NotImplemented else computed
        return None

    async def _run_in_task(self, computed: Computed[Any], values: tuple[Any, ...], context: ComputeContext) -> None:
        context.depth = 0
        task = asyncio.create_task(self._run(computed, values, context), name=f"compute {self.method.name}")
        lead(computed, task)
        try:
            await task
        finally:
            context.computed = None

    async def _run(
        self, computed: Computed[Any], values: tuple[Any, ...], context: ComputeContext, tries: Tries | None = None
    ) -> None:
        token = current_context.set(context)
        try:
            value = await self._call_body(values)
        except BaseException as error:
            reset_context(token)
            await self._recover(computed, values, context, error, tries)
        else:
            reset_context(token)
            self._succeed(computed, value)

    async def _recover(
        self,
        computed: Computed[Any],
        values: tuple[Any, ...],
        context: ComputeContext,
        error: BaseException,
        tries: Tries | None = None,
    ) -> None:
        """Settle a computation whose body has failed, or run it again if it was cancelled from inside."""
        try:
            if isinstance(error, asyncio.CancelledError) and not is_own_cancellation():
                tries = tries or Tries(self.options.cancellation_retries)
                if await self._wait_for_retry(computed, tries, error):
                    await self._run(computed, values, context, tries)
            elif isinstance(error, Exception):
                self._fail(computed, error)
            else:
                abandon(computed)
                raise error
        finally:
            del error

    async def _wait_for_retry(self, computed: Computed[Any], tries: Tries, error: asyncio.CancelledError) -> bool:
        """Wait before the body runs again; or give up, and return False."""
        delay = tries.next_delay()
        if delay is None:
            failure = ComputationCancelled(self.describe(computed._key), tries.count)
            failure.__cause__ = error
            abandon(computed, failure)
            return False
        logger.warning("%r was cancelled from inside; try %d follows in %.3f s", computed, tries.count + 1, delay)
        try:
            await current_clock().sleep(delay)
        except BaseException:
            abandon(computed)
            raise
        return True


def is_own_cancellation() -> bool:
    """Tell whether somebody has cancelled this very task, and not only something that it awaits."""
    task = current_task()
    return task is None or task.cancelling() > 0


def value_of(computed: Computed[Any]) -> Any:
    """Return the value of a computed, or raise its error, from a frame that keeps nothing of it."""
    try:
        return computed.value
    finally:
        # The traceback of the error now has this frame, which must not hold what holds the error.
        del computed
