"""The clients of a hub: one for each contract and place, while somebody has it."""

from typing import TYPE_CHECKING, Any, TypeAlias, final
from weakref import WeakValueDictionary

from ._contract import ServiceDefinition
from ._peer import RpcPeer
from ._proxy import create_proxy
from ._routes import RpcLocal, RpcRef, RpcRouter, RpcTarget, fixed_router
from ._sharding import RpcShards

if TYPE_CHECKING:
    from ._hub import RpcHub

__all__ = ["ProxyTable", "RpcPlace"]

RpcPlace: TypeAlias = RpcTarget | RpcRef | RpcShards | RpcRouter
"""Where a service is: a target, or what says for each call which one."""


@final
class ProxyTable:
    """Makes clients, and shares them, so that all who call the same place share what a client keeps."""

    def __init__(self, hub: "RpcHub") -> None:
        self._hub = hub
        self._proxies: WeakValueDictionary[tuple[type[Any], object], Any] = WeakValueDictionary()

    def get(self, definition: ServiceDefinition, place: RpcPlace) -> Any:
        """Return the client of a contract at a place."""
        place = self._hub.peer(place) if isinstance(place, str) else place
        key = (definition.contract, _identity(place))
        proxy = self._proxies.get(key)
        if proxy is None:
            proxy = self._proxies[key] = self.create(definition, self.target(place), place)
        return proxy

    def create(self, definition: ServiceDefinition, target: RpcPeer | RpcRouter, place: RpcPlace) -> Any:
        """Return a new client, which calls the target that a place stands for."""
        hub = self._hub
        attributes = {
            method.name: hub.table.kinds[method.kind].client_method(hub, method, target)
            for method in definition.methods.values()
        }
        return create_proxy(definition, place, attributes)

    def target(self, place: RpcPlace) -> RpcPeer | RpcRouter:
        """Return what clients call: a peer, or a router."""
        if isinstance(place, str):
            return self._hub.peer(place)
        if isinstance(place, RpcRef):
            return fixed_router(place)
        if isinstance(place, RpcLocal):
            return fixed_router(RpcRef(place, is_fixed=True))
        return place.router() if isinstance(place, RpcShards) else place

    def router(self, place: RpcPlace) -> RpcRouter:
        """Return a router that says whom a client of the place calls."""
        target = self.target(place)
        return fixed_router(RpcRef(target, is_fixed=True)) if isinstance(target, RpcPeer) else target


def _identity(place: object) -> object:
    """Return what a place is compared by: itself, or which one it is, if it can't be compared.

    Its number isn't used again before its client is gone, which has it.
    """
    try:
        hash(place)
    except TypeError:
        return id(place)
    return place
