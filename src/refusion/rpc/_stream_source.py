"""Sources of streams: how an item is taken, and how a source is closed."""

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Generator, Iterable, Iterator
from typing import Any, Final, Generic, TypeVar, final

from refusion._base._logging import log_failure

__all__ = ["Pull", "close_source", "iterate", "own_iterator"]

T = TypeVar("T")


def iterate(source: AsyncIterable[T] | Iterable[T]) -> AsyncIterator[T]:
    """Return an async iterator over a source of either kind."""
    if isinstance(source, AsyncIterable):
        return aiter(source)
    return _Plain(source)


def own_iterator(source: AsyncIterable[T] | Iterable[T]) -> AsyncIterator[T] | Iterator[T] | None:
    """Return a source that is its own iterator, as a generator is, and so is to be closed even if nobody reads it."""
    return source if isinstance(source, AsyncIterator | Iterator) else None


async def close_source(iterator: AsyncIterator[Any] | Iterator[Any] | None) -> None:
    """Close an iterator over a source, if it can be closed; what goes wrong is logged."""
    close: Callable[[], Any] | None = getattr(iterator, "aclose", None) or getattr(iterator, "close", None)
    if close is None:
        return
    try:
        outcome = close()
        if isinstance(outcome, Awaitable):
            await outcome
    except Exception:
        log_failure("closing the source of a stream", iterator)


@final
class _Plain(AsyncIterator[T]):
    """An async iterator over a plain iterable."""

    def __init__(self, source: Iterable[T]) -> None:
        self._items = iter(source)

    async def __anext__(self) -> T:
        for item in self._items:
            return item
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Close a generator."""
        close: Any = getattr(self._items, "close", None)
        if close is not None:
            close()


@final
class Pull(Generic[T]):
    """Awaits the next item of a source, and tells when that isn't there at once.

    So a batch grows while items are ready, and goes out as soon as the next one has to be waited for.

    Args:
        iterator: What gives the item.
        on_wait: Called before the task has to wait, if it has to.
    """

    __slots__ = ("_iterator", "_on_wait")

    def __init__(self, iterator: AsyncIterator[T], on_wait: Callable[[], None]) -> None:
        self._iterator: Final = iterator
        self._on_wait: Final = on_wait

    def __await__(self) -> Generator[Any, Any, T]:
        steps = self._iterator.__anext__().__await__()
        try:
            wanted = next(steps)
            try:
                self._on_wait()
            except BaseException as error:
                wanted = steps.throw(error)
            while True:
                try:
                    sent = yield wanted
                except BaseException as error:
                    wanted = steps.throw(error)
                else:
                    wanted = steps.send(sent) if sent is not None else next(steps)
        except StopIteration as done:
            item: T = done.value
            return item
