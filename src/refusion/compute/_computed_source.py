"""A computed of its own, for a function that isn't a compute method."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from refusion._aio._waiter import Waiter
from refusion._base._result import StoredError

from ._completion import abandon, complete, error_lifetime
from ._computed import Computed, used_by
from ._context import CallContext, ComputeContext, current_context
from ._flight import check_cycle, is_abandoned, join, leave
from ._function import ComputeFunction
from ._graph import graph_lock
from ._invalidation import flip
from ._options import ComputedOptions, ResolvedOptions
from ._registry import registry
from ._source import InvalidationSource
from ._state import COMPUTING, CONSISTENT

__all__ = ["ComputedSource"]


class ComputedSource(ComputeFunction):
    """Computes one value again and again, and holds the latest computed of it.

    Args:
        function: Computes the value; what it calls and uses becomes a dependency.
        initial_value: What is readable before the first computation.
        options: How long errors are kept, and the like; consolidation isn't possible.

    Raises:
        TypeError: If the options ask for consolidation.
    """

    __slots__ = ("__weakref__", "_computed", "_function", "hold", "options")

    def __init__(
        self, function: Callable[[], Awaitable[Any]], initial_value: Any = None, options: ComputedOptions | None = None
    ) -> None:
        self.options: ResolvedOptions = (options or ComputedOptions()).resolve()
        if self.options.must_consolidate:
            raise TypeError("consolidation works for compute methods only; remove consolidation_delay")
        self.hold = None
        self._function = function
        self._computed: Computed[Any] = self._initial(initial_value)

    @property
    def computed(self) -> Computed[Any]:
        """The latest computed; it may be computing."""
        return self._computed

    def describe(self, key: Any) -> str:
        return f"Computed.new({getattr(self._function, '__qualname__', repr(self._function))})"

    def unregister(self, computed: Computed[Any]) -> None:
        registry().remove(computed)

    def renew(self, computed: Computed[Any], context: CallContext | None) -> Awaitable[Computed[Any]]:
        return self._produce(context)

    def _initial(self, value: Any) -> Computed[Any]:
        computed: Computed[Any] = Computed(self, ())
        registry().add(computed)
        with graph_lock:
            computed._value = value
            flip(computed, InvalidationSource.INITIAL_STATE)
        return computed

    async def _produce(self, context: CallContext | None) -> Computed[Any]:
        while True:
            waiter = None
            with graph_lock:
                computed = self._computed
                if computed._state is COMPUTING and not is_abandoned(computed):
                    check_cycle(context, computed)
                    waiter = Waiter()
                    join(computed, waiter)
                elif computed._state is not COMPUTING and computed._state is not CONSISTENT:
                    computed = self._computed = Computed[Any](self, ())
                    computed._flight = asyncio.current_task()
                    break
            if waiter is not None:
                try:
                    await waiter.wait()
                finally:
                    leave(computed, waiter)
            elif computed._state is COMPUTING:
                abandon(computed)
            elif not computed._is_expired():
                used_by(context, computed)
                return computed
        registry().add(computed)
        await self._run(computed, ComputeContext(computed, context))
        used_by(context, computed)
        return computed

    async def _run(self, computed: Computed[Any], context: ComputeContext) -> None:
        token = current_context.set(context)
        try:
            value = await self._function()
        except Exception as error:
            stored = StoredError(error, error.__traceback__ and error.__traceback__.tb_next)
            complete(computed, None, stored, error_lifetime(computed, error))
        except BaseException:
            abandon(computed)
            raise
        else:
            complete(computed, value, None, self.options.auto_invalidation_delay)
        finally:
            current_context.reset(token)
            context.computed = None
