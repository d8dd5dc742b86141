"""Values that came along a route are stale when it changes: whoever is responsible now may know better."""

import weakref
from typing import Any, Final

from refusion.compute import Computed, InvalidationSource
from refusion.rpc import RpcRoute

__all__ = ["follow"]

_REROUTED: Final = InvalidationSource("its route has changed")


def follow(route: RpcRoute, computed: Computed[Any]) -> None:
    """Invalidate a computed when the route that its value came along changes."""
    if route.ref.is_fixed:
        return

    def stop(_: object) -> None:
        unsubscribe()

    reference = weakref.ref(computed, stop)

    def invalidate() -> None:
        live = reference()
        if live is not None:
            live.invalidate(immediately=True, source=_REROUTED)

    unsubscribe = route.on_changed(invalidate)
    computed.on_invalidated(stop)
