"""The servers that a hub is a client of."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, final

from refusion._base._handlers import Handlers

from ._client_peer import RpcClientPeer, RpcConnectionKind
from ._routed_peers import RoutedPeers
from ._routes import RpcRoute, check_url

if TYPE_CHECKING:
    from ._hub import RpcHub

__all__ = ["ClientPeers"]


@final
class ClientPeers:
    """One peer for each URL, from its first use on."""

    def __init__(self, hub: "RpcHub") -> None:
        self._hub = hub
        self._peers: dict[str, RpcClientPeer] = {}
        self._routed = RoutedPeers(hub)
        self.opened: Handlers[RpcClientPeer] = Handlers("a handler of new client peers")
        """Is told of each new one."""

    def __iter__(self) -> Iterator[RpcClientPeer]:
        return iter(list(self._peers.values()))

    def get(self, url: str) -> RpcClientPeer:
        """Return the peer for a URL, and leave it to whoever has asked for it."""
        peer = self.find(url) or self.open(url)
        self._routed.keep(peer)
        return peer

    def at(self, route: RpcRoute, url: str) -> RpcClientPeer:
        """Return the peer that a route leads to; it is closed when none does any more, and nobody has asked for it."""
        return self._routed.get(route, url)

    def only(self) -> RpcClientPeer:
        """Return the only one.

        Raises:
            ValueError: If there are none, or several.
        """
        if len(self._peers) != 1:
            raise ValueError(
                "say whom to call: hub.client(Contract, url), hub.add_service(Contract, mode='client', target=url)"
            )
        (peer,) = self._peers.values()
        return peer

    def find(self, url: str) -> RpcClientPeer | None:
        """Return the peer for a URL, if there is one."""
        peer = self._peers.get(url)
        # One that was given up, as its server didn't speak its format, may find another server there by now.
        return None if peer is None or peer.connection_state.kind is RpcConnectionKind.CLOSED else peer

    def open(self, url: str) -> RpcClientPeer:
        """Return a new peer for a URL, which starts to connect."""
        check_url(url, self._hub.network.schemes)
        self._hub.check_open()
        peer = self._peers[url] = RpcClientPeer(self._hub, url, self._hub.client_format)
        self.opened.tell(peer)
        return peer

    def forget(self, peer: RpcClientPeer) -> None:
        """Drop a peer that is being closed."""
        if self._peers.get(peer.url) is peer:
            del self._peers[peer.url]

    def closing(self) -> None:
        """Be told that the hub is about to close them all."""
        self._routed.cancel()
