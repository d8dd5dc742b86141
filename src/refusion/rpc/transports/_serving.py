"""What the servers share: telling clients apart before they are let in."""

from collections.abc import Iterable, Mapping
from urllib.parse import parse_qsl, urlsplit

from ._transport import ConnectionRequest

__all__ = ["connection_request", "server_url"]


def connection_request(target: str, headers: Iterable[tuple[str, str]], remote: str) -> ConnectionRequest:
    """Return what a client asks for, from its HTTP request."""
    url = urlsplit(target)
    lower: Mapping[str, str] = {name.lower(): value for name, value in headers}
    return ConnectionRequest(url.path, dict(parse_qsl(url.query, keep_blank_values=True)), lower, remote)


def server_url(host: str, port: int, *, is_encrypted: bool = False) -> str:
    """Return where clients of a server connect."""
    name = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "[::1]"}.get(host, host)  # noqa: S104  # not bound here
    return f"{'wss' if is_encrypted else 'ws'}://{name}:{port}/rpc/ws"
