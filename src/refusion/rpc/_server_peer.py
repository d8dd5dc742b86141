"""The server's side of a link: kept for a while after a disconnect, and found again by the client's id."""

from typing import TYPE_CHECKING, final

from refusion._base._clock import TimerHandle, current_clock

from ._link import Link
from ._peer import RpcPeer
from .protocol._handshake import Handshake
from .protocol._reconnect_proof import create_secret, is_valid_proof

if TYPE_CHECKING:
    from ._hub import RpcHub
    from .formats import RpcFormat

__all__ = ["RpcServerPeer"]


@final
class RpcServerPeer(RpcPeer):
    """A client, as its server knows it. Calls that run when its connection breaks go on."""

    __slots__ = (
        "_has_secret",
        "_is_introduced",
        "_known_since",
        "_last_counter",
        "_retention",
        "_secret",
        "client_id",
    )

    is_server = True

    def __init__(self, hub: "RpcHub", client_id: str, format_: "RpcFormat") -> None:
        super().__init__(hub, format_)
        self.client_id: str = client_id
        """The id that the client has given itself."""
        self._secret = create_secret()
        self._last_counter = 0
        self._has_secret = False
        self._is_introduced = False
        self._known_since = current_clock().now()
        # Let in, but not connected yet; that may never happen.
        limits = self.limits
        self._retention: TimerHandle | None = None
        self._keep_for(limits.transport.connect_timeout + limits.handshake_timeout)

    @property
    def secret(self) -> str:
        return self._secret

    def admits(self, counter: str | None, proof: str | None) -> bool:
        """Tell whether a client that comes back has shown that it is the same one.

        It has to, if this hub requires it, and from the first time on that it has done so. A counter is good once.
        """
        if not self._has_secret and (self.link is None or not self.link.has_been_answered):
            # It may not have the secret, because that was lost on the way, and it has called nothing yet.
            return True
        if counter is None and proof is None:
            return not self.hub.requires_reconnect_proof and self._last_counter == 0
        if counter is None or proof is None:
            return False
        if not is_valid_proof(self._secret, self.client_id, counter, proof, self._last_counter):
            return False
        self._last_counter = int(counter)
        return True

    def link_opened(self, link: Link) -> None:
        if self.link is not None:
            self._has_secret = self._has_secret or self.link.has_been_answered
        if self._retention is not None:
            self._retention.cancel()
            self._retention = None
        super().link_opened(link)

    def link_ready(self, link: Link, handshake: Handshake) -> None:
        self._is_introduced = True
        super().link_ready(link, handshake)

    def link_closed(self, link: Link) -> None:
        was_current = self.link is link
        self._has_secret = self._has_secret or link.has_been_answered
        super().link_closed(link)
        if not was_current or self.is_closing:
            return
        if not self._is_introduced:
            # A stranger who never said who it is; there is nothing to remember.
            self._expire()
            return
        limits = self.limits
        wanted = (current_clock().now() - self._known_since) / 3
        self._keep_for(max(limits.server_peer_min_retention, min(limits.server_peer_max_retention, wanted)))

    async def aclose(self) -> None:
        if self._retention is not None:
            self._retention.cancel()
        self.hub.forget_server_peer(self)
        await super().aclose()

    def __repr__(self) -> str:
        return f"<RpcServerPeer of client {self.client_id}>"

    def _keep_for(self, seconds: float) -> None:
        clock = current_clock()
        self._retention = clock.call_at(clock.now() + seconds, self._expire)

    def _expire(self) -> None:
        self.hub.expire(self)
