"""Compute methods whose body is a call to another process, and whose results are replicas of values there."""

import functools
import weakref
from collections.abc import Sequence
from typing import Any, Final, final

from refusion._base._clock import current_clock
from refusion._base._retries import RetryDelays
from refusion.compute import Computed, ComputedOptions, ComputeMethod, InvalidationSource
from refusion.rpc import (
    InboundContext,
    MethodDefinition,
    OutboundContext,
    RpcCallCancelled,
    RpcHub,
    RpcPeer,
    RpcRef,
    RpcRerouted,
    RpcRoute,
    RpcRouter,
)
from refusion.rpc._routed_calls import Rerouting
from refusion.rpc._routes import fixed_router

from ._compute_calls import InvalidatedBeforeResult, OutboundComputeCall

__all__ = ["CLIENT_OPTIONS", "remote_compute_method"]

CLIENT_OPTIONS: Final = ComputedOptions(min_cache_duration=60.0)
"""A replica is kept for a minute after its last use: to forget it would cost two messages and a call."""

_MAX_TRIES: Final = 3
_MAX_DURATION: Final = 5.0
_DELAYS: Final = RetryDelays(0.05, 1.0)
_REROUTED: Final = InvalidationSource("its route has changed")


def remote_compute_method(hub: RpcHub, method: MethodDefinition, target: RpcPeer | RpcRouter) -> ComputeMethod:
    """Return a compute method that asks the other side, and keeps its answer while that is true.

    It has the options of the contract's method that concern keeping a result; when it is invalidated is up to
    the server, and `invalidating()` doesn't touch it.
    """
    attribute: ComputeMethod = method.attribute
    declared: ComputedOptions = attribute.declared_options
    router = fixed_router(RpcRef(target, is_fixed=True)) if isinstance(target, RpcPeer) else target

    @functools.wraps(method.function)
    async def call(self: object, *args: Any, **kwargs: Any) -> Any:
        return await _Fetch(hub, method, method.bind(args, kwargs), router).run()

    options = ComputedOptions(
        keep_alive=declared.keep_alive,
        min_cache_duration=declared.min_cache_duration,
        transient_error_invalidation_delay=declared.transient_error_invalidation_delay,
        non_transient_error_invalidation_delay=declared.non_transient_error_invalidation_delay,
    ).merged(CLIENT_OPTIONS)
    kind: type[ComputeMethod] = type(attribute)  # pyright: ignore[reportUnknownVariableType]
    return kind(call, options, attribute.binder.custom_key, is_invalidated_by_calls=False)


@final
class _Fetch:
    """Asks for a value, and lets the computed that asks stand or fall with the answer.

    An answer that stops being true before it arrives is asked for again, a few times; a call whose route changes
    is made again along the next one.
    """

    def __init__(self, hub: RpcHub, method: MethodDefinition, values: Sequence[Any], router: RpcRouter) -> None:
        self._hub = hub
        self._method = method
        self._values = values
        self._router = router
        self._replica = Computed.current()
        self._tries = 0
        self._rerouting = Rerouting(hub, method)
        self._deadline = current_clock().now() + _MAX_DURATION

    async def run(self) -> Any:
        while True:
            route = self._router(self._method, self._values).route
            try:
                return await self._ask(route)
            except RpcRerouted as error:
                await self._rerouting.again(route, error)
            except (InvalidatedBeforeResult, RpcCallCancelled) as error:
                self._tries += 1
                if self._tries >= _MAX_TRIES or current_clock().now() >= self._deadline:
                    name = self._method.full_name
                    raise RpcCallCancelled(f"{name} was cancelled by the server {self._tries} times") from error
                await current_clock().sleep(_DELAYS.delay(self._tries))

    async def _ask(self, route: RpcRoute) -> Any:
        if route.is_local:
            self._follow(route)
            return await self._hub.invoke(InboundContext(self._method, self._values))
        context = OutboundContext(
            self._method, self._values, self._hub.target_peer(route), route=route, started_at=self._rerouting.started_at
        )
        try:
            value = await self._hub.outbound.run(context)
        except (InvalidatedBeforeResult, RpcCallCancelled, RpcRerouted):
            if context.call is not None:
                context.call.cancel()
            raise
        except Exception:
            self._attach(context, route)
            raise
        except BaseException:
            if context.call is not None:
                # Middleware was cancelled behind the answer.
                context.call.cancel()
            raise
        self._attach(context, route)
        return value

    def _attach(self, context: OutboundContext, route: RpcRoute) -> None:
        call = context.call
        if not isinstance(call, OutboundComputeCall):
            # Middleware has answered in its place.
            return
        if self._replica is None:
            call.release()
            return
        call.attach(self._replica)
        self._follow(route)

    def _follow(self, route: RpcRoute) -> None:
        """Let the replica be stale when the route changes: the new owner may know better."""
        if self._replica is None or route.ref.is_fixed:
            return

        def stop(_: object) -> None:
            unsubscribe()

        replica = weakref.ref(self._replica, stop)

        def invalidate() -> None:
            live = replica()
            if live is not None:
                live.invalidate(immediately=True, source=_REROUTED)

        unsubscribe = route.on_changed(invalidate)
        self._replica.on_invalidated(stop)
