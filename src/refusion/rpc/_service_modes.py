"""Where the service behind a contract is, so that whoever uses it needn't know."""

import functools
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from ._call_context import find_peer
from ._contract import MethodDefinition
from ._errors import RpcContractError, RpcRerouted
from ._routes import RpcRoute, RpcRouter

if TYPE_CHECKING:
    from ._hub import RpcHub

__all__ = ["RpcServiceMode", "entry_function", "local_route"]


class RpcServiceMode(StrEnum):
    """How a hub adds a service, see `RpcHub.add_service`."""

    LOCAL = "local"
    """It is here, and for this process only."""

    SERVER = "server"
    """It is here, and other processes may call it."""

    CLIENT = "client"
    """It is elsewhere; what is used here is a client of it."""

    DISTRIBUTED = "distributed"
    """It is here and elsewhere: a router says for each call where. Calls of other processes that belong elsewhere are
    sent back to their callers, to be made there."""

    @classmethod
    def _missing_(cls, value: object) -> None:
        raise ValueError(f"a service has one of the modes {', '.join(cls)}; not {value!r}")


def entry_function(hub: "RpcHub", method: MethodDefinition, implementation: Any, router: RpcRouter) -> Any:
    """Return a method that calls of other processes come in by, which runs that of a distributed service."""

    @functools.wraps(method.function)
    async def enter(self: object, *args: Any, **kwargs: Any) -> Any:
        values = method.bind(args, kwargs)
        local_route(hub, method, router(method, values).route)
        return await method.call(implementation, values)

    return enter


def local_route(hub: "RpcHub", method: MethodDefinition, route: RpcRoute) -> RpcRoute:
    """Return the route of a call that has come in; refuse one that belongs elsewhere.

    Raises:
        RpcRerouted: If its caller should look where.
        RpcContractError: If it comes from this very hub, which should know that it is here.
    """
    if route.is_local:
        return route
    peer = find_peer()
    if peer is not None and peer.remote_hub_id == hub.id:
        raise RpcContractError(
            method.full_name, f"{route!r} leads back to this hub; let the router say LOCAL for what is here"
        )
    raise RpcRerouted(f"{method.full_name} isn't for this server now, but for {route.ref.name}")
