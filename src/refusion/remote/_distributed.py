"""Compute methods of services that are here and elsewhere, as calls of other processes find them."""

import functools
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

from refusion.compute import Computed
from refusion.rpc import MethodDefinition, RpcHub, RpcRoute, RpcRouter
from refusion.rpc._service_modes import local_route

from ._route_following import follow

__all__ = ["compute_entry_function"]


def compute_entry_function(hub: RpcHub, method: MethodDefinition, implementation: Any, router: RpcRouter) -> Any:
    """Return a method that computes what belongs here; the results are stale when their routes change."""
    followed: WeakKeyDictionary[Computed[Any], RpcRoute] = WeakKeyDictionary()

    @functools.wraps(method.function)
    async def enter(self: object, *args: Any, **kwargs: Any) -> Any:
        values = method.bind(args, kwargs)
        route = local_route(hub, method, router(method, values).route)
        capture: Callable[..., Any] = getattr(implementation, method.name).capture
        computed: Computed[Any] = await method.apply(capture, values)
        if followed.get(computed) is not route:
            followed[computed] = route
            follow(route, computed)
        # The caller, too, gets the computed that follows the route.
        return await computed.use(allow_inconsistent=True)

    return enter
