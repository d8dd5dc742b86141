"""A network inside of the process, for tests: as bounded and ordered as a real one, and with faults on demand."""

import asyncio
from collections import deque
from collections.abc import Callable
from enum import Enum
from ssl import SSLContext
from typing import final
from urllib.parse import urlsplit

from ._connecting import connect_error
from ._serving import connection_request, server_url
from ._transport import (
    CLOSE_ABNORMAL,
    CLOSE_GOING_AWAY,
    CLOSE_INTERNAL_ERROR,
    CLOSE_NORMAL,
    CLOSE_TOO_LARGE,
    Accept,
    Network,
    Receiver,
    Rejection,
    Server,
    Transport,
    TransportLimits,
    close_reason,
)

__all__ = ["Direction", "Fault", "MemoryNetwork"]


class Direction(Enum):
    """Which way a frame goes."""

    TO_SERVER = "to server"
    TO_CLIENT = "to client"


class Fault(Enum):
    """What may happen to a frame."""

    LOSE_AND_CUT = "lose and cut"
    """The connection breaks before the frame arrives."""

    DELIVER_AND_CUT = "deliver and cut"
    """The connection breaks right after it has arrived."""

    DUPLICATE = "duplicate"
    """It arrives twice."""

    LOSE = "lose"
    """It never arrives, and nobody notices: the link is half open."""


@final
class MemoryNetwork(Network):
    """Connects hubs of one process, by the ports of their URLs. It encrypts nothing: nothing leaves it.

    Example:
        ```python
        network = MemoryNetwork()
        server, client = RpcHub(transport=network), RpcHub(transport=network)
        ```
    """

    def __init__(self) -> None:
        self.is_refusing = False
        """Whether new connections are refused, as when a server is down."""
        self.fault: Callable[[Direction, bytes], Fault | None] = lambda direction, frame: None
        """Decides for each frame what happens to it."""
        self.connection_count: int = 0
        """How many connections were made."""
        self._servers: dict[int, _Server] = {}
        self._links: set[tuple[_MemoryTransport, _MemoryTransport]] = set()

    def cut(self) -> None:
        """Break all connections, without a word to either side."""
        for client, server in list(self._links):
            client.lost(CLOSE_ABNORMAL, "cut")
            server.lost(CLOSE_ABNORMAL, "cut")

    async def connect(
        self, url: str, receiver: Receiver, limits: TransportLimits, ssl: SSLContext | None = None
    ) -> Transport:
        await asyncio.sleep(0)
        parts = urlsplit(url)
        server = self._servers.get(parts.port or 80)
        if server is None or self.is_refusing:
            raise connect_error(url, "nobody listens there")
        outcome = server.accept(connection_request(f"{parts.path}?{parts.query}", (), "memory"))
        if isinstance(outcome, Rejection) and outcome.close_code is None:
            raise connect_error(url, outcome.reason, outcome.status)
        client_end = _MemoryTransport(self, receiver, limits, Direction.TO_SERVER, server.port)
        if isinstance(outcome, Rejection):
            receiver.connected(client_end)
            client_end.lost(outcome.close_code or CLOSE_ABNORMAL, close_reason(outcome.reason))
            return client_end
        server_end = _MemoryTransport(self, outcome, limits, Direction.TO_CLIENT, server.port)
        client_end.other, server_end.other = server_end, client_end
        self._links.add((client_end, server_end))
        self.connection_count += 1
        outcome.connected(server_end)
        receiver.connected(client_end)
        return client_end

    async def listen(
        self, host: str, port: int, accept: Accept, limits: TransportLimits, ssl: SSLContext | None = None
    ) -> Server:
        port = port or max(self._servers, default=0) + 1
        if port in self._servers:
            raise OSError(f"port {port} of the memory network is in use")
        server = self._servers[port] = _Server(self, port, accept)
        return server

    def stop(self, port: int) -> None:
        """Let nobody listen at a port, and close its connections."""
        if self._servers.pop(port, None) is None:
            return
        for client, server in list(self._links):
            if server.port == port:
                client.lost(CLOSE_GOING_AWAY, "")
                server.lost(CLOSE_GOING_AWAY, "")

    def forget(self, transport: "_MemoryTransport") -> None:
        """Drop the link of a closed transport."""
        self._links = {link for link in self._links if transport not in link}


@final
class _Server(Server):
    def __init__(self, network: MemoryNetwork, port: int, accept: Accept) -> None:
        self._network = network
        self._port = port
        self.accept = accept

    @property
    def port(self) -> int:
        return self._port

    @property
    def url(self) -> str:
        return server_url("memory", self._port)

    async def aclose(self) -> None:
        self._network.stop(self._port)


@final
class _MemoryTransport(Transport):
    """One end of a link; what it sends waits here until the other end takes it."""

    def __init__(
        self,
        network: MemoryNetwork,
        receiver: Receiver,
        limits: TransportLimits,
        direction: Direction,
        port: int,
    ) -> None:
        self.port: int = port
        """Of the server that it is a connection of."""
        self._network = network
        self._receiver = receiver
        self._limits = limits
        self._direction = direction
        self._loop = asyncio.get_running_loop()
        self._queue: deque[bytes] = deque()
        self._queued_bytes = 0
        self._is_writable = True
        self._is_delivering = False
        self._is_reading = True
        self._closed = asyncio.Event()
        self._closing: tuple[int, str] | None = None
        self.other: _MemoryTransport | None = None

    def send(self, frame: bytes) -> None:
        if self._closing is not None or self._closed.is_set():
            return
        self._queue.append(frame)
        self._queued_bytes += len(frame)
        if self._queued_bytes >= self._limits.high_water:
            self._is_writable = False
        self._deliver_soon()

    @property
    def is_writable(self) -> bool:
        return self._is_writable

    @property
    def unsent_bytes(self) -> int:
        return self._queued_bytes

    def pause_reading(self) -> None:
        self._is_reading = False

    def resume_reading(self) -> None:
        self._is_reading = True
        if self.other is not None:
            self.other._deliver_soon()

    def close(self, code: int = CLOSE_NORMAL, reason: str = "") -> None:
        if self._closing is None and not self._closed.is_set():
            self._closing = (code, close_reason(reason))
            self._deliver_soon()

    def abort(self) -> None:
        other = self.other
        self.lost(CLOSE_ABNORMAL, "")
        if other is not None:
            other.lost(CLOSE_ABNORMAL, "")

    async def wait_closed(self) -> None:
        await self._closed.wait()

    def lost(self, code: int, reason: str) -> None:
        """Be gone, and tell the receiver."""
        if self._closed.is_set():
            return
        self._closed.set()
        self._queue.clear()
        self._network.forget(self)
        self._loop.call_soon(self._receiver.disconnected, code, reason)

    def _deliver_soon(self) -> None:
        if not self._is_delivering and not self._closed.is_set():
            self._is_delivering = True
            self._loop.call_soon(self._deliver)

    def _deliver(self) -> None:
        self._is_delivering = False
        other = self.other
        while self._queue and other is not None and other._is_reading and not self._closed.is_set():
            frame = self._queue.popleft()
            self._queued_bytes -= len(frame)
            fault = self._network.fault(self._direction, frame)
            if fault is not Fault.LOSE_AND_CUT and fault is not Fault.LOSE:
                other._take(frame, is_text=self._receiver.is_text)
            if fault is Fault.DUPLICATE:
                other._take(frame, is_text=self._receiver.is_text)
            if fault is Fault.LOSE_AND_CUT or fault is Fault.DELIVER_AND_CUT:
                self.abort()
                return
        if not self._is_writable and self._queued_bytes <= self._limits.low_water and not self._closed.is_set():
            self._is_writable = True
            self._receiver.writable()
        if self._closing is not None and not self._queue:
            code, reason = self._closing
            self.lost(code, reason)
            if other is not None:
                other.lost(code, reason)

    def _take(self, frame: bytes, *, is_text: bool) -> None:
        if self._closed.is_set() or self._closing is not None:
            return
        if len(frame) > self._receiver.max_frame_bytes:
            self.close(CLOSE_TOO_LARGE, "Message too large.")
            return
        try:
            self._receiver.frame_received(frame, is_text=is_text)
        except Exception:
            self.close(CLOSE_INTERNAL_ERROR, "Internal error.")
            raise
