"""Several servers that can stand in for each other."""

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, final

from refusion._base._clock import current_clock

from ._client_peer import RpcClientPeer, RpcConnectionKind
from ._routing import RpcRef

if TYPE_CHECKING:
    from ._hub import RpcHub

__all__ = ["FailoverRef"]


@final
class FailoverRef(RpcRef):
    """Leads to one of several servers, and to the next one when the connection to that is lost or can't be made.

    It stays where it has found a server. Made by `RpcHub.failover`, which watches its connections.
    """

    def __init__(self, hub: "RpcHub", urls: Sequence[str]) -> None:
        """Make a ref.

        Raises:
            ValueError: If there are no URLs, or one comes twice.
        """
        if not urls or len(set(urls)) != len(urls):
            raise ValueError(f"fail-over needs URLs that differ, not {list(urls)}")
        super().__init__(urls[0], name=" | ".join(urls))
        self._hub = hub
        self._urls = tuple(urls)

    async def watch(self) -> None:
        """Follow the connections until cancelled, or until no server is left that would have this client."""
        left = deque(self._urls)
        failures = 0
        while left:
            url = left[0]
            self.reroute(url)
            peer = self._hub.peer(url)
            has_connected = await _follow(peer)
            failures = 0 if has_connected else failures + 1
            if peer.connection_state.kind is RpcConnectionKind.CLOSED:
                left.popleft()
            else:
                left.rotate(-1)
            if failures >= len(left):
                # All have been tried in vain: from now on with growing pauses, as for a single server.
                await current_clock().sleep(self._hub.limits.reconnect_delays.delay(failures - len(left) + 1))


async def _follow(peer: RpcClientPeer) -> bool:
    """Wait until a connection is lost, or can't be made; returns whether there was one."""
    state = peer.connection_state
    if state.kind is RpcConnectionKind.DISCONNECTED:
        # It was lost before; it is tried at once, not when its pause is over.
        peer.reconnect()
        state = await peer.wait_state_change()
    has_connected = False
    while state.kind in (RpcConnectionKind.CONNECTING, RpcConnectionKind.CONNECTED):
        has_connected = has_connected or state.kind is RpcConnectionKind.CONNECTED
        state = await peer.wait_state_change()
    return has_connected
