"""The server's side of a link: kept for a while after a disconnect, and found again by the client's id."""

from typing import TYPE_CHECKING, final

from refusion._base._clock import TimerHandle, current_clock

from ._errors import RpcDisconnected
from ._link import Link
from ._peer import RpcPeer

if TYPE_CHECKING:
    from ._hub import RpcHub
    from .formats import RpcFormat

__all__ = ["RpcServerPeer"]


@final
class RpcServerPeer(RpcPeer):
    """A client, as its server knows it. Calls that run when its connection breaks go on."""

    def __init__(self, hub: "RpcHub", client_id: str, format_: "RpcFormat") -> None:
        super().__init__(hub, format_)
        self.client_id = client_id
        """The id that the client has given itself."""
        self._known_since = current_clock().now()
        self._retention: TimerHandle | None = None

    def link_opened(self, link: Link) -> None:
        if self._retention is not None:
            self._retention.cancel()
            self._retention = None
        super().link_opened(link)

    def link_closed(self, link: Link) -> None:
        was_current = self.link is link
        super().link_closed(link)
        if was_current and not self.is_closing:
            clock = current_clock()
            now = clock.now()
            limits = self.limits
            wanted = (now - self._known_since) / 3
            retention = max(limits.server_peer_min_retention, min(limits.server_peer_max_retention, wanted))
            self._retention = clock.call_at(now + retention, self._expire)

    async def aclose(self) -> None:
        """Forget the client: its running calls are cancelled, and calls to it end with an error."""
        if self._retention is not None:
            self._retention.cancel()
        self.hub.forget_server_peer(self)
        await self.shut_down(RpcDisconnected(f"{self!r} was closed"))

    def __repr__(self) -> str:
        return f"<RpcServerPeer of client {self.client_id}>"

    def _expire(self) -> None:
        self.hub.expire(self)
