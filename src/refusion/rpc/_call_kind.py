"""Kinds of calls, and how another layer adds one.

A kind is one call type of the protocol. It says which methods of contracts it is for and what clients have for those,
and names the class of calls made and the class of calls handled; what is special about calls is in what these override.
The hub has one kind for regular calls, type 0.

What happens to an outbound call, and the method of `OutboundCall` that is told:

| event                                          | method             | a regular call                     |
|------------------------------------------------|--------------------|------------------------------------|
| a result, an error or a match has arrived      | `end`              | is settled and over                |
| a message of the kind's own has arrived        | `system_methods`   | has none                           |
| the other side has answered, and forgotten it  | `peer_forgot`      | is over                            |
| it can't be sent, or sent again                | `fail`             | is settled with the error and over |
| its caller is cancelled                        | `cancel`           | is over here, and cancelled there  |
| it isn't answered for `delayed_call_threshold` | `delayed`          | goes on waiting                    |
| its time is up                                 | none               | is settled with the error, over    |
|                                                |                    | here, and cancelled there          |
| the peer is closed; `peer.is_closing` is set   | `end`              | is settled with the error and over |

A call that stays open after its answer sets `stage` to `CallStage.RESULT_READY` in `end`, calls `settle` and
keeps itself in `peer.outbound`. After a reconnect the peer asks the other side about it by its stage: when
that doesn't know it, because it was restarted or has dropped it, the call is told by `peer_forgot`.

What happens to an inbound call, and the method of `InboundCall` that is told:

| event                                          | method             | a regular call                     |
|------------------------------------------------|--------------------|------------------------------------|
| it has arrived                                 | `run_method`       | is run                             |
| its answer was posted                          | `replied`          | is over                            |
| it has come again, or was asked about          | `repeat`           | is answered again, if it was       |
| it wasn't asked about after a reconnect        | `make_up`          | just goes on                       |
| the other side has cancelled it or restarted,  | `cancel`           | is over; its task is cancelled     |
| or the peer is closed                          |                    |                                    |

A call that stays open after its answer overrides `replied` so that it isn't removed from `peer.inbound`, and
removes itself when it is over. What it posts while the link is down is lost: `repeat` is told, with the stage
that the caller has the call in, to make up for it on the next connection.

All of these are called in the event loop of the hub, and must not raise.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from ._contract import MethodDefinition
from ._inbound_call import InboundCall
from ._outbound_call import OutboundCall
from ._peer import RpcPeer
from ._proxy import remote_function, routed_function
from ._routes import RpcRouter
from ._service_modes import entry_function
from .protocol._message import RpcMessage

if TYPE_CHECKING:
    from ._hub import RpcHub

__all__ = ["MessageHandler", "RpcCallKind"]


class MessageHandler(Protocol):
    """Takes a message that has come over the current link of a peer; must not raise."""

    def __call__(self, peer: RpcPeer, message: RpcMessage, /) -> None: ...


class RpcCallKind:
    """One call type of the protocol: how its calls are made and handled. This one is that of regular calls."""

    call_type: ClassVar[int] = 0
    """The number of the kind in messages."""

    outbound_class: ClassVar[type[OutboundCall]] = OutboundCall
    """The class of calls that are made."""

    inbound_class: ClassVar[type[InboundCall]] = InboundCall
    """The class of calls that are handled."""

    def claims(self, attribute: Any) -> bool:
        """Tell whether a method of a contract, as its class has it, is called in this way; the rest is regular."""
        return False

    def check_implementation(self, method: MethodDefinition, implementation: object) -> None:
        """Refuse an implementation whose method can't be called in this way, though its signature fits.

        Raises:
            RpcContractError: Saying what is wrong with it.
        """

    def client_method(self, hub: "RpcHub", method: MethodDefinition, target: RpcPeer | RpcRouter) -> Any:
        """Return what clients have for a method, as an attribute of their class."""
        if isinstance(target, RpcPeer):
            return remote_function(method, target)
        return routed_function(method, hub, target)

    def entry_method(self, hub: "RpcHub", method: MethodDefinition, implementation: Any, router: RpcRouter) -> Any:
        """Return what calls of other processes come in by, of a service that is here and elsewhere."""
        return entry_function(hub, method, implementation, router)

    def system_methods(self) -> Mapping[str, MessageHandler]:
        """Return what takes the messages that belong to this kind alone, by wire name."""
        return {}
