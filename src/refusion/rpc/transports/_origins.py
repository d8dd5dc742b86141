"""Which web pages may connect.

A browser lets any page open a WebSocket to any server, with the cookies that the server has set. It tells the
server where the page is from, in the Origin header (RFC 6454); whoever trusts cookies has to look at it.
Clients that aren't browsers send none, and are let in.
"""

from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

from ._transport import ConnectionRequest, Rejection

__all__ = ["REFUSED_ORIGIN", "OriginValidator", "allow_all", "allow_origins", "same_origin", "same_origin_with_cookies"]

OriginValidator = Callable[[ConnectionRequest], bool]
"""Tells whether a client may connect, by where it is from."""

REFUSED_ORIGIN: Final = Rejection("Pages of this origin may not connect.")
"""What a page is told that may not connect."""

_DEFAULT_PORTS: Final = {"http": 80, "https": 443, "ws": 80, "wss": 443}


def allow_all(request: ConnectionRequest) -> bool:
    """Let every page connect: right where clients prove who they are with each call, and not by cookies."""
    return True


def same_origin(request: ConnectionRequest) -> bool:
    """Let pages connect that come from the host and port that they connect to, as the Host header has it.

    A proxy in front has to pass that header on. Whether it is reached by TLS doesn't count, because the proxy
    may be where TLS ends.
    """
    origin = request.headers.get("origin")
    if origin is None:
        return True
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    default = _DEFAULT_PORTS.get(parts.scheme)
    return default is not None and _with_port(parts.netloc, default) == _with_port(
        request.headers.get("host", ""), default
    )


def same_origin_with_cookies(request: ConnectionRequest) -> bool:
    """Let every page connect that brings no cookies, and those that do if they are of the same origin."""
    return "cookie" not in request.headers or same_origin(request)


def allow_origins(*origins: str) -> OriginValidator:
    """Return a validator that lets pages of these origins connect, as `https://app.example.com`.

    Raises:
        ValueError: If one isn't a scheme, a host and perhaps a port.
    """
    known = {_normal(origin) for origin in origins}

    def validate(request: ConnectionRequest) -> bool:
        origin = request.headers.get("origin")
        if origin is None:
            return True
        try:
            return _normal(origin) in known
        except ValueError:
            return False

    return validate


def _normal(origin: str) -> tuple[str, str]:
    parts = urlsplit(origin)
    default = _DEFAULT_PORTS.get(parts.scheme)
    if default is None or not parts.netloc or parts.path not in ("", "/") or parts.query or "@" in parts.netloc:
        raise ValueError(f"{origin!r} isn't an origin; write it as https://app.example.com or http://localhost:3000")
    return parts.scheme, _with_port(parts.netloc, default)


def _with_port(host: str, default: int) -> str:
    host = host.lower()
    has_port = ":" in host.rpartition("]")[2]
    return host if has_port else f"{host}:{default}"
