"""The client's side of a link: connects, and connects again."""

import asyncio
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final, final
from urllib.parse import quote, urlsplit, urlunsplit

from refusion._aio._signal import Signal
from refusion._aio._waiter import Waiter
from refusion._base._clock import current_clock
from refusion._base._handlers import Handlers
from refusion._base._logging import log_failure, logger

from ._errors import RpcConnectError, RpcDisconnected, RpcError, RpcUnsupportedFormat
from ._link import Link
from ._peer import RpcPeer
from .formats import format_keys
from .protocol._handshake import Handshake, encode_client_id
from .protocol._reconnect_proof import reconnect_proof
from .transports._connecting import connect_error, without_query
from .transports._transport import CLOSE_UNSUPPORTED_FORMAT

if TYPE_CHECKING:
    from ._hub import RpcHub
    from .formats import RpcFormat

__all__ = ["RpcClientPeer", "RpcConnectionKind", "RpcConnectionState"]


class RpcConnectionKind(Enum):
    """Where a client peer is with its link."""

    CONNECTING = "connecting"
    CONNECTED = "connected"
    DISCONNECTED = "disconnected"
    CLOSED = "closed"


@final
@dataclass(frozen=True, slots=True)
class RpcConnectionState:
    """The state of a client peer's link at one moment; replaced as a whole."""

    kind: RpcConnectionKind
    """Where it is."""

    since: float
    """Since when, in clock time (seconds)."""

    error: Exception | None = None
    """Why there is no link."""

    try_index: int = 0
    """How many connection attempts in a row have failed, or were short-lived."""

    reconnects_at: float | None = None
    """When the next attempt starts, in clock time; None if that isn't planned."""


_FORBIDDEN: Final = 403

_MAX_REFUSALS: Final = 3
"""How often in a row a client is refused before it doubts that it is known; a proxy may do that, too, for a moment."""


@final
class RpcClientPeer(RpcPeer):
    """The other side that a URL stands for.

    It connects as soon as it exists, and again with growing pauses whenever the connection is lost, until
    it is closed or the server says that it doesn't speak the client's format.
    """

    __slots__ = (
        "_change",
        "_is_rejected",
        "_proof_counter",
        "_reconnect_now",
        "_refusals",
        "_remote_secret",
        "_state",
        "_state_handlers",
        "_task",
        "client_id",
        "url",
    )

    # Answers to a server's calls are as few as those; pausing on both sides could stop both for good.
    must_pause_reading = False

    def __init__(self, hub: "RpcHub", url: str, format_: "RpcFormat") -> None:
        super().__init__(hub, format_)
        self.url: str = url
        self.client_id: str = encode_client_id(uuid.uuid4())
        """By which the server finds its side of this peer again."""
        self._remote_secret: str | None = None
        self._proof_counter = 0
        self._refusals = 0
        self._state = RpcConnectionState(RpcConnectionKind.CONNECTING, current_clock().now())
        self._change = _Change()
        self._state_handlers: Handlers[RpcConnectionState] = Handlers("a handler of a changed connection state")
        self._reconnect_now: Waiter | None = None
        self._is_rejected = False
        self._task = self.loop.create_task(self._keep_connected(), name=f"rpc client of {without_query(url)}")

    @property
    def connection_state(self) -> RpcConnectionState:
        """The state of the link now."""
        return self._state

    @property
    def reconnects_at(self) -> float | None:
        """When the next connection attempt starts, in clock time (seconds); None if none is planned."""
        return self._state.reconnects_at

    async def wait_connected(self) -> None:
        """Wait until there is a link.

        Raises:
            RpcError: If there won't be one any more.
        """
        await self.wait_state(RpcConnectionKind.CONNECTED)

    async def wait_state(self, kind: RpcConnectionKind) -> RpcConnectionState:
        """Wait until the link is in a state of this kind, if only for a moment, and return the state.

        Raises:
            RpcError: If it won't come there any more.
        """
        state, change = self._state, self._change
        while state.kind is not kind:
            if state.kind is RpcConnectionKind.CLOSED:
                raise self.closed_error()
            await change.happened.wait()
            # One after another: a link may be gone again before whoever waits for it has its turn.
            state, change = change.state, change.next
        return state

    async def wait_state_change(self) -> RpcConnectionState:
        """Wait until the state of the link changes, and return the new one."""
        await self._change.happened.wait()
        return self._state

    def on_state_changed(self, handler: Callable[[RpcConnectionState], object]) -> Callable[[], None]:
        """Call `handler(state)` at each change of the state, in the loop of the hub; returns how to stop that."""
        return self._state_handlers.add(handler)

    def disconnect(self) -> None:
        """Break the connection; it is made again as if the network had broken it."""
        if self.link is not None:
            self.link.abort()

    def reconnect(self) -> None:
        """Start the next connection attempt now instead of waiting for its time."""
        if self._reconnect_now is not None:
            self._reconnect_now.wake()

    def link_ready(self, link: Link, handshake: Handshake) -> None:
        if handshake.secret:
            self._remote_secret = handshake.secret
        self._set_state(RpcConnectionKind.CONNECTED)
        super().link_ready(link, handshake)

    def closed_error(self) -> RpcError:
        if self._is_rejected:
            return RpcUnsupportedFormat(self.format.key, format_keys())
        return super().closed_error()

    async def aclose(self) -> None:
        self.hub.client_peers.forget(self)
        self._task.cancel()
        await super().aclose()
        await asyncio.gather(self._task, return_exceptions=True)
        if self._state.kind is not RpcConnectionKind.CLOSED:
            self._set_state(RpcConnectionKind.CLOSED, self.closed_error())

    def __repr__(self) -> str:
        return f"<RpcClientPeer {without_query(self.url)}>"

    async def _keep_connected(self) -> None:
        try_index = 0
        while True:
            self._set_state(RpcConnectionKind.CONNECTING, self._state.error, try_index)
            error, lifetime = await self._connect_once()
            if self._is_rejected:
                break
            try_index = 0 if lifetime >= self.limits.premature_disconnect_threshold else try_index + 1
            await self._pause(error, try_index)
        logger.error("%r gives up: %s", self, error)
        self.end_calls()
        self._set_state(RpcConnectionKind.CLOSED, error)

    async def _connect_once(self) -> tuple[RpcError, float]:
        """Connect and stay connected; returns why that has ended, and after how many seconds."""
        link, url = Link(self), self._connect_url()
        try:
            await self.hub.network.connect(url, link, self.limits.transport, self.hub.ssl)
        except RpcConnectError as error:
            self._refusals = self._refusals + 1 if error.status == _FORBIDDEN else 0
            if self._refusals >= _MAX_REFUSALS and self._remote_secret is not None:
                self._start_over()
            return error, 0.0
        except Exception as error:
            # Calls wait for the next attempt, so there has to be one whatever a transport or a proxy does.
            log_failure("a connection attempt", self)
            return connect_error(url, repr(error)), 0.0
        try:
            await link.closed.wait()
        except asyncio.CancelledError:
            link.close()
            raise
        if link.close_code == CLOSE_UNSUPPORTED_FORMAT:
            self._is_rejected = True
            return self.closed_error(), 0.0
        lifetime = current_clock().now() - link.connected_at if link.handshake is not None else 0.0
        reason = f": {link.close_reason}" if link.close_reason else ""
        return RpcDisconnected(
            f"the connection to {without_query(self.url)} was lost (code {link.close_code}{reason})"
        ), lifetime

    async def _pause(self, error: RpcError, try_index: int) -> None:
        delay = self.limits.reconnect_delays.delay(try_index)
        clock = current_clock()
        reconnects_at = clock.now() + delay
        self._set_state(RpcConnectionKind.DISCONNECTED, error, try_index, reconnects_at)
        self._reconnect_now = waiter = Waiter()
        timer = clock.call_at(reconnects_at, waiter.wake)
        try:
            await waiter.wait()
        finally:
            timer.cancel()
            self._reconnect_now = None

    def _connect_url(self) -> str:
        parts = urlsplit(self.url)
        path = parts.path if parts.path not in ("", "/") else "/rpc/ws"
        query = f"{parts.query}&" if parts.query else ""
        query += f"clientId={self.client_id}&f={quote(self.format.key)}{self._proof_query()}"
        return urlunsplit((parts.scheme, parts.netloc, path, query, ""))

    def _start_over(self) -> None:
        """Be a new client: the server doesn't believe that this is the one that it knows.

        That happens when the server was restarted and its handshake, with the new secret, was lost on the way.
        """
        logger.warning("%r was refused as the client that it was, and comes as a new one", self)
        self.client_id = encode_client_id(uuid.uuid4())
        self._remote_secret = None
        self._proof_counter = 0
        self._refusals = 0

    def _proof_query(self) -> str:
        """Return what proves that this is the client that was connected before; each attempt has its own."""
        if self._remote_secret is None:
            return ""
        self._proof_counter += 1
        counter = str(self._proof_counter)
        return f"&c={counter}&p={reconnect_proof(self._remote_secret, self.client_id, counter)}"

    def _set_state(
        self,
        kind: RpcConnectionKind,
        error: Exception | None = None,
        try_index: int = 0,
        reconnects_at: float | None = None,
    ) -> None:
        change = self._change
        self._state = change.state = RpcConnectionState(kind, current_clock().now(), error, try_index, reconnects_at)
        self._change = change.next = _Change()
        change.happened.set()
        self._state_handlers.tell(change.state)


@final
class _Change:
    """A change of the state that is still to come; when it has happened it has the state, and the change after it."""

    __slots__ = ("happened", "next", "state")

    state: RpcConnectionState
    next: "_Change"

    def __init__(self) -> None:
        self.happened = Signal()
