"""Following a value through its changes."""

from collections.abc import AsyncGenerator, Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, final

from refusion._base._clock import current_clock
from refusion._base._transiency import Transiency, transiency_of

from ._registry import registry

if TYPE_CHECKING:
    from ._computed import Computed

__all__ = ["Delayer", "NextTickDelayer", "changes", "when"]

T = TypeVar("T")


class Delayer(Protocol):
    """Decides how long to wait between an invalidation and the update that follows it."""

    async def delay(self, retry_count: int) -> None:
        """Wait before an update.

        Args:
            retry_count: How many transient errors came in a row; 0 after a success.
        """


@final
class NextTickDelayer:
    """Waits one tick of 15 ms, so that invalidations that come together are answered together."""

    async def delay(self, retry_count: int) -> None:
        await current_clock().sleep(0.015)


_NEXT_TICK = NextTickDelayer()


async def when(
    computed: "Computed[T]", predicate: "Callable[[Computed[T]], object]", delayer: Delayer | None
) -> "Computed[T]":
    """Wait for a computed that satisfies `predicate`, looking at the current one first."""
    while True:
        computed = await computed.update()
        if predicate(computed):
            return computed
        await computed.wait_invalidated()
        await (delayer or _NEXT_TICK).delay(0)


async def changes(computed: "Computed[T]", delayer: Delayer | None) -> "AsyncGenerator[Computed[T], None]":
    """Yield the current computed and those that take its place."""
    retry_count = 0
    while True:
        computed = await computed.update()
        yield computed
        retry_count = retry_count + 1 if is_transient_failure(computed) else 0
        await computed.wait_invalidated()
        await (delayer or _NEXT_TICK).delay(retry_count)


def is_transient_failure(computed: "Computed[Any]") -> bool:
    """Tell whether a computed holds an error that is likely to pass."""
    error = computed.error
    return error is not None and transiency_of(error, registry().error_classifier) is Transiency.TRANSIENT
