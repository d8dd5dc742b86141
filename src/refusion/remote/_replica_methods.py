"""Compute methods whose body is a call to another process, and whose results are replicas of values there."""

import functools
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, NamedTuple, final

from refusion.compute import (
    AsyncComputeMethod,
    Computed,
    ComputedOptions,
    ComputeMethod,
    InvalidationSource,
    invalidating,
)
from refusion.compute._async_method import AsyncMethod, value_of
from refusion.compute._bound import BoundMethod, active_scope
from refusion.compute._computed import used_by
from refusion.compute._context import (
    CallContext,
    ExistingContext,
    InvalidatingContext,
    IsolatedContext,
    current_context,
)
from refusion.compute._invalidation import invalidate
from refusion.compute._keys import Key
from refusion.rpc import MethodDefinition, RpcPeer, RpcRef, RpcRouter
from refusion.rpc._routes import fixed_router

from ._fetch import Fetch
from ._synchronization import ReplicaSource, Synchronization
from ._synchronizer import Synchronizer

if TYPE_CHECKING:
    from ._hub import FusionHub

__all__ = ["ReplicaMethod", "replica_method"]


def replica_method(hub: "FusionHub", method: MethodDefinition, target: RpcPeer | RpcRouter) -> ComputeMethod:
    """Return a compute method that asks the other side, and keeps its answer while that is true.

    It has the options of the contract's method that concern keeping a result; when it is invalidated is up to
    the server, and `invalidating()` doesn't touch it, but where the route is local.
    """
    attribute: ComputeMethod = method.attribute
    declared: ComputedOptions = attribute.declared_options
    router = fixed_router(RpcRef(target, is_fixed=True)) if isinstance(target, RpcPeer) else target

    @functools.wraps(method.function)
    async def call(self: object, *args: Any, **kwargs: Any) -> Any:
        return await Fetch(hub, method, method.bind(args, kwargs), router).run()

    options = ComputedOptions(
        keep_alive=declared.keep_alive,
        min_cache_duration=declared.min_cache_duration,
        transient_error_invalidation_delay=declared.transient_error_invalidation_delay,
        non_transient_error_invalidation_delay=declared.non_transient_error_invalidation_delay,
        client_cache=declared.client_cache,
    ).merged(ComputedOptions.client_default)
    definition = _ReplicaMethodDefinition(call, options, attribute.binder.custom_key, is_invalidated_by_calls=False)
    definition.source = _Source(hub, method, router)
    return definition


class _Source(NamedTuple):
    """Where values come from."""

    hub: "FusionHub"
    method: MethodDefinition
    router: RpcRouter


@final
class _ReplicaMethodDefinition(AsyncComputeMethod[..., Any]):
    """A compute method of a client."""

    source: _Source

    def _create_bound(self, instance: Any, cache: Any) -> BoundMethod:
        return ReplicaMethod(self, instance, cache)


@final
class ReplicaMethod(AsyncMethod, ReplicaSource):
    """A bound compute method of a client. Inside of a synchronizer's scope it returns synchronized values only."""

    __slots__ = ()

    def synchronization_of(self, replica: Computed[Any]) -> Synchronization | None:
        return self._source.hub.synchronizations.find(replica)

    def invalidate_key(self, key: Key, source: InvalidationSource) -> None:
        hub, method, router = self._source
        values = self.arguments_of(key)
        if not router(method, values).route.is_local:
            return
        # It was computed here, and this was made of that.
        origin = hub.table.origin(method.contract)
        if origin is not None:
            with invalidating(source):
                method.call(origin, values)
        replica = self.cache.find(key)
        if replica is not None:
            invalidate(replica, source, immediately=False)

    def call(self, *values: Any) -> Awaitable[Any]:
        synchronizer = Synchronizer.current()
        context = current_context.get()
        if synchronizer.assumes_always or isinstance(context, (InvalidatingContext, ExistingContext)):
            return super().call(*values)
        return self._call_synchronized(values, None if context is None else active_scope(context), synchronizer)

    async def capture(self, *args: Any, **kwargs: Any) -> Computed[Any]:
        return await Synchronizer.current().synchronize(await super().capture(*args, **kwargs))

    async def _call_synchronized(
        self, values: tuple[Any, ...], context: CallContext | None, synchronizer: Synchronizer
    ) -> Any:
        # Not on behalf of the caller: it must not depend on what is replaced while this waits.
        first: Computed[Any] = await self._produce(self._key_of(values), values, IsolatedContext(context))
        computed = await synchronizer.synchronize(first)
        if context is not None:
            used_by(context, computed)
        return value_of(computed)

    def _may_be_hot(self, key: Key, computed: Computed[Any]) -> bool:
        # A hot hit doesn't look whether it is synchronized.
        return super()._may_be_hot(key, computed) and self.synchronization_of(computed) is None

    @property
    def _source(self) -> _Source:
        assert isinstance(self.method, _ReplicaMethodDefinition)  # noqa: S101  # nothing else makes these
        return self.method.source
