"""Synchronous compute methods: a call returns the value itself, and is single-flight across threads."""

import threading
from collections.abc import Awaitable
from typing import Any

from ._bound import BoundMethod, active_scope
from ._completion import abandon
from ._computed import Computed, used_by
from ._context import CallContext, CaptureContext, ComputeContext, current_context
from ._errors import CyclicComputation
from ._flight import ThreadWaiter, check_cycle, join, leader_of, leave
from ._graph import graph_lock
from ._keys import Key
from ._state import COMPUTING, CONSISTENT

__all__ = ["SyncMethod"]


class SyncMethod(BoundMethod):
    """A bound synchronous compute method."""

    __slots__ = ()

    def call(self, *values: Any) -> Any:
        context = current_context.get()
        key = self._key_of(values)
        if context is not None and type(context) is not ComputeContext:
            context = active_scope(context)
            if context is not None and self._scope_answer(context, key):
                return None
        computed = self._produce(key, values, context)
        if computed._error is None:
            return computed._value
        try:
            return computed.value
        finally:
            # The traceback of the error now has this frame, which must not hold what holds the error.
            del computed

    def capture(self, *args: Any, **kwargs: Any) -> Computed[Any]:
        """Return the computed for the call with these arguments, computing it if needed."""
        values = self.method.template.pack(*args, **kwargs)
        return self._produce(self._key_of(values), values, CaptureContext(current_context.get()))

    def renew(self, computed: Computed[Any], context: CallContext | None) -> Awaitable[Computed[Any]]:
        return self._updated(computed._key, context)

    async def _updated(self, key: Key, context: CallContext | None) -> Computed[Any]:
        return self._produce(key, self.arguments_of(key), context)

    def _produce(self, key: Key, values: tuple[Any, ...], context: CallContext | None) -> Computed[Any]:
        """Return the computed for `key` that answers a call made in `context`: found, awaited, or computed."""
        while True:
            found = self._find_or_wait(key, context)
            if found is not None:
                return found
            computed = self._begin(key, threading.get_ident())
            if computed is not None:
                break
        self._run(computed, values, ComputeContext(computed, context))
        if context is not None:
            used_by(context, computed)
        if self._registry.is_observed:
            self._registry.accessed(computed, is_new=True)
        try:
            return computed
        finally:
            # The traceback of an error leads back to this frame, which must not hold what holds the error.
            del computed, context

    def _find_or_wait(self, key: Key, context: CallContext | None) -> Computed[Any] | None:
        """Return the consistent computed for `key`, after waiting for another thread; None if there is none."""
        computed = self.cache.find(key)
        while computed is not None:
            is_usable = computed._state is CONSISTENT and not computed._is_expired()
            if is_usable and self._serve(key, computed, context) is not NotImplemented:
                return computed
            waiter = None
            with graph_lock:
                computed = self.cache.find(key)
                if computed is not None and computed._state is COMPUTING:
                    check_cycle(context, computed)
                    if leader_of(computed) == threading.get_ident():
                        raise CyclicComputation(repr(computed))
                    waiter = ThreadWaiter()
                    join(computed, waiter)
            if computed is not None and waiter is not None:
                try:
                    waiter.wait()
                finally:
                    leave(computed, waiter)
                computed = self.cache.find(key)
        return None

    def _run(self, computed: Computed[Any], values: tuple[Any, ...], context: ComputeContext) -> None:
        token = current_context.set(context)
        try:
            value = self._call_body(values)
        except Exception as error:
            current_context.reset(token)
            self._fail(computed, error)
        except BaseException:
            current_context.reset(token)
            abandon(computed)
            raise
        else:
            current_context.reset(token)
            self._succeed(computed, value)
        finally:
            # What was started in the body and goes on must neither capture nor pin the computed.
            context.computed = None
            # The traceback of an error leads back to this frame, which must not hold what holds the error.
            del computed, context
