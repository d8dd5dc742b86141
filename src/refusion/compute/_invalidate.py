"""Invalidation by call, for functions of any kind."""

import inspect
from collections.abc import Callable
from typing import ParamSpec

from ._context import invalidating
from ._source import caller_source

__all__ = ["invalidate"]

P = ParamSpec("P")


def invalidate(function: Callable[P, object], /, *args: P.args, **kwargs: P.kwargs) -> None:
    """Invalidate what is cached for `function(*args, **kwargs)`; nothing happens where nothing is.

    Does what calling the function inside `invalidating()` does, and works for whatever makes compute calls.
    """
    with invalidating(caller_source(1)):
        result = function(*args, **kwargs)
        if inspect.iscoroutine(result):
            # Not a compute method itself: its compute calls happen as it runs, and none of them suspends.
            try:
                result.send(None)
            except StopIteration:
                return
            result.close()
            raise TypeError(
                f"{function!r} waits for something other than compute calls; pass the compute method itself"
            )
