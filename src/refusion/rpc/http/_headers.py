"""HTTP headers: what is required of them, and what calls get to know of them."""

from collections.abc import Iterable
from typing import Final
from urllib.parse import parse_qsl

from refusion.rpc.protocol._message import Headers
from refusion.rpc.transports._transport import ConnectionRequest

from ._asgi import Scope
from ._problems import ProblemError

__all__ = ["call_headers", "check_content_type", "connection_request", "content_length", "read_headers"]

_TRACE_PARENT: Final = "~p"
_TRACE_PARENT_LENGTH: Final = 55
"""Of version 00; RPC peers ignore others."""

_TRACE_STATE: Final = "~s"
_MAX_TRACE_STATE_LENGTH: Final = 512


def read_headers(scope: Scope) -> Headers:
    """Return the headers of a request, with names in lower case."""
    pairs: Iterable[tuple[bytes, bytes]] = scope["headers"]
    return tuple([(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in pairs])


def connection_request(scope: Scope, headers: Headers) -> ConnectionRequest:
    """Return a request as the hub knows requests."""
    query = parse_qsl(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)
    client = scope.get("client")
    return ConnectionRequest(scope["path"], dict(query), dict(headers), client[0] if client else "")


def content_length(headers: Headers) -> int | None:
    """Return the size that the body is said to have."""
    for name, value in headers:
        if name == "content-length" and value.isascii() and value.isdigit():
            # No more digits than a 64-bit number has; of many more Python makes no number.
            return int(value.lstrip("0")[:20] or "0")
    return None


def check_content_type(headers: Headers) -> None:
    """Refuse what isn't JSON in UTF-8.

    Also for a request without a body: no page of another site can send this type without asking, so none can
    make calls in the name of whoever looks at it.

    Raises:
        ProblemError: If it is something else.
    """
    values = [value for name, value in headers if name == "content-type"]
    if len(values) != 1 or not _is_json(values[0]):
        given = " and ".join(map(repr, values)) or "nothing"
        raise ProblemError(415, f"the content-type must be 'application/json', and is {given}")
    encodings = [value.strip().lower() for name, value in headers if name == "content-encoding"]
    if encodings and encodings != ["identity"]:
        raise ProblemError(415, f"the body must not be encoded, and is {', '.join(encodings)}")


def _is_json(content_type: str) -> bool:
    media_type, *parameters = content_type.split(";")
    if media_type.strip().lower() != "application/json":
        return False
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset" and value.strip().strip('"').lower() not in ("utf-8", "utf8"):
            return False
    return True


def call_headers(headers: Headers) -> Headers:
    """Return the headers of a call: those of the request, and the trace that it is part of as RPC writes it.

    What an RPC peer would read as a header of the protocol is left out.
    """
    pairs = [pair for pair in headers if not pair[0].startswith(("~", "#"))]
    parents = [value.strip() for name, value in headers if name == "traceparent"]
    if len(parents) == 1 and len(parents[0]) == _TRACE_PARENT_LENGTH:
        pairs.append((_TRACE_PARENT, parents[0]))
        state = ",".join([value.strip() for name, value in headers if name == "tracestate"])
        if 0 < len(state) <= _MAX_TRACE_STATE_LENGTH:
            pairs.append((_TRACE_STATE, state))
    return tuple(pairs)
