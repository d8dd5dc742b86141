"""A call as middleware sees it, on the side that handles it and on the side that makes it."""

from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context, ContextVar
from typing import TYPE_CHECKING, Any, Final, Protocol, final

from .protocol._message import Headers

if TYPE_CHECKING:
    from ._contract import MethodDefinition
    from ._outbound_call import OutboundCall
    from ._peer import RpcPeer
    from ._routes import RpcRoute
    from .transports._transport import ConnectionRequest

__all__ = [
    "InboundContext",
    "OutboundContext",
    "Proceed",
    "RpcInboundMiddleware",
    "RpcOutboundMiddleware",
    "create_call_context",
    "current_headers",
    "current_peer",
    "find_peer",
    "set_headers",
]

_current_peer: Final[ContextVar["RpcPeer | None"]] = ContextVar("refusion_rpc_peer", default=None)
_current_headers: Final[ContextVar[Headers]] = ContextVar("refusion_rpc_headers", default=())


def current_peer() -> "RpcPeer":
    """Return the peer whose call is being handled; for use in the methods of services.

    Raises:
        LookupError: If no call of a peer is being handled, as when it came by plain HTTP.
    """
    peer = find_peer()
    if peer is None:
        raise LookupError("current_peer() is known only while a call of a peer is handled")
    return peer


def find_peer() -> "RpcPeer | None":
    """Return the peer whose call is being handled, if one is."""
    return _current_peer.get()


def current_headers() -> Headers:
    """Return the headers, names and values, of the call that is being handled; none outside of any."""
    return _current_headers.get()


def create_call_context(peer: "RpcPeer") -> Context:
    """Return a context that handlers of a peer's calls run in copies of."""
    context = Context()
    context.run(_current_peer.set, peer)
    return context


def set_headers(headers: Headers) -> None:
    """Make these the current headers, in the running context."""
    _current_headers.set(headers)


@final
class InboundContext:
    """A call that is about to be handled: what inbound middleware is given."""

    __slots__ = ("_handler", "arguments", "headers", "method", "peer", "request")

    def __init__(
        self,
        method: "MethodDefinition",
        arguments: Sequence[Any],
        *,
        headers: Headers = (),
        peer: "RpcPeer | None" = None,
        request: "ConnectionRequest | None" = None,
        handler: "Callable[[InboundContext], Awaitable[Any]] | None" = None,
    ) -> None:
        self._handler = handler
        self.method: MethodDefinition = method
        """What is called."""
        self.arguments: Sequence[Any] = arguments
        """One value per parameter; middleware may put other ones in their place."""
        self.headers: Headers = headers
        """What came with the call: the headers of its message, or those of its HTTP request, names in lower case."""
        self.peer: RpcPeer | None = peer
        """Who calls; None if the call came by plain HTTP, or from this process."""
        self.request: ConnectionRequest | None = request
        """What the caller has connected with: the WebSocket's upgrade, or the HTTP request; None if unknown."""

    def header(self, name: str) -> str | None:
        """Return the value of a header, the last one if there are several."""
        return dict(self.headers).get(name)


@final
class OutboundContext:
    """A call that is about to be made: what outbound middleware is given."""

    __slots__ = ("arguments", "call", "headers", "known_hash", "method", "peer", "prepare", "route", "started_at")

    def __init__(
        self,
        method: "MethodDefinition",
        arguments: Sequence[Any],
        peer: "RpcPeer",
        *,
        route: "RpcRoute | None" = None,
        started_at: float | None = None,
        known_hash: str | None = None,
        prepare: "Callable[[OutboundCall], object] | None" = None,
    ) -> None:
        self.method: MethodDefinition = method
        """What is called."""
        self.arguments: Sequence[Any] = arguments
        """One value per parameter; middleware may put other ones in their place."""
        self.headers: dict[str, str] = {}
        """What is to go with the call; middleware fills it."""
        self.peer: RpcPeer = peer
        """Who is called."""
        self.route: RpcRoute | None = route
        """Along which route; None if it is a fixed peer."""
        self.started_at: float | None = started_at
        """When it was made first, in clock time, if it was made along another route before."""
        self.known_hash: str | None = known_hash
        """The content hash of a result from before, empty if there is none; None if that is of no interest."""
        self.prepare: Callable[[OutboundCall], object] | None = prepare
        """Is given each call when it is made, before anything can have come for it; ends those that don't count, if
        they stay open by their kind and middleware makes more than one."""
        self.call: OutboundCall | None = None
        """The call, once it was made; the last one, if middleware has made it more than once."""


class Proceed(Protocol):
    """Goes on with a call and returns its result; may be awaited more than once, or not at all."""

    def __call__(self) -> Awaitable[Any]: ...


class RpcInboundMiddleware(Protocol):
    """Stands around the handlers of a hub's services: returns `await proceed()`, something else, or raises."""

    def __call__(self, call: InboundContext, proceed: Proceed, /) -> Awaitable[Any]: ...


class RpcOutboundMiddleware(Protocol):
    """Stands around the calls that a hub's clients make: returns `await proceed()`, something else, or raises."""

    def __call__(self, call: OutboundContext, proceed: Proceed, /) -> Awaitable[Any]: ...
