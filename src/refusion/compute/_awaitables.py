"""Awaitables that are finished before anybody awaits them.

They are full coroutines to `create_task`, `TaskGroup`, `gather` and `wait_for`, may be awaited any number
of times, by several tasks at once, in any event loop, and may be dropped without a warning.
"""

from _asyncio import Future as _CFuture
from collections.abc import Coroutine, Iterator
from typing import TYPE_CHECKING, Any, Final, NoReturn, Self, final

from refusion._base._result import StoredError

if TYPE_CHECKING:
    from ._computed import Computed

__all__ = ["Finished", "Hit", "SyncHit", "create_hit"]


@final
class Finished(Coroutine[Any, Any, Any]):
    """A finished coroutine with a value or an error."""

    __slots__ = ("_error", "_value")

    def __init__(self, value: Any = None, error: StoredError | None = None) -> None:
        self._value = value
        self._error = error

    def __await__(self) -> Iterator[Any]:  # type: ignore[override]  # its own iterator: nothing to step through
        return self

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> NoReturn:
        self.send(None)

    def send(self, value: Any) -> NoReturn:
        if self._error is not None:
            raise self._error.restored()
        raise StopIteration(self._value)

    def throw(self, *args: Any) -> NoReturn:
        raise args[0]

    def close(self) -> None:
        pass


class _NoLoop:
    """Stands where a future wants its event loop; a finished future never asks it for anything else."""

    def get_debug(self) -> bool:
        return False


_NO_LOOP: Final[Any] = _NoLoop()


@final
class Hit(_CFuture["Any"]):
    """The finished awaitable of a hot result, shared by all who call.

    A finished C future is the one object in CPython that an `await` passes through without running a line
    of Python. It isn't bound to a loop: asyncio doesn't take it for a future, but for a coroutine.
    """

    __slots__ = ("computed", "epoch", "kind")

    _asyncio_future_blocking = None  # type: ignore[assignment]  # makes asyncio.isfuture() say no

    computed: "Computed[Any]"
    epoch: int
    kind: Any

    def send(self, value: Any) -> NoReturn:
        raise StopIteration(self.result())

    def throw(self, *args: Any) -> NoReturn:
        raise args[0]

    def close(self) -> None:
        pass


@final
class SyncHit:
    """A hot result of a synchronous compute method."""

    __slots__ = ("computed", "epoch", "kind", "value")

    def __init__(self, computed: "Computed[Any]", kind: Any, epoch: int) -> None:
        self.computed = computed
        self.kind = kind
        self.epoch = epoch
        self.value = computed._value


def create_hit(computed: "Computed[Any]", kind: Any, epoch: int) -> Hit:
    """Return the awaitable of a consistent value.

    Args:
        computed: The result.
        kind: The type of the argument, or the types of the arguments, which a call must match.
        epoch: The epoch of its last use.
    """
    hit = Hit(loop=_NO_LOOP)
    hit.set_result(computed._value)
    hit.computed = computed
    hit.kind = kind
    hit.epoch = epoch
    return hit
