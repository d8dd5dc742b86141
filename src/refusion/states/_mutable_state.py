"""`MutableState`: a value that the program sets."""

import math
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, final

from refusion._base._result import Result, StoredError
from refusion._base._same import is_same
from refusion.compute import Computed, ComputedOptions, InvalidationSource, registry
from refusion.compute._completion import complete
from refusion.compute._invalidation import invalidate

from ._state import State, StateEvent

__all__ = ["MutableState"]

T = TypeVar("T")

_OPTIONS = ComputedOptions(transient_error_invalidation_delay=math.inf, non_transient_error_invalidation_delay=math.inf)


@final
class MutableState(State[T]):
    """A value that is set by the program and depended on by computations.

    Setting is synchronous, works in any thread, and needs no event loop: when `set` returns the new value
    is there, and everything computed from the old one is invalidated. Handlers run inside of `set`.

    Example:
        ```python
        name = MutableState("Ann")


        @compute_method
        async def greeting(self) -> str:
            return f"Hello, {await name.use()}!"
        ```
    """

    __slots__ = ("_initial", "_next")

    def __init__(self, value: T, *, options: ComputedOptions | None = None) -> None:
        """Create a state with its first value.

        Args:
            value: The value.
            options: Options of its computed. Errors never expire by default.

        Raises:
            TypeError: If the options ask for consolidation.
        """
        self._next: Result[T] = Result(value)
        super().__init__(_OPTIONS if options is None else options.merged(_OPTIONS))

    def set(self, value: T) -> None:
        """Make `value` the current one; does nothing if it is the same as before.

        The same is what is identical, or of the same type and equal; so changing an object in place and
        setting it again goes unnoticed.
        """
        with self._lock:
            output = self._next
            if output.has_value and is_same(output.value_or_none, value):
                return
            self._replace(Result(value))

    def set_error(self, error: BaseException) -> None:
        """Make `error` the current output; does nothing if that very object is it already."""
        with self._lock:
            if self._next.error is not error:
                self._replace(Result(error=error))

    def update_with(self, change: Callable[[Result[T]], T], *, raise_error: bool = False) -> None:
        """Set what `change(current output)` returns; it is published even if it equals the old value.

        Args:
            change: Makes the new value of the current output, which may be an error.
            raise_error: Whether what `change` raises goes to the caller and leaves the state as it is;
                otherwise it becomes the state's error.
        """
        with self._lock:
            try:
                output: Result[T] = Result(change(self._next))
            except Exception as error:
                if raise_error:
                    raise
                output = Result(error=error)
            self._replace(output)

    def invalidated(self, computed: Computed[Any]) -> None:
        """Renew an invalidated generation at once, with what was set or with the same output."""
        with self._lock:
            snapshot = self._snapshot
            if snapshot.computed is not computed:
                return
            self._raise_invalidated(snapshot)
            if self._snapshot is not snapshot:
                # A handler has set the state again.
                return
            snapshot._updating_signal.set()
            self._raise_event(StateEvent.UPDATING)
            if self._snapshot is snapshot:
                self._publish(self._create())

    def _create_initial(self) -> Computed[T]:
        return self._create()

    def _create(self) -> Computed[T]:
        computed: Computed[T] = Computed(self, ())
        registry().add(computed)
        output = self._next
        error = output.error
        stored = None if error is None else StoredError(error, error.__traceback__)
        complete(computed, output.value_or_none, stored, self.options.auto_invalidation_delay)
        return computed

    def _replace(self, output: Result[T]) -> None:
        self._next = output
        invalidate(self._snapshot.computed, InvalidationSource.MUTABLE_STATE_SET, immediately=False)

    async def _renewed(self) -> Computed[T]:
        return self._snapshot.computed

    def renew(self, computed: Computed[Any], context: object) -> Coroutine[Any, Any, Computed[T]]:
        return self._renewed()
