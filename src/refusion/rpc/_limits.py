"""Every limit of a hub, with its reason."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from refusion._base._retries import RetryDelays

from .protocol._limits import DEFAULT_SIZES, SizeLimits
from .transports._transport import TransportLimits

if TYPE_CHECKING:
    from ._contract import MethodDefinition

__all__ = ["NO_TIMEOUTS", "RpcCallTimeouts", "RpcLimits"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RpcCallTimeouts:
    """How long a call may take, in seconds; None is no limit.

    Raises:
        ValueError: If a time isn't positive.
    """

    connect: float | None = None
    """How long a call may wait for a link to be sent on."""

    run: float | None = None
    """How long a call may take in all, from when it is made."""

    def __post_init__(self) -> None:
        for name in ("connect", "run"):
            seconds = getattr(self, name)
            if seconds is not None and seconds <= 0:
                raise ValueError(f"{name} is a time in seconds above 0, or None for no limit; not {seconds}")


NO_TIMEOUTS: Final = RpcCallTimeouts()
"""As long as it takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RpcLimits:
    """What peers keep to; times are seconds. The defaults are those of the reference, where it has them.

    Raises:
        ValueError: If a limit isn't positive, or two of them contradict each other.
    """

    sizes: SizeLimits = DEFAULT_SIZES
    """The largest messages and frames that are taken and sent."""

    transport: TransportLimits = field(default_factory=TransportLimits)
    """What one connection may take of memory and time."""

    flush_bytes: int = 512
    """A frame is sent when it has this size, or at the end of a turn of the event loop.

    It is small so that both sides work at the same time: with frames of a hundred calls they take turns.
    """

    messages_per_turn: int = 1_000
    """How many messages of one peer are handled before others have their turn: a few milliseconds."""

    handshake_timeout: float = 10.0
    """A side that doesn't introduce itself by then isn't a peer."""

    keep_alive_period: float = 10.0
    """How often each side says that it is still there."""

    keep_alive_timeout: float = 25.0
    """Silence after which a link is dropped: two lost keep-alives, and a bit."""

    reconnect_delays: RetryDelays = field(default_factory=lambda: RetryDelays(0.1, 10.0))
    """Pauses between connection attempts: short at first, for a server that restarts; never long enough to annoy."""

    premature_disconnect_threshold: float = 15.0
    """A connection that lives shorter counts as a failed attempt, so that a crashing server isn't hammered."""

    max_server_peers: int = 65_536
    """How many clients a server knows at once; then who left first is forgotten, and at last new ones are refused."""

    server_peer_min_retention: float = 180.0
    """How long a server remembers a client that is gone, at least."""

    server_peer_max_retention: float = 900.0
    """How long it remembers one at most; in between it is a third of the time that the client was known."""

    object_release_timeout: float = 125.0
    """How long a shared stream stays without a word from who reads it: twelve keep-alives, and a bit."""

    object_release_period: float = 10.0
    """How often that is looked at."""

    max_objects: int = 65_536
    """How many streams a peer may have in both directions; more are a leak, and all of them end."""

    query_timeouts: RpcCallTimeouts = NO_TIMEOUTS
    """How long calls may take that only read: a reader would ask again, so it may as well wait."""

    command_timeouts: RpcCallTimeouts = field(default_factory=lambda: RpcCallTimeouts(connect=1.5, run=10.0))
    """How long calls may take that change something (`@rpc_method(is_command=True)`): somebody waits for the button."""

    delayed_call_threshold: float = 30.0
    """A call that isn't answered by then is logged, and a compute call is sent again; looked at with keep-alives."""

    max_open_calls: int = 100_000
    """How many calls of one peer may be open, most of them compute calls that were answered; more are refused.

    Each holds its value until that is invalidated. Raise it for a service whose clients are other services.
    """

    max_running_calls: int = 10_000
    """How many handlers run at once for one peer; further calls queue, so that a flood takes no more memory."""

    max_queued_calls: int = 1_000
    """How many calls queue before nothing more is read from the peer; ten times as many are refused.

    It is read on while this side itself waits for the peer, because what it waits for comes over the same connection,
    and after a keep-alive period in any case.
    """

    max_call_bytes: int = 64 * 1024 * 1024
    """How many bytes of arguments are held for the handlers of one peer, and as many again for calls that queue.

    A call with large arguments queues while those that run have that many: four of the largest messages.
    """

    drain_timeout: float = 5.0
    """How long calls that are under way may go on when a hub is closed: most are answered in milliseconds."""

    close_timeout: float = 5.0
    """How long closing a hub then waits for its connections, and for handlers that were cancelled."""

    def timeouts_of(self, method: "MethodDefinition") -> RpcCallTimeouts:
        """Return how long calls of a method may take: what it says itself, or what holds for its kind."""
        if method.timeouts is not None:
            return method.timeouts
        return self.command_timeouts if method.is_command else self.query_timeouts

    def __post_init__(self) -> None:
        for name in (*_POSITIVE, *_MAY_BE_NOTHING):
            value = getattr(self, name)
            if value < 0 or (value == 0 and name not in _MAY_BE_NOTHING):
                raise ValueError(f"{name} can't be {value}")
        if self.keep_alive_timeout <= self.keep_alive_period:
            raise ValueError(
                f"keep_alive_timeout={self.keep_alive_timeout} must be longer than "
                f"keep_alive_period={self.keep_alive_period}: a link would be dropped before anything is said on it"
            )
        if self.server_peer_min_retention > self.server_peer_max_retention:
            raise ValueError(
                f"server_peer_min_retention={self.server_peer_min_retention} is longer than "
                f"server_peer_max_retention={self.server_peer_max_retention}"
            )


_POSITIVE: Final = (
    "flush_bytes",
    "messages_per_turn",
    "max_objects",
    "max_open_calls",
    "max_running_calls",
    "max_queued_calls",
    "max_call_bytes",
    "handshake_timeout",
    "keep_alive_period",
    "keep_alive_timeout",
    "object_release_timeout",
    "object_release_period",
    "delayed_call_threshold",
)
_MAY_BE_NOTHING: Final = (
    "premature_disconnect_threshold",
    "server_peer_min_retention",
    "server_peer_max_retention",
    "drain_timeout",
    "close_timeout",
)
