"""Middleware around calls, the first one outermost."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Generic, TypeVar, final

from ._call_context import Proceed

__all__ = ["Pipeline"]

C = TypeVar("C")

Middleware = Callable[[C, Proceed], Awaitable[Any]]


@final
class Pipeline(Generic[C]):
    """Runs calls through middleware to what makes or handles them."""

    def __init__(self, handle: Callable[[C], Awaitable[Any]]) -> None:
        self._handle = handle
        self._middleware: list[Middleware[C]] = []
        self.is_empty: bool = True
        """Whether there is nothing between a call and its handler."""

    def add(self, middleware: Middleware[C]) -> None:
        """Put middleware around the handler, inside of what was added before."""
        self._middleware.append(middleware)
        self.is_empty = False

    async def run(self, context: C, start: int = 0) -> Any:
        """Return the result of a call, as the middleware from `start` on lets it through."""
        if start == len(self._middleware):
            return await self._handle(context)
        return await self._middleware[start](context, partial(self.run, context, start + 1))
