"""Calls that go along routes, and are made again when their route changes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, final

from refusion._aio._waiter import Waiter
from refusion._base._clock import current_clock
from refusion._base._retries import RetryDelays

from ._call_context import InboundContext, OutboundContext
from ._errors import RpcCallTimeout, RpcRerouted
from ._routes import RpcRoute, RpcRouter

if TYPE_CHECKING:
    from ._contract import MethodDefinition
    from ._hub import RpcHub
    from ._outbound_call import OutboundCall

__all__ = ["Rerouting", "call_routed", "send_along"]

_DELAYS: Final = RetryDelays(0.1, 5.0)

_MAX_REFUSALS: Final = 20
"""How often a call may be sent on by somebody whose route doesn't change: for about a minute."""


@final
class Rerouting:
    """How long one call may be made again, each time along the route that there is then."""

    def __init__(self, hub: "RpcHub", method: "MethodDefinition") -> None:
        self._method = method
        self._run_timeout = hub.limits.timeouts_of(method).run
        self._refusals = 0
        self.started_at: float = current_clock().now()
        """When the call was made first, in clock time: its time limit counts from then."""

    async def again(self, route: RpcRoute, error: RpcRerouted) -> None:
        """Return when the call may be made again: at once if its route has changed, else when it does, or in a while.

        Raises:
            RpcRerouted: The error, if nothing will change.
            RpcCallTimeout: If the time of the call is up.
        """
        if route.ref.is_fixed:
            raise error
        timeout = self._run_timeout
        if timeout is not None and current_clock().now() >= self.started_at + timeout:
            raise RpcCallTimeout(f"{self._method.full_name} wasn't answered within {timeout:g} s") from error
        if route.is_changed:
            return
        # The other side knows of a change that hasn't been heard of here yet.
        self._refusals += 1
        if self._refusals > _MAX_REFUSALS:
            raise error
        await _wait_changed(route, _DELAYS.delay(self._refusals))


async def call_routed(hub: "RpcHub", method: "MethodDefinition", values: Sequence[Any], router: RpcRouter) -> Any:
    """Call a method of whom the router says, again for each route that changes before there is an answer.

    A local call is like any call in this process: it has no time limit, and outbound middleware doesn't see it.

    Raises:
        Exception: What the method has raised, or as `RpcPeer.call`.
        RpcRerouted: If whom the router says keeps sending the call on.
    """
    rerouting = Rerouting(hub, method)
    while True:
        route = router(method, values).route
        try:
            if route.is_local:
                return await _call_locally(hub, method, values)
            context = OutboundContext(
                method, values, hub.target_peer(route), route=route, started_at=rerouting.started_at
            )
            return await hub.outbound.run(context)
        except RpcRerouted as error:
            await rerouting.again(route, error)


async def send_along(route: RpcRoute, call: "OutboundCall") -> Any:
    """Wait for the answer to a call that was made along a route; raises `RpcRerouted` if that changes before."""
    loop = call.peer.loop
    unsubscribe = route.on_changed(lambda: loop.call_soon_threadsafe(call.rerouted))
    try:
        return await call.wait()
    finally:
        unsubscribe()


async def _call_locally(hub: "RpcHub", method: "MethodDefinition", values: Sequence[Any]) -> Any:
    context = InboundContext(method, values)
    if method.is_no_wait:
        hub.invoke_unattended(context)
        return None
    return await hub.invoke(context)


async def _wait_changed(route: RpcRoute, seconds: float) -> None:
    waiter = Waiter()
    clock = current_clock()
    timer = clock.call_at(clock.now() + seconds, waiter.wake)
    unsubscribe = route.on_changed(waiter.wake)
    try:
        await waiter.wait()
    finally:
        timer.cancel()
        unsubscribe()
