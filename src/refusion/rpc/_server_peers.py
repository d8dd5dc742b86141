"""The clients of a hub: who is let in, who is found again, and who is forgotten."""

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, final

from refusion._base._logging import logger

from ._errors import RpcUnsupportedFormat
from ._link import Link
from ._server_peer import Admission, RpcServerPeer
from .formats import get_format
from .transports._transport import CLOSE_UNSUPPORTED_FORMAT, ConnectionRequest, Receiver, Rejection

if TYPE_CHECKING:
    from ._hub import RpcHub

__all__ = ["ServerPeers"]

_MAX_CLIENT_ID: Final = 128
"""A client id has 22 characters; those of other implementations may have a few more."""


@final
class ServerPeers:
    """The server peers of one hub, by the ids that clients give themselves and by format."""

    def __init__(self, hub: "RpcHub") -> None:
        self._hub = hub
        self._peers: dict[tuple[str, str], RpcServerPeer] = {}
        self.closing_tasks: set[asyncio.Task[None]] = set()
        """What closes peers whose clients haven't come back."""

    def __iter__(self) -> Iterator[RpcServerPeer]:
        return iter(list(self._peers.values()))

    def accept(self, request: ConnectionRequest, default_format: str) -> Receiver | Rejection:
        """Decide about a client that wants to connect."""
        client_id = request.query.get("clientId", "")
        if not client_id:
            return Rejection("The clientId parameter is missing.", 400)
        if len(client_id) > _MAX_CLIENT_ID:
            return Rejection("The clientId parameter is too long.", 400)
        key = request.query.get("f") or default_format
        try:
            format_ = get_format(key)
        except RpcUnsupportedFormat:
            reason = f"Unsupported RPC serialization format: '{key}'"
            return Rejection(reason, close_code=CLOSE_UNSUPPORTED_FORMAT)
        peer = self._peers.get((client_id, key))
        admission = Admission.UNKNOWN if peer is None else peer.admit(request.query.get("c"), request.query.get("p"))
        if admission is Admission.REFUSED:
            logger.warning("%r was refused a connection: it doesn't prove that it is the same client", peer)
            return Rejection("This isn't proved to be the client that was connected before.")
        if peer is None or admission is Admission.UNKNOWN:
            if peer is not None:
                # Nobody has said anything as this client yet, so nothing is lost; and its secret isn't given away.
                self.expire(peer)
            elif not self._has_room():
                return Rejection("There are too many clients.", 503)
            peer = self._peers[client_id, key] = RpcServerPeer(self._hub, client_id, format_)
        return Link(peer, request, is_proved=admission is not Admission.UNPROVED)

    def forget(self, peer: RpcServerPeer) -> None:
        """Drop a peer that is being closed."""
        key = (peer.client_id, peer.format.key)
        if self._peers.get(key) is peer:
            del self._peers[key]

    def expire(self, peer: RpcServerPeer) -> None:
        """Close a peer whose client won't come back."""
        self.forget(peer)
        peer.end_calls()
        task = self._hub.loop.create_task(peer.aclose(), name="rpc expire peer")
        self.closing_tasks.add(task)
        task.add_done_callback(self.closing_tasks.discard)

    def _has_room(self) -> bool:
        """Tell whether another client can be let in; those who went away first make room."""
        if len(self._peers) < self._hub.limits.max_server_peers:
            return True
        absent = min((peer for peer in self._peers.values() if peer.link is None), key=_gone_at, default=None)
        if absent is None:
            return False
        self.expire(absent)
        return True


def _gone_at(peer: RpcServerPeer) -> float:
    return peer.gone_at
