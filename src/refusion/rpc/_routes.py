"""Routes: whom a call goes to when that isn't one fixed peer.

A ref is a stable name of somebody; its route says who that is now. When a route changes, calls that wait for an
answer along it are cancelled there and made again along the next one, and values that came along it are stale.
"""

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias, Union, final

from refusion._aio._signal import Signal
from refusion._base._logging import log_failure

if TYPE_CHECKING:
    from ._contract import MethodDefinition
    from ._peer import RpcPeer

__all__ = ["LOCAL", "RpcLocal", "RpcRef", "RpcRoute", "RpcRouter", "RpcTarget", "check_url", "fixed_router"]


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
        self._lock = threading.Lock()
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
        with self._lock:
            is_changed = self.is_changed
            if not is_changed:
                self._handlers[key] = handler
        if is_changed:
            _run(handler)
        return lambda: self._handlers.pop(key, None) and None

    def mark_changed(self) -> None:
        """Let this route be over; its ref has another one by then. Handlers are told in the order they came."""
        with self._lock:
            self._changed.set()
            handlers, self._handlers = self._handlers, {}
        for handler in handlers.values():
            _run(handler)

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

        Raises:
            ValueError: If the target is a string that isn't a URL.
        """
        self.name: str = name or str(target)
        self.is_fixed: bool = is_fixed
        """Whether its route never changes."""
        self._lock = threading.Lock()
        self._route = RpcRoute(self, check_target(target), 0)

    @property
    def route(self) -> RpcRoute:
        """The current route."""
        return self._route

    def reroute(self, target: RpcTarget) -> None:
        """Let it lead elsewhere from now on; does nothing if it leads there already. May be called in any thread.

        Raises:
            ValueError: If it is fixed, or the target is a string that isn't a URL.
        """
        if self.is_fixed:
            raise ValueError(f"{self!r} is fixed; make one that isn't to reroute it")
        check_target(target)
        with self._lock:
            previous = self._route
            if target == previous.target:
                return
            self._route = RpcRoute(self, target, previous.version + 1)
        previous.mark_changed()

    def __repr__(self) -> str:
        return f"<RpcRef {self.name} -> {self._route.target!r}>"


RpcRouter: TypeAlias = Callable[["MethodDefinition", Sequence[Any]], RpcRef]
"""Says for each call, by its method and arguments, whom it goes to."""


def fixed_router(ref: RpcRef) -> RpcRouter:
    """Return a router that sends all calls to one ref."""
    return lambda method, values: ref


def check_url(url: str, schemes: Sequence[str]) -> None:
    """Refuse a URL that a transport doesn't connect to.

    Raises:
        ValueError: If it begins with none of the schemes.
    """
    if url.partition("://")[0] not in schemes:
        shown = " or ".join(f"{scheme}://" for scheme in schemes)
        raise ValueError(f"a peer is reached at {shown}, not at {url!r}")


def check_target(target: RpcTarget) -> RpcTarget:
    """Return the target; refuse what can't be a URL. Which ones lead somewhere depends on the hub that calls there."""
    if isinstance(target, str) and not target.partition("://")[0].isalnum():
        raise ValueError(f"a peer is reached at a URL, as ws://host:port or wss://host:port, not at {target!r}")
    return target


def _run(handler: Callable[[], object]) -> None:
    try:
        handler()
    except Exception:
        log_failure("a handler of a changed route", handler)
