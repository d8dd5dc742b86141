"""What of an error the other side may see."""

import asyncio
import os
import uuid
from typing import Final, Protocol

from refusion._base._logging import logger
from refusion.errors import PublicError

from ._errors import RpcError, RpcInternalError, RpcRemoteError

__all__ = ["ErrorFilter", "default_error_filter", "hide_internals", "show_errors"]

_ENVIRONMENT: Final = "REFUSION_ENV"


class ErrorFilter(Protocol):
    """Takes what a handler has raised, and returns what is sent in its place."""

    def __call__(self, error: BaseException, /) -> BaseException: ...


def show_errors(error: BaseException) -> BaseException:
    """Return the error as it is: callers see its type and its text."""
    return error


def hide_internals(error: BaseException) -> BaseException:
    """Return the error if it was made to be seen; else one that only has a number, under which it is logged.

    Made to be seen are errors of the RPC layer, such as those about arguments that don't fit, and errors that
    inherit from `refusion.errors.PublicError`. What another service has told its caller here, `RpcRemoteError`, isn't.
    Cancellation isn't hidden: it isn't an error of the handler.
    """
    if isinstance(error, PublicError | asyncio.CancelledError):
        return error
    if isinstance(error, RpcError) and not isinstance(error, RpcRemoteError):
        return error
    number = uuid.uuid4().hex[:12]
    logger.error("error %s of a call, whose text wasn't sent", number, exc_info=error)
    return RpcInternalError(number)


def default_error_filter() -> ErrorFilter:
    """Return `hide_internals` where the environment says `REFUSION_ENV=production`, else `show_errors`."""
    return hide_internals if os.environ.get(_ENVIRONMENT, "").lower() == "production" else show_errors
