"""What is known of a call of a service while it is answered, however it came."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, final

from ._contract import MethodDefinition

if TYPE_CHECKING:
    from ._peer import RpcPeer
    from .transports._transport import ConnectionRequest

__all__ = ["InboundContext"]


@final
class InboundContext:
    """One call of a method that is served here."""

    __slots__ = ("arguments", "headers", "method", "peer", "request")

    def __init__(
        self,
        *,
        method: MethodDefinition,
        arguments: Sequence[Any],
        headers: tuple[tuple[str, str], ...] = (),
        peer: "RpcPeer | None" = None,
        request: "ConnectionRequest | None" = None,
    ) -> None:
        self.method: MethodDefinition = method
        """What is called."""
        self.arguments: Sequence[Any] = arguments
        """One value per parameter."""
        self.headers: tuple[tuple[str, str], ...] = headers
        """Names and values that have come along."""
        self.peer: RpcPeer | None = peer
        """Whose call it is; None if it came without a peer."""
        self.request: ConnectionRequest | None = request
        """The HTTP request that it came with."""
