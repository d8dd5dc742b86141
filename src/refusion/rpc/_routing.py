"""Routes: whom a call goes to when that isn't one fixed peer.

A ref is a stable name of somebody; its route says who that is now. When a route changes, calls that wait for an
answer along it are cancelled there and made again along the next one, and values that came along it are stale.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias, Union, final

from refusion._aio._signal import Signal
from refusion._base._clock import current_clock
from refusion._base._logging import log_failure
from refusion._base._retries import RetryDelays

from ._call_context import InboundContext, OutboundContext
from ._errors import RpcRerouted

if TYPE_CHECKING:
    from ._contract import MethodDefinition
    from ._hub import RpcHub
    from ._outbound_call import OutboundCall
    from ._peer import RpcPeer

__all__ = [
    "LOCAL",
    "RpcLocal",
    "RpcRef",
    "RpcRoute",
    "RpcRouter",
    "RpcTarget",
    "call_routed",
    "fixed_router",
    "send_along",
    "wait_to_reroute",
]

_REROUTE_DELAYS: Final = RetryDelays(0.1, 5.0)


@final
class RpcLocal:
    """The target of calls that are handled in this process, by the service that the hub has for their contract."""

    def __repr__(self) -> str:
        return "LOCAL"


LOCAL: Final = RpcLocal()
"""Here: calls go through the inbound middleware to this hub's own service."""

RpcTarget: TypeAlias = Union[str, "RpcPeer", RpcLocal]  # `|` doesn't take a name in quotes
"""Where a route leads: a URL, a peer, or `LOCAL`."""


@final
class RpcRoute:
    """One generation of a ref: where it leads until it has changed. Its methods may be called in any thread."""

    def __init__(self, ref: "RpcRef", target: RpcTarget, version: int) -> None:
        self.ref: RpcRef = ref
        self.target: RpcTarget = target
        """Where calls go."""
        self.version: int = version
        """How many routes the ref has had before."""
        self._changed = Signal()
        self._handlers: dict[object, Callable[[], object]] = {}

    @property
    def is_changed(self) -> bool:
        """Whether another route has taken its place."""
        return self._changed.is_set

    @property
    def is_local(self) -> bool:
        """Whether calls are handled in this process."""
        return isinstance(self.target, RpcLocal)

    async def wait_changed(self) -> None:
        """Wait until another route takes its place; cancelling leaves nothing behind."""
        await self._changed.wait()

    def on_changed(self, handler: Callable[[], object]) -> Callable[[], None]:
        """Call `handler` once when the route changes, or now if it has; returns what takes that back.

        It is called in the thread that changes the route; what it raises is logged.
        """
        key = object()
        self._handlers[key] = handler
        if self.is_changed and self._handlers.pop(key, None) is not None:
            _run(handler)
        return lambda: self._handlers.pop(key, None) and None

    def mark_changed(self) -> None:
        """Let this route be over; its ref has another one by then."""
        self._changed.set()
        while self._handlers:
            _run(self._handlers.popitem()[1])

    def __repr__(self) -> str:
        return f"<RpcRoute {self.ref.name} v{self.version} -> {self.target!r}{', changed' if self.is_changed else ''}>"


class RpcRef:
    """A stable name of whom to call. Calls go along its current route, which may be changed at any time.

    Example:
        ```python
        owner = RpcRef("ws://host-a:8080", name="owner")
        chat = hub.client(Chat, owner)
        ...
        owner.reroute("ws://host-b:8080")  # calls under way are made again there
        ```
    """

    def __init__(self, target: RpcTarget, *, name: str | None = None, is_fixed: bool = False) -> None:
        """Make a ref.

        Args:
            target: Where it leads at first: a URL, a peer, or `LOCAL`.
            name: What it is called in logs.
            is_fixed: Whether it always leads there.
        """
        self.name: str = name or str(target)
        self.is_fixed: bool = is_fixed
        """Whether its route never changes."""
        self._versions = itertools.count(1)
        self._route = RpcRoute(self, target, 0)

    @property
    def route(self) -> RpcRoute:
        """The current route."""
        return self._route

    def reroute(self, target: RpcTarget) -> None:
        """Let it lead elsewhere from now on; does nothing if it leads there already. May be called in any thread.

        Raises:
            ValueError: If it is fixed.
        """
        if self.is_fixed:
            raise ValueError(f"{self!r} is fixed; make one that isn't to reroute it")
        if target == self._route.target:
            return
        previous, self._route = self._route, RpcRoute(self, target, next(self._versions))
        previous.mark_changed()

    def __repr__(self) -> str:
        return f"<RpcRef {self.name} -> {self._route.target!r}>"


RpcRouter: TypeAlias = Callable[["MethodDefinition", Sequence[Any]], RpcRef]
"""Says for each call, by its method and arguments, whom it goes to."""


def fixed_router(ref: RpcRef) -> RpcRouter:
    """Return a router that sends all calls to one ref."""
    return lambda method, values: ref


async def call_routed(
    hub: "RpcHub",
    method: "MethodDefinition",
    values: Sequence[Any],
    router: RpcRouter,
) -> Any:
    """Call a method of whom the router says, again for each route that changes before there is an answer.

    Raises:
        Exception: What the method has raised, or as `RpcPeer.call`.
    """
    tries = 0
    while True:
        route = router(method, values).route
        try:
            return await _call_along(hub, route, method, values)
        except RpcRerouted:
            if route.ref.is_fixed:
                raise
            tries += 1
            await wait_to_reroute(route, tries)


async def wait_to_reroute(route: RpcRoute, tries: int) -> None:
    """Wait before a call is made again: not at all if the route has changed, or until it does, at most a while."""
    if not route.is_changed:
        # The other side knows of a change that hasn't been heard of here yet.
        await current_clock().sleep(_REROUTE_DELAYS.delay(tries))


async def send_along(route: RpcRoute, call: "OutboundCall") -> Any:
    """Wait for the answer to a call that was made along a route; raises `RpcRerouted` if that changes before."""
    loop = call.peer.loop
    unsubscribe = route.on_changed(lambda: loop.call_soon_threadsafe(call.rerouted))
    try:
        return await call.wait()
    finally:
        unsubscribe()


async def _call_along(hub: "RpcHub", route: RpcRoute, method: "MethodDefinition", values: Sequence[Any]) -> Any:
    if route.is_local:
        return await hub.invoke(InboundContext(method, values))
    context = OutboundContext(method, values, hub.target_peer(route), route=route)
    return await hub.outbound.run(context)


def _run(handler: Callable[[], object]) -> None:
    try:
        handler()
    except Exception:
        log_failure("a handler of a changed route", handler)
