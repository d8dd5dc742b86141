"""Client peers that only routes lead to: they go when the last route does."""

import asyncio
from typing import TYPE_CHECKING, final

from refusion._base._clock import current_clock

from ._routes import RpcRoute

if TYPE_CHECKING:
    from ._client_peer import RpcClientPeer
    from ._hub import RpcHub

__all__ = ["RoutedPeers"]


@final
class RoutedPeers:
    """Opens peers for routes, and closes those that no route leads to and nothing is open with.

    A peer that somebody has asked the hub for by its URL stays.
    """

    def __init__(self, hub: "RpcHub") -> None:
        self._hub = hub
        self._routes: dict[RpcClientPeer, set[RpcRoute]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def get(self, route: RpcRoute, url: str) -> "RpcClientPeer":
        """Return the peer that a route leads to."""
        peer = self._hub.client_peers.find(url)
        if peer is None:
            peer = self._hub.client_peers.open(url)
            self._routes[peer] = set()
        routes = self._routes.get(peer)
        if routes is not None and route not in routes:
            routes.add(route)
            loop = self._hub.loop
            route.on_changed(lambda: loop.call_soon_threadsafe(self._left, peer, route))
        return peer

    def keep(self, peer: "RpcClientPeer") -> None:
        """Leave a peer to whoever has asked for it."""
        self._routes.pop(peer, None)

    def cancel(self) -> None:
        """Close no more peers: the hub closes them all."""
        for task in self._tasks:
            task.cancel()

    def _left(self, peer: "RpcClientPeer", route: RpcRoute) -> None:
        routes = self._routes.get(peer)
        if routes is not None:
            routes.discard(route)
            if not routes and not self._hub.is_closed:
                task = self._hub.loop.create_task(self._retire(peer), name="rpc retire peer")
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _retire(self, peer: "RpcClientPeer") -> None:
        # Streams along the former route are read to their ends.
        while len(peer.outbound) or peer.streams.remote_count or peer.streams.shared_count:
            await current_clock().sleep(self._hub.limits.keep_alive_period)
        if self._routes.get(peer) == set():
            del self._routes[peer]
            await peer.aclose()
