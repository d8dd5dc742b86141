"""One generation of a state, as an immutable record."""

from typing import Generic, TypeVar, final

from refusion._aio._signal import Signal
from refusion.compute import Computed
from refusion.compute._changes import is_transient_failure

__all__ = ["StateSnapshot"]

T = TypeVar("T")


@final
class StateSnapshot(Generic[T]):
    """What a state is at one moment: its computed, and how it came there.

    A snapshot is replaced as a whole, then announced, so its parts always belong together. Its waits
    belong to this very generation: a waiter can't miss one.
    """

    __slots__ = (
        "_invalidated_signal",
        "_updated_signal",
        "_updating_signal",
        "computed",
        "error_count",
        "last_non_error_computed",
        "retry_count",
        "update_count",
    )

    def __init__(self, computed: Computed[T], previous: "StateSnapshot[T] | None" = None) -> None:
        self.computed: Computed[T] = computed
        """The computed of this generation."""
        self.last_non_error_computed: Computed[T] = computed
        """The latest computed that has a value; the very first one if there was none."""
        self.update_count: int = 0
        """How many generations came before this one."""
        self.error_count: int = 0
        """How many of the updates so far have failed."""
        self.retry_count: int = 0
        """How many transient errors came in a row, up to this generation."""
        if previous is not None:
            self.update_count = previous.update_count + 1
            self.error_count = previous.error_count
            if computed.has_error:
                self.error_count += 1
                self.retry_count = previous.retry_count + 1 if is_transient_failure(computed) else 0
                self.last_non_error_computed = previous.last_non_error_computed
        self._invalidated_signal = Signal()
        self._updating_signal = Signal()
        self._updated_signal = Signal()

    @property
    def is_initial(self) -> bool:
        """Whether the state hasn't been updated yet."""
        return self.update_count == 0

    async def when_updating(self) -> None:
        """Wait until the update that ends this generation has begun."""
        await self._updating_signal.wait()

    async def when_updated(self) -> None:
        """Wait until the next generation is there."""
        await self._updated_signal.wait()

    def __repr__(self) -> str:
        return f"<StateSnapshot #{self.update_count} of {self.computed!r}>"
