"""The server's side of a link: kept for a while after a disconnect, and found again by the client's id."""

from enum import Enum
from typing import TYPE_CHECKING, final

from refusion._base._clock import TimerHandle, current_clock

from ._link import Link
from ._peer import RpcPeer
from .protocol._handshake import Handshake
from .protocol._reconnect_proof import create_secret, is_valid_proof

if TYPE_CHECKING:
    from ._hub import RpcHub
    from .formats import RpcFormat

__all__ = ["Admission", "RpcServerPeer"]


class Admission(Enum):
    """What to do with a client that comes under an id that is known."""

    PROVED = "proved"
    """It is the same one: let it in."""

    UNPROVED = "unproved"
    """It is taken for the same one, because no such client has ever proved it, and none has to: let it in."""

    UNKNOWN = "unknown"
    """It may be another one, or have missed the secret; nothing was said as this client yet: let it in as a new one."""

    REFUSED = "refused"
    """It would have to prove it, and can't."""


@final
class RpcServerPeer(RpcPeer):
    """A client, as its server knows it. Calls that run when its connection breaks go on."""

    __slots__ = (
        "_is_acquainted",
        "_is_introduced",
        "_known_since",
        "_last_counter",
        "_retention",
        "_secret",
        "client_id",
        "gone_at",
    )

    is_server = True

    def __init__(self, hub: "RpcHub", client_id: str, format_: "RpcFormat") -> None:
        super().__init__(hub, format_)
        self.client_id: str = client_id
        """The id that the client has given itself."""
        self._secret = create_secret()
        self._last_counter = 0
        self._is_acquainted = False
        self._is_introduced = False
        self._known_since = current_clock().now()
        self.gone_at: float = self._known_since
        """When its client has gone, if it isn't here, in clock time."""
        # Let in, but not connected yet; that may never happen.
        limits = self.limits
        self._retention: TimerHandle | None = None
        self._keep_for(limits.transport.connect_timeout + limits.handshake_timeout)

    @property
    def secret(self) -> str | None:
        # Not to who hasn't shown that it is the same client: with the secret it could from then on.
        return self._secret if self.link is None or self.link.is_proved else None

    def admit(self, counter: str | None, proof: str | None) -> Admission:
        """Say what to do with a client that comes as this one; each counter is good once."""
        if self._is_valid(counter, proof):
            return Admission.PROVED
        if not self._is_acquainted and (self.link is None or not self.link.has_been_answered):
            return Admission.UNKNOWN
        is_free = not self.hub.requires_reconnect_proof and self._last_counter == 0
        return Admission.UNPROVED if is_free and counter is None and proof is None else Admission.REFUSED

    def _is_valid(self, counter: str | None, proof: str | None) -> bool:
        if counter is None or proof is None:
            return False
        if not is_valid_proof(self._secret, self.client_id, counter, proof, self._last_counter):
            return False
        self._last_counter = int(counter)
        return True

    def link_opened(self, link: Link) -> None:
        if self.link is not None:
            self._is_acquainted = self._is_acquainted or self.link.has_been_answered
        if self._retention is not None:
            self._retention.cancel()
            self._retention = None
        super().link_opened(link)

    def link_ready(self, link: Link, handshake: Handshake) -> None:
        self._is_introduced = True
        super().link_ready(link, handshake)

    def link_closed(self, link: Link) -> None:
        was_current = self.link is link
        self._is_acquainted = self._is_acquainted or link.has_been_answered
        super().link_closed(link)
        self.gone_at = current_clock().now()
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
        self.hub.clients.forget(self)
        await super().aclose()

    def __repr__(self) -> str:
        return f"<RpcServerPeer of client {self.client_id!r}>"

    def _keep_for(self, seconds: float) -> None:
        clock = current_clock()
        self._retention = clock.call_at(clock.now() + seconds, self._expire)

    def _expire(self) -> None:
        self.hub.clients.expire(self)
