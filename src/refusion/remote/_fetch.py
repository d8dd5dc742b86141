"""Getting the value of a replica: from its server, or from what is known while that can't be asked.

| there is                                           | what is returned         | and then                           |
|----------------------------------------------------|--------------------------|------------------------------------|
| no cache, or nothing in it                         | what the server answers  | nothing                            |
| a value in the cache                               | that, unsynchronized     | the server is asked, see `Refresh` |
| a value that was invalidated, and a link           | what the server answers  | nothing                            |
| a value that was invalidated, and no link, or one  | that, unsynchronized     | the replica is invalidated when    |
| that breaks before the answer                      |                          | there is a link again              |
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, final

from refusion._base._clock import current_clock
from refusion.compute import Computed, ComputedOptions
from refusion.compute._async_method import Tries
from refusion.rpc import (
    InboundContext,
    MethodDefinition,
    RpcCallCancelled,
    RpcClientPeer,
    RpcPeer,
    RpcRerouted,
    RpcRoute,
    RpcRouter,
)
from refusion.rpc._routed_calls import Rerouting

from ._attempt import UNANSWERED, Attempt
from ._cached_call import CachedCall
from ._known_values import NOTHING_KNOWN
from ._outbound_compute_call import InvalidatedBeforeResult
from ._refresh import Refresh
from ._route_following import follow

if TYPE_CHECKING:
    from ._hub import FusionHub

__all__ = ["Fetch"]


@final
class Fetch:
    """Asks for a value, and lets the computed that asks stand or fall with the answer.

    An answer that stops being true before it arrives is asked for again, a few times; a call whose route changes
    is made again along the next one.
    """

    def __init__(self, hub: "FusionHub", method: MethodDefinition, values: Sequence[Any], router: RpcRouter) -> None:
        self._hub = hub
        self._method = method
        self._values = values
        self._router = router
        self._replica = Computed.current()
        self._rerouting = Rerouting(hub, method)
        self._tries: Tries | None = None

    async def run(self) -> Any:
        """Return the value, or raise the error."""
        while True:
            route = self._router(self._method, self._values).route
            try:
                return await self._get(route)
            except RpcRerouted as error:
                await self._rerouting.again(route, error)
            except (InvalidatedBeforeResult, RpcCallCancelled) as error:
                await self._wait_for_retry(error)

    async def _get(self, route: RpcRoute) -> Any:
        if route.is_local:
            if self._replica is not None:
                follow(route, self._replica)
            return await self._hub.invoke(InboundContext(self._method, self._values))
        peer = self._hub.target_peer(route)
        replica, known_values = self._replica, self._hub.known_values
        if (
            known_values is None
            or replica is None
            or not replica.options.client_cache
            or not isinstance(peer, RpcClientPeer)
            # Then nothing would ever be confirmed: the caller should hear that it is over.
            or peer.is_closing
        ):
            return await self._ask(route, peer)
        call = CachedCall(self._hub, known_values, self._method, self._values, peer, route)
        return await self._ask_unless_known(call, replica)

    async def _ask(self, route: RpcRoute, peer: RpcPeer) -> Any:
        attempt = Attempt(self._hub, self._method, self._values, peer, route, started_at=self._rerouting.started_at)
        try:
            value = await attempt.run()
        except UNANSWERED:
            raise
        except Exception:
            # An error, too, stands and falls with what the server says.
            self._attach(attempt, route)
            raise
        self._attach(attempt, route)
        return value

    def _attach(self, attempt: Attempt, route: RpcRoute) -> None:
        if self._replica is None:
            attempt.release()
            return
        if attempt.call is not None:
            attempt.call.attach(self._replica)
        follow(route, self._replica)

    async def _ask_unless_known(self, call: CachedCall, replica: Computed[Any]) -> Any:
        known = call.stale
        if known is None:
            cached = await call.find()
            if cached is not None:
                call.show(replica, cached)
                Refresh(self._hub, call, cached, replica).start()
                return cached.value
            known = NOTHING_KNOWN
        elif not call.peer.is_connected:
            call.show_stale(replica, known)
            return known.value
        attempt = call.attempt(known, may_fall_back=known is not NOTHING_KNOWN, started_at=self._rerouting.started_at)
        try:
            value = await attempt.run()
        except UNANSWERED:
            raise
        except Exception:
            if attempt.is_cut:
                call.show_stale(replica, known)
                return known.value
            call.learn_error(attempt)
            call.synchronize(replica, attempt, None)
            raise
        call.synchronize(replica, attempt, call.learn(attempt, known, value))
        return value

    async def _wait_for_retry(self, error: Exception) -> None:
        if self._tries is None:
            options = ComputedOptions.client_default.resolve() if self._replica is None else self._replica.options
            self._tries = Tries(options.cancellation_retries, self._rerouting.started_at)
        delay = self._tries.next_delay()
        if delay is None:
            times = "once" if self._tries.count == 1 else f"{self._tries.count} times"
            raise RpcCallCancelled(f"{self._method.full_name} was cancelled by the server {times}") from error
        await current_clock().sleep(delay)
