"""Several servers that can stand in for each other."""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, final

from refusion._base._clock import current_clock
from refusion._base._logging import logger

from ._client_peer import RpcClientPeer, RpcConnectionKind
from ._routes import RpcRef, check_url

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
            ValueError: If there are no URLs, one comes twice, or the transport doesn't connect to one.
        """
        if not urls or len(set(urls)) != len(urls):
            raise ValueError(f"fail-over needs URLs that differ, not {list(urls)}")
        for url in urls:
            check_url(url, hub.network.schemes)
        super().__init__(urls[0], name=" | ".join(urls))
        self._hub = hub
        self._urls = tuple(urls)
        self._task = hub.loop.create_task(self._watch(), name="rpc failover")
        self._task.add_done_callback(_report)

    async def aclose(self) -> None:
        """Stay where it is from now on; the hub does that when it is closed."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _watch(self) -> None:
        left = deque(self._urls)
        failures = 0
        while left:
            self.reroute(left[0])
            # Peers of servers that were left stay, and with them how often they couldn't be reached.
            peer = self._hub.peer(left[0])
            lifetime = await _follow(peer)
            is_failure = lifetime < self._hub.limits.premature_disconnect_threshold
            failures = failures + 1 if is_failure else 0
            if peer.connection_state.kind is RpcConnectionKind.CLOSED:
                left.popleft()
            else:
                left.rotate(-1)
            if failures >= len(left):
                # All have been tried in vain: from now on with growing pauses, as for a single server.
                await current_clock().sleep(self._hub.limits.reconnect_delays.delay(failures - len(left) + 1))


async def _follow(peer: RpcClientPeer) -> float:
    """Wait until a connection is lost, or can't be made; returns how many seconds it has lasted."""
    state = peer.connection_state
    if state.kind is RpcConnectionKind.DISCONNECTED:
        # It was lost before; it is tried at once, not when its pause is over.
        peer.reconnect()
        state = await peer.wait_state_change()
    connected_at: float | None = None
    while state.kind in (RpcConnectionKind.CONNECTING, RpcConnectionKind.CONNECTED):
        if state.kind is RpcConnectionKind.CONNECTED:
            connected_at = state.since
        state = await peer.wait_state_change()
    return 0.0 if connected_at is None else state.since - connected_at


def _report(task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and task.exception() is not None:
        logger.error("fail-over has ended with an error, and its calls stay where they are", exc_info=task.exception())
