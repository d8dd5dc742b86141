"""Calls that a gateway passes on, and those that would come back to where they are from.

A hub is a gateway for a method that it serves by being a client of it elsewhere. Such calls are marked by the header
`~g`. One that comes from the hub that it would be passed on to goes in a circle: the two are gateways to each other,
or they are one, which leads to itself.
"""

from typing import TYPE_CHECKING, Final

from ._errors import RpcError

if TYPE_CHECKING:
    from ._contract import MethodDefinition
    from ._peer import RpcPeer
    from .protocol._message import RpcMessage

__all__ = ["PASSED_ON", "circle_error", "goes_in_circle"]

PASSED_ON: Final = ("~g", "1")
"""The header of calls that a gateway passes on."""


def goes_in_circle(upstream: "RpcPeer", peer: "RpcPeer", message: "RpcMessage") -> bool:
    """Tell whether a call of a peer was passed on by the hub that it would be passed on to."""
    return PASSED_ON in message.headers and peer.remote_hub_id == upstream.remote_hub_id


def circle_error(method: "MethodDefinition", peer: "RpcPeer") -> RpcError:
    """Return the error that such a call is refused with."""
    who = "this hub to itself" if peer.remote_hub_id == peer.hub.id else "two hubs to each other"
    return RpcError(
        f"{method.full_name} has no origin: gateways pass its calls on in a circle, {who}; "
        "let one of them serve an implementation, or be a client of a hub that does"
    )
