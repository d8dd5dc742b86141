"""Finding the computed behind a call, for functions of any kind."""

import inspect
from collections.abc import Callable
from typing import Any

from ._context import CaptureContext, ExistingContext, ScopeToken, current_context
from ._errors import NothingCaptured

__all__ = ["capture", "existing", "try_capture"]


async def capture(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Do what `Computed.capture` says."""
    computed = await try_capture(function, *args, **kwargs)
    if computed is None:
        raise NothingCaptured(getattr(function, "__qualname__", repr(function)))
    return computed


async def try_capture(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Do what `Computed.try_capture` says."""
    context = CaptureContext(current_context.get())
    token = ScopeToken(context)
    try:
        result = function(*args, **kwargs)
        if inspect.isawaitable(result):
            await result
    except Exception:
        captured = context.captured
        if captured is None or captured.has_value:
            raise
    finally:
        context.is_active = False
        token.exit()
    return context.captured


def existing(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Do what `Computed.existing` says."""
    context = ExistingContext(current_context.get())
    token = ScopeToken(context)
    try:
        result = function(*args, **kwargs)
        if inspect.iscoroutine(result):
            # A function that isn't a compute method itself: run it up to its first suspension, if any.
            try:
                result.send(None)
            except StopIteration:
                pass
            else:
                result.close()
                raise TypeError(
                    "the function waits for something other than compute calls; pass the compute method itself"
                )
    finally:
        context.is_active = False
        token.exit()
    return context.captured
