"""Waiting until what was shown from a cache is known to be true.

A replica is *synchronized* when its server has said that its value is true; one whose value came from a client cache
isn't, until the server has answered. What was computed from others is synchronized when all of those are.
"""

from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Final, TypeGuard, TypeVar, cast, final

from refusion._aio._wait_first import wait_first
from refusion._base._clock import current_clock
from refusion.compute import Computed
from refusion.states import ComputedState

from ._synchronization import ReplicaSource, Synchronization

__all__ = ["Synchronizer"]

T = TypeVar("T")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Synchronizer:
    """Says when a replica counts as synchronized, and how long to wait for that.

    Raises:
        ValueError: If a number is negative.

    Example:
        ```python
        with Synchronizer.PRECISE.activate():
            price = await stocks.get_price("AAPL")  # what the server says, not what the cache has
        ```
    """

    assumes_always: bool = False
    """Whether everything counts as synchronized."""

    assumes_when_disconnected: bool = False
    """Whether what can't be confirmed, because there is no link, counts as synchronized."""

    assumes_when_delayed: bool = False
    """Whether what isn't asked about at once, as the hub's `refresh_delayer` says, counts as synchronized."""

    max_wait: float | None = None
    """How many seconds to wait for one computed at most; None for as long as it takes."""

    max_updates: int = 1
    """How often a computed that was invalidated during the wait is updated, and waited for again."""

    def __post_init__(self) -> None:
        if self.max_updates < 0 or not (self.max_wait is None or self.max_wait >= 0):
            raise ValueError(
                f"max_wait is zero or more seconds, or None for as long as it takes, and max_updates is zero or more; "
                f"not {self.max_wait} and {self.max_updates}"
            )

    NONE: ClassVar["Synchronizer"]
    """Everything is synchronized; in force where no other one was activated."""

    PRECISE: ClassVar["Synchronizer"]
    """A replica is synchronized when its server has said so."""

    SAFE: ClassVar["Synchronizer"]
    """As precise, but for at most five seconds, and not where the server can't be asked, or isn't asked at once."""

    @classmethod
    def current(cls) -> "Synchronizer":
        """Return the one that is in force here."""
        return _current.get()

    @contextmanager
    def activate(self) -> Generator[None, None, None]:
        """Let calls of clients return synchronized values only, in the `with` block and the tasks that it starts.

        A value that was computed from unsynchronized ones before is returned as it is: `synchronize` looks behind it.
        """
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)

    def is_synchronized(self, computed: Computed[Any]) -> bool:
        """Tell whether a computed, and all that it was made from, is synchronized.

        One that was made from others isn't any more once it is invalidated, because these are forgotten then. For a
        `ComputedState` that is so between an invalidation and the update that follows.
        """
        return next(self._waits(computed), None) is None

    async def wait_synchronized(self, computed: Computed[Any]) -> None:
        """Wait until each replica that a computed was made from is confirmed by its server, or was invalidated.

        That the computed itself is invalidated by something else doesn't end the wait. The one of a `ComputedState` is
        waited for until the first update, too. Cancelling leaves nothing behind.
        """
        clock = current_clock()
        deadline = None if self.max_wait is None else clock.now() + self.max_wait
        while (wait := next(self._waits(computed, only_consistent=True), None)) is not None:
            if deadline is None:
                await wait()
                continue
            seconds = deadline - clock.now()
            if seconds <= 0:
                return
            await wait_first(wait(), clock.sleep(seconds))

    async def synchronize(self, computed: Computed[T]) -> Computed[T]:
        """Return a computed for the same input that is synchronized, as far as this one is patient.

        Raises:
            Exception: What `Computed.update` raises. The error of a computation isn't raised, but returned.
        """
        for _ in range(self.max_updates):
            await self.wait_synchronized(computed)
            if computed.is_consistent:
                return computed
            computed = await computed.update()
        await self.wait_synchronized(computed)
        return computed

    def _waits(
        self, computed: Computed[Any], *, only_consistent: bool = False
    ) -> Iterator[Callable[[], Coroutine[Any, Any, object]]]:
        """Yield what has to be waited for, by walking through all that a computed was made from."""
        seen = {computed}
        found = [] if self.assumes_always else [computed]
        while found:
            current = found.pop()
            function = current._function
            if isinstance(function, ComputedState):
                state = cast("ComputedState[Any]", function)  # type: ignore[redundant-cast]  # pyright needs it
                if state.snapshot.is_initial and not state.is_closed:
                    yield state.when_first_updated
                    continue
                current = state.computed
            if isinstance(function, ReplicaSource):
                synchronization = function.synchronization_of(current)
                if self._counts(synchronization) and (current.is_consistent or not only_consistent):
                    yield partial(_wait, current, synchronization)
            elif not current.is_consistent and not only_consistent:
                # Nobody knows what it was made from; there is nothing to wait for.
                yield current.wait_invalidated
            for origin in function.made_from(current):
                if origin not in seen:
                    seen.add(origin)
                    found.append(origin)

    def _counts(self, synchronization: Synchronization | None) -> TypeGuard[Synchronization]:
        if synchronization is None:
            return False
        if self.assumes_when_disconnected and not synchronization.peer.is_connected:
            return False
        return not (self.assumes_when_delayed and synchronization.is_delayed)


async def _wait(replica: Computed[Any], synchronization: Synchronization) -> None:
    await wait_first(synchronization.done.wait(), replica.wait_invalidated())


Synchronizer.NONE = Synchronizer(assumes_always=True, max_updates=0)
Synchronizer.PRECISE = Synchronizer()
Synchronizer.SAFE = Synchronizer(assumes_when_disconnected=True, assumes_when_delayed=True, max_wait=5.0)

_current: Final[ContextVar[Synchronizer]] = ContextVar("refusion_synchronizer", default=Synchronizer.NONE)
