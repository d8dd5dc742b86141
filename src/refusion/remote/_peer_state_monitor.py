"""`PeerStateMonitor`: a state that says how a link is doing, for as long as somebody wants to see it."""

import math
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Self, final

from refusion._base._clock import TimerHandle, current_clock
from refusion._base._logging import logger
from refusion.rpc import (
    LOCAL,
    RpcClientPeer,
    RpcConnectionKind,
    RpcConnectionState,
    RpcDisconnected,
    RpcHub,
    RpcLocal,
    RpcRef,
    RpcRoute,
)
from refusion.states import MutableState, State

from ._peer_state import PeerState, PeerStateKind

__all__ = ["PeerStateMonitor"]

_TICK: Final = 1.0
"""How often a countdown is shown anew, in seconds."""

_MARGIN: Final = 0.1
"""How long the last value of a countdown stays before it says that the attempt is about to start."""

_NOW: Final = -math.inf
_NEVER: Final = math.inf


@final
class PeerStateMonitor:
    """Follows the link to another side, and shows it as a state.

    It follows a ref along its routes, and a URL from one peer to the next, until it is closed or its hub is. Then
    the state stays as it is. It only looks: a peer that was there before lives as long as it would without it, and
    one that wasn't, because nobody has called yet, is opened and may go when the monitor does.

    Use it as `async with PeerStateMonitor(...) as monitor:`, or `aclose` it.

    Example:
        ```python
        async with PeerStateMonitor(hub, "ws://localhost:8080") as monitor:
            async for computed in monitor.state.changes():
                print(computed.value.describe())
        ```
    """

    def __init__(
        self,
        hub: RpcHub,
        target: str | RpcClientPeer | RpcRef | None = None,
        *,
        just_connected_period: float = 1.5,
        just_disconnected_period: float = 3.0,
        min_reconnects_in: float = 1.0,
    ) -> None:
        """Start to follow a link.

        Args:
            hub: Whose link it is.
            target: Where the link leads to: a URL, the peer for one, or a ref; None is always connected, as is a
                ref that leads to `LOCAL`.
            just_connected_period: For how many seconds a new link is news.
            just_disconnected_period: For how many seconds a lost link may come back before it counts as lost.
            min_reconnects_in: The shortest time until the next attempt that is counted down, in seconds.

        Raises:
            ValueError: If the target leads to no client peer of this hub, or a time is negative.
            RpcDisconnected: If the hub is closed.
            RuntimeError: If no event loop runs, or the hub belongs to another one.
        """
        self._hub = hub
        self._just_connected_period = _checked("just_connected_period", just_connected_period)
        self._just_disconnected_period = _checked("just_disconnected_period", just_disconnected_period)
        self._min_reconnects_in = _checked("min_reconnects_in", min_reconnects_in)
        self._is_connected = True
        self._since = -math.inf
        self._reconnects_at = _NOW
        self._last_error: Exception | None = None
        self._timer: TimerHandle | None = None
        self._is_closed = False
        self._own_ref: RpcRef | None = None
        self._unsubscribe: dict[str, Callable[[], None]] = {}
        self._state = MutableState(PeerState(PeerStateKind.CONNECTED))
        if target is not None:
            self._start(target)

    @property
    def state(self) -> State[PeerState]:
        """How the link is doing. Setting it is up to the monitor."""
        return self._state

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Stop following; may be called again. The last state stays readable."""
        self._stop()

    # Finding the peer

    def _start(self, target: str | RpcClientPeer | RpcRef) -> None:
        hub = self._hub
        if hub.is_closed:
            raise RpcDisconnected("the hub is closed; make a new one")
        self._loop = hub.loop
        if isinstance(target, RpcClientPeer):
            if target.hub is not hub:
                raise ValueError(f"{target!r} belongs to another hub; monitor it with that one")
            target = target.url
        if isinstance(target, str):
            target = self._own_ref = RpcRef(target)
        self._ref = target
        self._route = route = target.route
        peer = self._find_peer(route)
        if peer is not None:
            # What was so before is no news.
            state = peer.connection_state
            self._is_connected, self._since = state.kind is RpcConnectionKind.CONNECTED, state.since
        self._unsubscribe["hub"] = hub.on_closed(self._hub_closed)
        self._unsubscribe["peers"] = hub.on_peer_opened(self._peer_opened)
        self._follow_route(route)
        self._follow_peer(peer)

    def _find_peer(self, route: RpcRoute) -> RpcClientPeer | None:
        """Return the peer that a route leads to, or None for this process."""
        target = route.target
        if isinstance(target, RpcLocal):
            return None
        # One that is there isn't asked for along this route: it would have to stay for that.
        peer = self._hub.client_peers.find(target) if isinstance(target, str) else target
        peer = peer or self._hub.target_peer(route)
        if not isinstance(peer, RpcClientPeer):
            raise ValueError(f"{route!r} leads to a client of this hub; only the client's side of a link is monitored")
        return peer

    def _follow_route(self, route: RpcRoute) -> None:
        self._route = route
        self._unsubscribe["route"] = route.on_changed(self._route_changed)

    def _route_changed(self) -> None:
        # Called in any thread; the loop may have ended before its ref.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._reroute)

    def _reroute(self) -> None:
        if self._is_closed or not self._route.is_changed:
            return
        route = self._ref.route
        self._follow_route(route)
        try:
            peer = self._find_peer(route)
        except (ValueError, RpcDisconnected) as error:
            logger.warning("the monitor of %r has no link to follow: %s", self._ref, error)
            self._leave_peer()
            self._observe(error=error, reconnects_at=_NEVER)
        else:
            self._follow_peer(peer)

    def _peer_opened(self, peer: RpcClientPeer) -> None:
        if peer.url == self._route.target:
            self._follow_peer(peer)

    def _follow_peer(self, peer: RpcClientPeer | None) -> None:
        self._leave_peer()
        if peer is None:
            self._observe(is_connected=True)
        else:
            self._unsubscribe["peer"] = peer.on_state_changed(self._peer_changed)
            self._peer_changed(peer.connection_state)

    def _leave_peer(self) -> None:
        self._unsubscribe.pop("peer", _nothing)()

    # Showing its state

    def _peer_changed(self, state: RpcConnectionState) -> None:
        reconnects_at = _NOW if state.reconnects_at is None else state.reconnects_at
        self._observe(
            is_connected=state.kind is RpcConnectionKind.CONNECTED,
            error=state.error,
            reconnects_at=_NEVER if state.kind is RpcConnectionKind.CLOSED else reconnects_at,
        )

    def _observe(
        self, *, is_connected: bool = False, error: Exception | None = None, reconnects_at: float = _NOW
    ) -> None:
        if is_connected is not self._is_connected:
            # Attempts that fail go by without changing since when there is no link.
            self._is_connected = is_connected
            self._since = current_clock().now()
        self._last_error = None if is_connected else error or self._last_error
        self._reconnects_at = reconnects_at
        self._update()

    def _update(self) -> None:
        """Show the state of this moment, and again when it has become another one by itself."""
        if self._timer is not None:
            self._timer.cancel()
        state, until = self._current()
        self._timer = None if until is None else current_clock().call_at(until, self._update)
        self._state.set(state)

    def _current(self) -> tuple[PeerState, float | None]:
        """Return the state of this moment, and when it ends if nothing happens."""
        now = current_clock().now()
        if self._is_connected:
            until = self._since + self._just_connected_period
            if now < until:
                return PeerState(PeerStateKind.JUST_CONNECTED), until
            return PeerState(PeerStateKind.CONNECTED), None
        has_given_up = self._reconnects_at == _NEVER
        until = self._since + self._just_disconnected_period
        if now < until:
            return PeerState(PeerStateKind.JUST_DISCONNECTED, self._last_error, has_given_up=has_given_up), until
        remaining = self._reconnects_at - now
        if has_given_up or remaining < self._min_reconnects_in:
            return PeerState(PeerStateKind.DISCONNECTED, self._last_error, has_given_up=has_given_up), None
        left = remaining - self._min_reconnects_in
        state = PeerState(PeerStateKind.DISCONNECTED, self._last_error, remaining)
        return state, now + (_TICK if left >= _TICK else left + _MARGIN)

    # The end

    def _hub_closed(self, hub: RpcHub) -> None:
        self._stop()
        self._state.set(PeerState(PeerStateKind.DISCONNECTED, self._last_error, has_given_up=True))

    def _stop(self) -> None:
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._unsubscribe:
            self._unsubscribe.popitem()[1]()
        if self._own_ref is not None:
            # If the peer was opened along it, and nobody else has asked for it since, it goes.
            self._own_ref.reroute(LOCAL)


def _checked(name: str, seconds: float) -> float:
    if not seconds >= 0:
        raise ValueError(f"{name} must be zero or more seconds, not {seconds}")
    return seconds


def _nothing() -> None:
    pass
