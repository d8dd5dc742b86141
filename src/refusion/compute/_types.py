"""What type checkers see of compute methods.

At run time a bound compute method is a plain generated function, for speed. These protocols say what it
offers: the parameters and the result of the decorated method survive in each attribute.
"""

from collections.abc import Coroutine
from typing import Any, ParamSpec, Protocol, TypeVar

from ._computed import Computed

__all__ = ["BoundAsyncMethod", "BoundSyncMethod"]

P = ParamSpec("P")
T = TypeVar("T")


class BoundAsyncMethod(Protocol[P, T]):
    """A compute method of one service that is called with `await`."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, T]:
        """Return an awaitable of the value, cached or computed.

        It is a full coroutine. What the call means, and for whom, is settled when it is made. A cached
        value is delivered without suspending; an awaitable that was finished from the start may be dropped.

        Raises:
            UnhashableArgument: If an argument can't be part of a cache key.
            CyclicComputation: If the call needs its own result.
        """
        ...

    def invalidate(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Invalidate the result of this call, and all that was computed from it; may be called in any thread."""
        ...

    def capture(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, Computed[T]]:
        """Return an awaitable of the computed behind this call; a failed one is returned, not raised."""
        ...

    def existing(self, *args: P.args, **kwargs: P.kwargs) -> Computed[T] | None:
        """Return the computed that is registered for this call, in any state, or None; computes nothing."""
        ...


class BoundSyncMethod(Protocol[P, T]):
    """A compute method of one service that is called without `await`."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """Return the value, cached or computed; waits when another thread is computing it.

        Raises:
            UnhashableArgument: If an argument can't be part of a cache key.
            CyclicComputation: If the call needs its own result.
        """
        ...

    def invalidate(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Invalidate the result of this call, and all that was computed from it; may be called in any thread."""
        ...

    def capture(self, *args: P.args, **kwargs: P.kwargs) -> Computed[T]:
        """Return the computed behind this call; a failed one is returned, not raised."""
        ...

    def existing(self, *args: P.args, **kwargs: P.kwargs) -> Computed[T] | None:
        """Return the computed that is registered for this call, in any state, or None; computes nothing."""
        ...
