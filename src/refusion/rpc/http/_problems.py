"""What goes wrong, as RFC 9457 problem details."""

import asyncio
from typing import Final

import msgspec

from refusion.errors import PublicError, TransientError
from refusion.rpc._errors import RpcArgumentError, RpcCallTimeout, RpcError, RpcRemoteError, RpcRerouted
from refusion.rpc.protocol._exception_info import _text_of

__all__ = ["PROBLEM_TYPE", "Problem", "ProblemError", "encode_problem", "problem_of"]

PROBLEM_TYPE: Final = "application/problem+json"

_TITLES: Final = {
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    413: "Content Too Large",
    415: "Unsupported Media Type",
    422: "Unprocessable Content",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}

# In each table the first that fits counts.
_RPC_STATUSES: Final[tuple[tuple[type[BaseException], int], ...]] = (
    (RpcArgumentError, 422),
    (RpcCallTimeout, 504),
    (RpcRerouted, 503),
    (TransientError, 503),
)
_STATUSES: Final[tuple[tuple[type[BaseException], int], ...]] = (
    (asyncio.CancelledError, 503),
    (TimeoutError, 504),
    (PermissionError, 403),
    (LookupError, 404),
    (FileNotFoundError, 404),
    (ValueError, 400),
    (NotImplementedError, 501),
    (PublicError, 400),
)


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why a call has no result: problem details as in RFC 9457."""

    type: str
    """What kind of problem it is; `about:blank` says that `status` tells it."""

    title: str
    """The meaning of `status`."""

    status: int
    """The status of the answer."""

    detail: str
    """What is wrong."""

    error: str | msgspec.UnsetType = msgspec.UNSET
    """The type of the error that the method has raised."""

    argument: str | msgspec.UnsetType = msgspec.UNSET
    """The parameter whose argument is wrong."""

    known: list[str] | msgspec.UnsetType = msgspec.UNSET
    """What there is instead of what was asked for."""


class ProblemError(Exception):
    """Raised where a request turns out to be one that can't be answered."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        error: str | None = None,
        argument: str | None = None,
        known: list[str] | None = None,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__(status, detail)
        self.problem = Problem(
            type="about:blank",
            title=_TITLES[status],
            status=status,
            detail=detail,
            error=error or msgspec.UNSET,
            argument=argument or msgspec.UNSET,
            known=msgspec.UNSET if known is None else known,
        )
        self.headers = headers


def problem_of(error: BaseException, shown: BaseException, name: str) -> ProblemError:
    """Return the problem to tell of when a method has failed.

    Args:
        error: What it has raised.
        shown: What the hub lets the outside see in its place. The text of an error that nobody expects is
            told only if it differs.
        name: What the method is called.
    """
    status = _status_of(shown)
    if isinstance(shown, asyncio.CancelledError):
        return ProblemError(status, f"{name} was cancelled by the server; call it again")
    if status == 500 and shown is error:
        return ProblemError(status, f"{name} failed; the log of the server tells why")
    return ProblemError(status, _text_of(shown) or type(shown).__name__, error=type(shown).__name__)


def _status_of(error: BaseException) -> int:
    # RPC's own errors are lookup and value errors, too, but not of what the caller has sent.
    is_rpc = isinstance(error, RpcError) and not isinstance(error, RpcRemoteError)
    for kind, status in _RPC_STATUSES if is_rpc else _STATUSES:
        if isinstance(error, kind):
            return status
    return 500


def encode_problem(problem: Problem) -> bytes:
    """Return problem details as JSON, whatever texts are in them."""
    try:
        return msgspec.json.encode(problem)
    except UnicodeEncodeError:
        readable = problem.detail.encode(errors="replace").decode()
        return msgspec.json.encode(msgspec.structs.replace(problem, detail=readable))
