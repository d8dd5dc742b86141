"""What of an error the other side may see."""

import asyncio
import os
import uuid
from typing import Final, Protocol

from refusion._base._logging import logger
from refusion.errors import PublicError

from ._errors import (
    RpcArgumentError,
    RpcCallCancelled,
    RpcError,
    RpcInternalError,
    RpcLimitExceeded,
    RpcOverloaded,
    RpcRerouted,
    RpcStreamLost,
    RpcStreamUsed,
)

__all__ = ["ErrorFilter", "default_error_filter", "hide_internals", "show_errors"]

_ENVIRONMENT: Final = "REFUSION_ENV"

_MADE_TO_BE_SEEN: Final = (
    PublicError,
    asyncio.CancelledError,
    RpcArgumentError,
    RpcLimitExceeded,
    RpcStreamLost,
    RpcStreamUsed,
    RpcInternalError,
)
"""Those of the RPC layer are made on this side, and are about the call: its values, its streams, and limits."""

_ADVICE: Final[tuple[tuple[type[RpcError], str], ...]] = (
    (RpcRerouted, "the call belongs elsewhere now"),
    (RpcOverloaded, "too many calls are under way; come again"),
    (RpcCallCancelled, "the call was cancelled over here; make it again"),
)
"""Errors that can come from another service, too, and what their callers are told in place of its text."""


class ErrorFilter(Protocol):
    """Takes what a handler has raised, and returns what is sent in its place."""

    def __call__(self, error: BaseException, /) -> BaseException: ...


def show_errors(error: BaseException) -> BaseException:
    """Return the error as it is: callers see its type and its text."""
    return error


def hide_internals(error: BaseException) -> BaseException:
    """Return the error if it was made to be seen; else one that only has a number, under which it is logged.

    Made to be seen are errors that inherit from `refusion.errors.PublicError`, and what this side says about the
    call itself: arguments that don't fit, what is too large, streams that can't be read. Of errors that tell the
    caller what to do, such as `RpcRerouted`, only the kind is: their texts may be those of another service.
    All others, also of the RPC layer, are about services, addresses or connections behind this one.
    Cancellation isn't hidden: it isn't an error of the handler.
    """
    if isinstance(error, _MADE_TO_BE_SEEN):
        return error
    for kind, text in _ADVICE:
        if isinstance(error, kind):
            return kind(text)
    number = uuid.uuid4().hex[:12]
    logger.error("error %s of a call, whose text wasn't sent", number, exc_info=error)
    return RpcInternalError(number)


def default_error_filter() -> ErrorFilter:
    """Return `hide_internals` where the environment says `REFUSION_ENV=production`, else `show_errors`."""
    return hide_internals if os.environ.get(_ENVIRONMENT, "").lower() == "production" else show_errors
