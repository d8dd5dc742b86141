"""The part of ASGI that is needed here: where a request goes, its body, its answer, and the client's leaving."""

from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from ._problems import ProblemError

__all__ = [
    "ClientGone",
    "Message",
    "Receive",
    "Response",
    "Scope",
    "Send",
    "follow_lifespan",
    "locate",
    "read_body",
    "respond",
    "start_response",
    "wait_gone",
]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class ClientGone(Exception):
    """Raised when nobody waits for an answer any more."""


@dataclass(frozen=True, slots=True)
class Response:
    """An answer that is sent in one piece."""

    status: int
    body: bytes = b""
    content_type: str | None = None
    headers: tuple[tuple[str, str], ...] = ()


def locate(scope: Scope, path: str) -> tuple[str, str] | None:
    """Tell where a request goes: the URL path that stands for `path`, and what follows it.

    None if it goes elsewhere. An application may be mounted at any part of `path`: below `/api/rpc`, a `path`
    of `/rpc/http` is at `/api/rpc/http`, not at `/api/rpc/rpc/http`.
    """
    root: str = scope.get("root_path", "").rstrip("/")
    inner: str = scope["path"]
    if root and f"{inner}/".startswith(f"{root}/"):
        # As ASGI says; some servers and frameworks have taken it away already.
        inner = inner[len(root) :]
    segments = [f"/{segment}" for segment in path.split("/") if segment]
    for count in range(len(segments) + 1):
        mounted, own = "".join(segments[:count]), "".join(segments[count:])
        if root.endswith(mounted) and f"{inner}/".startswith(f"{own}/"):
            # Some frameworks end every path below a mount with a slash.
            return root + own, inner[len(own) :].rstrip("/")
    return None


async def read_body(receive: Receive, declared: int | None, limit: int) -> bytes:
    """Return the body of a request.

    Args:
        receive: Gives its parts.
        declared: Its size as its headers have it, if they do.
        limit: How large it may be; what is larger isn't read to its end.

    Raises:
        ProblemError: If it is larger.
        ClientGone: If it doesn't come.
    """
    if declared is not None and declared > limit:
        raise _too_large(limit)
    # Not a list of parts: they may be of a byte each, and then would take forty times as much.
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        part: bytes = message.get("body", b"")
        if len(body) + len(part) > limit:
            raise _too_large(limit)
        body += part
        if not message.get("more_body", False):
            return bytes(body)


def _too_large(limit: int) -> ProblemError:
    # The rest of the body is in the way of another request on this connection.
    return ProblemError(
        413, f"the body has more than {limit:,} bytes; send it in parts", headers=(("connection", "close"),)
    )


async def wait_gone(receive: Receive) -> None:
    """Wait until the client goes away."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def respond(send: Send, response: Response, *, is_head: bool = False) -> None:
    """Send an answer; without its body to a `HEAD`."""
    headers = list(response.headers)
    if response.status != 204:
        # RFC 9110, 8.6: none with that status.
        headers.append(("content-length", str(len(response.body))))
    await start_response(send, response.status, response.content_type, headers)
    await send({"type": "http.response.body", "body": b"" if is_head else response.body})


async def start_response(
    send: Send, status: int, content_type: str | None, headers: list[tuple[str, str]] | None = None
) -> None:
    """Send the head of an answer. What the answer says is true now, so nobody is to keep it."""
    pairs = [("cache-control", "no-store"), *(headers or ())]
    if content_type is not None:
        pairs.insert(0, ("content-type", content_type))
    encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in pairs]
    await send({"type": "http.response.start", "status": status, "headers": encoded})


async def follow_lifespan(receive: Receive, send: Send, close: Callable[[], Awaitable[object]] | None = None) -> None:
    """Say yes to the start and the end of the server; before the end `close` is awaited."""
    while True:
        message = await receive()
        is_end = message["type"] == "lifespan.shutdown"
        if is_end and close is not None:
            await close()
        await send({"type": f"{message['type']}.complete"})
        if is_end:
            return
