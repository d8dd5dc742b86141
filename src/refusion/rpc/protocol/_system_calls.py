"""The wire names of the protocol's own messages."""

from typing import Final

__all__ = [
    "ACK",
    "ACK_END",
    "BATCH",
    "CANCEL",
    "DISCONNECT",
    "END",
    "ERROR",
    "HANDSHAKE",
    "INVALIDATE",
    "ITEM",
    "KEEP_ALIVE",
    "MATCH",
    "NOT_FOUND",
    "OK",
    "RECONNECT",
    "SYSTEM_METHODS",
]

HANDSHAKE: Final = "$sys.Handshake:1"
RECONNECT: Final = "$sys.Reconnect:3"
OK: Final = "$sys.Ok:1"
ERROR: Final = "$sys.Error:1"
CANCEL: Final = "$sys.Cancel:0"
MATCH: Final = "$sys.M:0"
NOT_FOUND: Final = "$sys.NotFound:2"
KEEP_ALIVE: Final = "$sys.KeepAlive:1"
DISCONNECT: Final = "$sys.Disconnect:1"
ACK: Final = "$sys.Ack:2"
ACK_END: Final = "$sys.AckEnd:1"
ITEM: Final = "$sys.I:2"
BATCH: Final = "$sys.B:2"
END: Final = "$sys.End:2"
INVALIDATE: Final = "$sys-c.Invalidate:0"

SYSTEM_METHODS: Final = (
    HANDSHAKE,
    RECONNECT,
    OK,
    ERROR,
    CANCEL,
    MATCH,
    NOT_FOUND,
    KEEP_ALIVE,
    DISCONNECT,
    ACK,
    ACK_END,
    ITEM,
    BATCH,
    END,
    INVALIDATE,
)
