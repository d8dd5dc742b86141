"""What the servers share: telling clients apart before they are let in."""

from collections.abc import Iterable
from typing import Final
from urllib.parse import parse_qsl

from ._transport import ConnectionRequest

__all__ = ["connection_request", "server_url"]

# A server keeps the headers of each connection; these names of theirs it keeps once.
_COMMON_HEADERS: Final[dict[str, str]] = {
    name: name
    for name in (
        "accept-encoding",
        "accept-language",
        "cache-control",
        "connection",
        "cookie",
        "host",
        "origin",
        "pragma",
        "sec-websocket-extensions",
        "sec-websocket-key",
        "sec-websocket-version",
        "upgrade",
        "user-agent",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
    )
}


def connection_request(target: str, headers: Iterable[tuple[str, str]], remote: str) -> ConnectionRequest:
    """Return what a client asks for, from its HTTP request."""
    # Not urlsplit: this isn't a URL, and a path that begins with two slashes has no host in it.
    path, _, query = target.partition("#")[0].partition("?")
    lower: dict[str, str] = {}
    for name, value in headers:
        key = name.lower()
        lower[_COMMON_HEADERS.get(key, key)] = value
    return ConnectionRequest(path, dict(parse_qsl(query, keep_blank_values=True)), lower, remote)


def server_url(host: str, port: int, *, is_encrypted: bool = False) -> str:
    """Return where clients of a server connect."""
    name = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "[::1]"}.get(host, host)  # noqa: S104  # not bound here
    return f"{'wss' if is_encrypted else 'ws'}://{name}:{port}/rpc/ws"
