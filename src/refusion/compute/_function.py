"""What produces computed values: the contract between `Computed` and compute methods, states and sources."""

from abc import ABC, abstractmethod
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, ClassVar, final

from refusion._base._clock import current_clock

from ._invalidation import invalidate
from ._options import ResolvedOptions
from ._source import InvalidationSource

if TYPE_CHECKING:
    from ._computed import Computed
    from ._context import CallContext
    from ._keep_alive import HoldQueue

__all__ = ["ComputeFunction", "ComputedInput"]


@final
class ComputedInput:
    """What a computed was computed for: a function and the arguments of one call; equal for equal calls."""

    __slots__ = ("_key", "arguments", "function")

    def __init__(self, function: "ComputeFunction", key: Any, arguments: tuple[Any, ...]) -> None:
        self.function: ComputeFunction = function
        """The bound compute method, the state or the source."""
        self.arguments: tuple[Any, ...] = arguments
        """One value per parameter, with defaults applied."""
        self._key = key

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ComputedInput):
            return NotImplemented
        return self.function.is_same(other.function) and bool(self._key == other._key)

    def __hash__(self) -> int:
        return hash(self._key)

    def __repr__(self) -> str:
        return self.function.describe(self._key)


class ComputeFunction(ABC):
    """Produces the computed values of one compute method of one service, of a state, or of a source."""

    __slots__ = ()

    options: ResolvedOptions

    hold: "HoldQueue | None"
    """What holds its results after their last use, if anything does."""

    is_told_of_invalidation: ClassVar[bool] = False
    """Whether `invalidated` does anything."""

    @abstractmethod
    def describe(self, key: Any) -> str:
        """Return the call that `key` stands for, as text for people."""

    @abstractmethod
    def renew(self, computed: "Computed[Any]", context: "CallContext | None") -> Awaitable["Computed[Any]"]:
        """Return an awaitable of a consistent computed for the input of `computed`, on behalf of `context`."""

    @abstractmethod
    def unregister(self, computed: "Computed[Any]") -> None:
        """Forget an invalidated computed; called under the graph lock."""

    def invalidated(self, computed: "Computed[Any]") -> None:  # most have nothing to do
        """Be told that `computed` was just invalidated, before its handlers are; called with no lock held."""

    def made_from(self, computed: "Computed[Any]") -> "tuple[Computed[Any], ...]":
        """Return what `computed` was made from; nothing once it is invalidated."""
        return computed.dependencies

    def cool_down(self, computed: "Computed[Any]") -> None:  # most have nothing to cool down
        """Stop holding `computed` for speed; called under the graph lock when its hold ends."""

    def last_use(self, computed: "Computed[Any]") -> int:
        """Return the epoch in which `computed` was last used, as far as its hold queue doesn't know; or -1."""
        return -1

    def input_of(self, key: Any) -> ComputedInput:
        """Return the public form of `key`."""
        return ComputedInput(self, key, self.arguments_of(key))

    def arguments_of(self, key: Any) -> tuple[Any, ...]:
        """Return the arguments of the call that `key` stands for."""
        return ()

    def is_same(self, other: "ComputeFunction") -> bool:
        """Tell whether both produce the same values for the same keys."""
        return self is other

    def expire(self, computed: "Computed[Any]", deadline: float) -> bool:
        """Invalidate `computed` if its deadline has passed, and tell whether it has.

        Timers do this as a rule; but a timer dies with the event loop that it was armed in.
        """
        if current_clock().now() < deadline:
            return False
        invalidate(computed, InvalidationSource.AUTO_INVALIDATION, immediately=True)
        return True
