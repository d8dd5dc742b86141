"""What a peer does with the protocol's own messages."""

from typing import TYPE_CHECKING, Final

from ._errors import RpcArgumentError, RpcError
from ._reconnection import answer_reconnect
from .protocol._message import RpcMessage
from .protocol._system_calls import (
    ACK,
    ACK_END,
    BATCH,
    CANCEL,
    DISCONNECT,
    END,
    ERROR,
    ITEM,
    KEEP_ALIVE,
    MATCH,
    NOT_FOUND,
    OK,
    RECONNECT,
)

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
    link = peer.link
    if link is None:
        return
    link.keep_alive_received()
    try:
        (ids,) = peer.format.arguments((list[int],)).decode(message.args)
    except RpcArgumentError:
        return
    unknown = peer.streams.keep_alive_received(ids)
    if unknown:
        # They aren't here, so the other side should stop counting on them.
        link.post_ids(DISCONNECT, unknown)


def _on_stream_message(peer: "RpcPeer", message: RpcMessage) -> None:
    peer.streams.handle(message)


SYSTEM_MESSAGES: Final[dict[str, "MessageHandler"]] = {
    OK: _on_ok,
    ERROR: _on_error,
    CANCEL: _on_cancel,
    MATCH: _on_match,
    NOT_FOUND: _on_not_found,
    RECONNECT: answer_reconnect,
    KEEP_ALIVE: _on_keep_alive,
    DISCONNECT: _on_stream_message,
    ACK: _on_stream_message,
    ACK_END: _on_stream_message,
    ITEM: _on_stream_message,
    BATCH: _on_stream_message,
    END: _on_stream_message,
}
"""What takes a system message, by its wire name."""
