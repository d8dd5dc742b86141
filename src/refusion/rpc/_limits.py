"""Every limit of a hub, with its reason."""

from dataclasses import dataclass, field

from refusion._base._retries import RetryDelays

from .transports._transport import TransportLimits

__all__ = ["RpcCallTimeouts", "RpcLimits"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RpcCallTimeouts:
    """How long a call may take, in seconds; None is no limit."""

    connect: float | None = None
    """How long a call may wait for a link to be sent on."""

    run: float | None = None
    """How long a call may take in all, from when it is made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RpcLimits:
    """What peers keep to; times are seconds. The defaults are those of the reference, where it has them."""

    transport: TransportLimits = field(default_factory=TransportLimits)
    """What one connection may take of memory and time."""

    flush_bytes: int = 12_000
    """A frame is sent when it has this size, or at the end of a turn of the event loop: about eight packets."""

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

    timeouts: RpcCallTimeouts = field(default_factory=RpcCallTimeouts)
    """How long calls may take, unless a method says otherwise."""

    close_timeout: float = 5.0
    """How long closing a hub waits for its connections and handlers."""
