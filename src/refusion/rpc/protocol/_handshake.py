"""The handshake: what both sides say first on every connection."""

import base64
import uuid
from enum import Enum
from typing import Final

import msgspec

from refusion.rpc._errors import RpcProtocolError

from ._version_set import VersionSet

__all__ = ["PROTOCOL_VERSION", "Handshake", "PeerChange", "check_handshake", "encode_client_id", "peer_change"]

PROTOCOL_VERSION: Final = 2


class Handshake(msgspec.Struct, frozen=True):
    """Who speaks, as which peer, for the how-manieth time."""

    remote_peer_id: str
    """The id of the sender's peer object ("remote" as the receiver sees it); it changes when its state is lost."""

    remote_hub_id: str
    """The id of the sender's hub."""

    index: int
    """How many handshakes this peer has sent; the receiver names it when it reconnects."""

    protocol_version: int = PROTOCOL_VERSION
    """The protocol that the sender speaks."""

    api_versions: str | None = None
    """Versions of the sender's API, as `Api=1.0`; none by default."""

    secret: str | None = None
    """What a client needs to prove on its next connection that it is the same one; only servers send it."""


class PeerChange(Enum):
    """What a handshake says about the one before."""

    FIRST = "first"
    """There was none: nothing is known on either side."""

    UNCHANGED = "unchanged"
    """The other side still knows everything; what was lost on the way is reconciled."""

    CHANGED = "changed"
    """The other side has forgotten everything, as a restarted server has."""


def peer_change(previous: Handshake | None, current: Handshake) -> PeerChange:
    """Compare a handshake with the previous one of the same peer; only the peer id counts."""
    if previous is None:
        return PeerChange.FIRST
    return PeerChange.UNCHANGED if previous.remote_peer_id == current.remote_peer_id else PeerChange.CHANGED


def check_handshake(handshake: Handshake) -> None:
    """Refuse a handshake that can't be worked with.

    Raises:
        RpcProtocolError: If it speaks another protocol version, names no peer, or has a malformed version set.
    """
    if handshake.protocol_version != PROTOCOL_VERSION:
        raise RpcProtocolError(
            f"the other side speaks version {handshake.protocol_version} of the protocol, this one {PROTOCOL_VERSION}"
        )
    if not handshake.remote_peer_id:
        raise RpcProtocolError("the handshake names no peer")
    VersionSet(handshake.api_versions)


def encode_client_id(number: uuid.UUID) -> str:
    """Return a client's id as it stands in URLs: 22 characters of base64url over .NET's byte order of the GUID."""
    return base64.urlsafe_b64encode(number.bytes_le).rstrip(b"=").decode()
