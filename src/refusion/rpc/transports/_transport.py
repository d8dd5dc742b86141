"""What a transport has to offer, and what it is told by whom it carries frames for.

A frame is one message of a WebSocket, or its equal. All of this happens in one event loop's thread.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ssl import SSLContext
from typing import Final, Protocol

from refusion.rpc.protocol._limits import MAX_FRAME_BYTES

__all__ = [
    "CLOSE_ABNORMAL",
    "CLOSE_GOING_AWAY",
    "CLOSE_INTERNAL_ERROR",
    "CLOSE_NORMAL",
    "CLOSE_PROTOCOL_ERROR",
    "CLOSE_TOO_LARGE",
    "CLOSE_UNSUPPORTED_FORMAT",
    "Accept",
    "ConnectionRequest",
    "Network",
    "Receiver",
    "Rejection",
    "Server",
    "Transport",
    "TransportLimits",
    "close_reason",
]

CLOSE_NORMAL: Final = 1000
CLOSE_GOING_AWAY: Final = 1001
CLOSE_PROTOCOL_ERROR: Final = 1002
CLOSE_ABNORMAL: Final = 1006
"""Never sent: the connection was lost without a word."""
CLOSE_TOO_LARGE: Final = 1009
CLOSE_INTERNAL_ERROR: Final = 1011
CLOSE_UNSUPPORTED_FORMAT: Final = 4001
"""The server doesn't know the client's format; the client must not come back."""


_MAX_REASON_BYTES: Final = 123
"""What a control frame of a WebSocket has room for, beside the code."""


def close_reason(text: str) -> str:
    """Return as much of a reason as can be sent with a close, cut between characters."""
    data = text.encode(errors="replace")
    return data[:_MAX_REASON_BYTES].decode(errors="ignore") if len(data) > _MAX_REASON_BYTES else data.decode()


@dataclass(frozen=True, slots=True, kw_only=True)
class TransportLimits:
    """What a connection may take of memory and time.

    Raises:
        ValueError: If a limit isn't positive, or the marks are the wrong way round.
    """

    high_water: int = 256 * 1024
    """Bytes that wait to be written before senders have to wait; enough to keep a fast link busy."""

    low_water: int = 64 * 1024
    """Bytes that may still wait when senders go on; far enough below to not go on and off all the time."""

    max_frame_bytes: int = MAX_FRAME_BYTES
    """The largest frame that is ever received; the receiver may ask for less, as before the handshake."""

    connect_timeout: float = 10.0
    """Seconds to make a connection in."""

    close_timeout: float = 5.0
    """Seconds in which queued frames may still be written after a close; then the connection is cut."""

    def __post_init__(self) -> None:
        if not 0 <= self.low_water < self.high_water:
            raise ValueError(
                f"low_water={self.low_water} must be from 0 to below high_water={self.high_water}: "
                "senders that have to wait go on when less than that waits to be written"
            )
        if self.max_frame_bytes < 1 or self.connect_timeout <= 0 or self.close_timeout < 0:
            raise ValueError(
                f"max_frame_bytes={self.max_frame_bytes}, connect_timeout={self.connect_timeout} and "
                f"close_timeout={self.close_timeout} have to be positive"
            )


class Transport(Protocol):
    """One live connection that carries frames in both directions, in order."""

    __slots__ = ()

    @abstractmethod
    def send(self, frame: bytes) -> None:
        """Queue a frame; never blocks, and does nothing once the connection is closed."""

    @property
    @abstractmethod
    def is_writable(self) -> bool:
        """Whether less waits to be written than the high-water mark; senders have to look at it."""

    @property
    def unsent_bytes(self) -> int:
        """How much waits to be written, as far as it is known: by its changes a slow reader is told from a dead one."""
        return 0

    @abstractmethod
    def pause_reading(self) -> None:
        """Take no further frames from the network, a few that are on their way aside."""

    @abstractmethod
    def resume_reading(self) -> None:
        """Go on taking frames."""

    @abstractmethod
    def close(self, code: int = CLOSE_NORMAL, reason: str = "") -> None:
        """Write what is queued, then close; may be called more than once."""

    @abstractmethod
    def abort(self) -> None:
        """Cut the connection at once."""

    @abstractmethod
    async def wait_closed(self) -> None:
        """Wait until the connection is gone and the receiver was told."""


class Receiver(Protocol):
    """Whom a connection is for. Its methods are called in the loop of the connection, and must not raise."""

    __slots__ = ()

    max_frame_bytes: int
    """The largest frame that is welcome now; a larger one closes the connection with code 1009."""

    is_text: bool
    """Whether it sends text frames."""

    @abstractmethod
    def connected(self, transport: Transport) -> None:
        """Be told of the connection, once, before anything else."""

    @abstractmethod
    def frame_received(self, frame: bytes, *, is_text: bool) -> None:
        """Take one whole frame."""

    @abstractmethod
    def writable(self) -> None:
        """Be told that senders may go on."""

    @abstractmethod
    def disconnected(self, code: int, reason: str) -> None:
        """Be told, once, that the connection is gone."""


@dataclass(frozen=True, slots=True)
class ConnectionRequest:
    """What a client asks for before it is let in."""

    path: str
    """The path of the URL."""

    query: Mapping[str, str]
    """The parameters of the URL; of a repeated one the last counts."""

    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    """The HTTP headers, with names in lower case."""

    remote: str = ""
    """The client's address, as far as it is known."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a client isn't let in."""

    reason: str
    """What to tell it."""

    status: int = 403
    """The HTTP status that refuses the upgrade."""

    close_code: int | None = None
    """If given the upgrade is accepted and the connection closed with this code: some clients see nothing else."""


Accept = Callable[[ConnectionRequest], Receiver | Rejection]
"""Decides about a client; called before the upgrade, without side effects until the receiver is connected."""


class Server(Protocol):
    """Something that listens."""

    @property
    @abstractmethod
    def port(self) -> int:
        """The port that it listens at."""

    @property
    @abstractmethod
    def url(self) -> str:
        """Where clients connect, as `ws://127.0.0.1:8080/rpc/ws`."""

    @abstractmethod
    async def aclose(self) -> None:
        """Stop listening and close all connections; may be called more than once."""


class Network(Protocol):
    """A kind of transport: makes connections and listens for them."""

    schemes: tuple[str, ...] = ("ws", "wss")
    """What URLs that it connects to begin with."""

    @abstractmethod
    async def connect(
        self, url: str, receiver: Receiver, limits: TransportLimits, ssl: SSLContext | None = None
    ) -> Transport:
        """Connect to `url` and let `receiver` have the connection.

        Cancelling leaves no connection behind.

        Args:
            url: Where to; with the query that names the client and its format.
            receiver: Whom the connection is for.
            limits: What it may take.
            ssl: How servers at encrypted URLs are verified; by default as the system verifies them.

        Raises:
            RpcConnectError: If it can't be made; with the status of the `Rejection` if the server has refused it, and
                without the query of the URL, which may hold secrets.
        """

    @abstractmethod
    async def listen(
        self, host: str, port: int, accept: Accept, limits: TransportLimits, ssl: SSLContext | None = None
    ) -> Server:
        """Listen at `host` and `port`; port 0 takes a free one.

        Args:
            host: The address.
            port: The port.
            accept: Decides about each client.
            limits: What each connection may take.
            ssl: The certificate to show; without one connections aren't encrypted.

        Raises:
            OSError: If that isn't possible.
        """
