"""What a peer does with the protocol's own messages."""

from typing import TYPE_CHECKING, Final

from ._errors import RpcArgumentError, RpcError
from ._reconnection import answer_reconnect
from .protocol._message import RpcMessage
from .protocol._system_calls import CANCEL, DISCONNECT, ERROR, KEEP_ALIVE, MATCH, NOT_FOUND, OK, RECONNECT

if TYPE_CHECKING:
    from ._call_kind import MessageHandler
    from ._peer import RpcPeer

__all__ = ["SYSTEM_MESSAGES"]


def _on_ok(peer: "RpcPeer", message: RpcMessage) -> None:
    call = peer.outbound.get(message.related_id)
    if call is not None:
        call.succeeded(message)


def _on_error(peer: "RpcPeer", message: RpcMessage) -> None:
    call = peer.outbound.get(message.related_id)
    if call is not None:
        call.failed(message)


def _on_match(peer: "RpcPeer", message: RpcMessage) -> None:
    call = peer.outbound.get(message.related_id)
    if call is not None:
        call.matched()


def _on_not_found(peer: "RpcPeer", message: RpcMessage) -> None:
    call = peer.outbound.get(message.related_id)
    if call is not None:
        call.end(RpcError(f"Endpoint not found: '{call.method.wire_name}'."))


def _on_cancel(peer: "RpcPeer", message: RpcMessage) -> None:
    call = peer.inbound.get(message.related_id)
    if call is not None:
        call.cancel()


def _on_keep_alive(peer: "RpcPeer", message: RpcMessage) -> None:
    if peer.link is not None:
        peer.link.keep_alive_received()
    codec = peer.format.arguments((list[int],))
    try:
        (ids,) = codec.decode(message.args)
    except RpcArgumentError:
        return
    if ids:
        # No objects are shared here, so the other side should stop counting on them.
        peer.post(RpcMessage(DISCONNECT, 0, 0, codec.encode((ids,))))


SYSTEM_MESSAGES: Final[dict[str, "MessageHandler"]] = {
    OK: _on_ok,
    ERROR: _on_error,
    CANCEL: _on_cancel,
    MATCH: _on_match,
    NOT_FOUND: _on_not_found,
    RECONNECT: answer_reconnect,
    KEEP_ALIVE: _on_keep_alive,
}
"""What takes a system message, by its wire name."""
