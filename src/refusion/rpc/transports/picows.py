"""The fast transport, client and server, on the `picows` library; used when it is installed.

What picows leaves to its user is done here: messages of several frames, the size of a message, the closing
handshake, and a gate for senders (its `send` never blocks). Its aiofastnet transports stay on: without them
frames can be corrupted under backpressure.
"""

import asyncio
import struct
from ssl import SSLContext
from typing import Any, Final, final

from picows import (
    WSError,
    WSFrame,
    WSInvalidStatusError,
    WSListener,
    WSMsgType,
    WSTransport,
    WSUpgradeRequest,
    WSUpgradeResponse,
    WSUpgradeResponseWithListener,
    ws_connect,  # pyright: ignore[reportUnknownVariableType]
    ws_create_server,  # pyright: ignore[reportUnknownVariableType]
)

from refusion._aio._signal import Signal
from refusion._base._clock import TimerHandle, current_clock
from refusion._base._logging import log_failure

from ._connecting import cause_of, connect_error
from ._dialing import Dialing
from ._serving import connection_request, server_url
from ._transport import (
    CLOSE_ABNORMAL,
    CLOSE_GOING_AWAY,
    CLOSE_INTERNAL_ERROR,
    CLOSE_NORMAL,
    CLOSE_PROTOCOL_ERROR,
    CLOSE_TOO_LARGE,
    Accept,
    ConnectionRequest,
    Network,
    Receiver,
    Rejection,
    Server,
    Transport,
    TransportLimits,
    close_reason,
)

__all__ = ["PicowsNetwork"]

_READ_BUFFER_BYTES: Final = 2_048
"""Grown on demand; its default would be most of the memory of an idle connection."""


@final
class _Connection(WSListener, Transport):
    """A picows listener that is the transport, too: both live and die with one connection."""

    __slots__ = (
        "_close_timer",
        "_closed",
        "_connections",
        "_is_closing",
        "_is_writable",
        "_limits",
        "_outcome",
        "_part_type",
        "_parts",
        "_receiver",
        "_request",
        "_size",
        "_type",
        "_ws",
    )

    def __init__(
        self,
        receiver: Receiver,
        limits: TransportLimits,
        connections: "set[_Connection] | None" = None,
        request: ConnectionRequest | None = None,
    ) -> None:
        self._receiver = receiver
        self._limits = limits
        self._connections = connections
        self._request = request
        self._ws: WSTransport | None = None
        self._is_writable = True
        self._parts: list[bytes] = []
        self._size = 0
        self._part_type = WSMsgType.BINARY
        self._outcome = (CLOSE_ABNORMAL, "")
        self._is_closing = False
        self._close_timer: TimerHandle | None = None
        self._closed = Signal()
        self._type = WSMsgType.TEXT if receiver.is_text else WSMsgType.BINARY

    # Transport

    def send(self, frame: bytes) -> None:
        if self._ws is not None and not self._is_closing:
            self._ws.send(self._type, frame)

    @property
    def is_writable(self) -> bool:
        return self._is_writable

    @property
    def unsent_bytes(self) -> int:
        if self._ws is None or self._ws.is_disconnected:
            return 0
        return int(self._ws.underlying_transport.get_write_buffer_size())

    def pause_reading(self) -> None:
        if self._ws is not None and not self._ws.is_disconnected:
            self._ws.underlying_transport.pause_reading()

    def resume_reading(self) -> None:
        if self._ws is not None and not self._ws.is_disconnected:
            self._ws.underlying_transport.resume_reading()

    def close(self, code: int = CLOSE_NORMAL, reason: str = "") -> None:
        if self._is_closing or self._ws is None:
            return
        self._is_closing = True
        self.resume_reading()
        self._ws.send(WSMsgType.CLOSE, struct.pack(">H", code) + close_reason(reason).encode())
        clock = current_clock()
        self._close_timer = clock.call_at(clock.now() + self._limits.close_timeout, self.abort)
        # The other side answers the close and ends the connection; if it doesn't, the timer does.

    def abort(self) -> None:
        self._is_closing = True
        if self._ws is not None:
            self._ws.disconnect(graceful=False)

    async def wait_closed(self) -> None:
        await self._closed.wait()

    # Listener

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._ws = transport
        transport.underlying_transport.set_write_buffer_limits(self._limits.high_water, self._limits.low_water)
        if self._connections is not None:
            self._connections.add(self)
        peername: Any = transport.underlying_transport.get_extra_info("peername")
        if self._request is not None and peername:
            # The library doesn't tell it any earlier; nobody but `accept` has seen the request yet.
            object.__setattr__(self._request, "remote", str(peername[0]))
        self._receiver.connected(self)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        kind = frame.msg_type
        if kind is WSMsgType.CLOSE:
            self._answer_close(transport, frame.get_payload_as_bytes())
        elif kind is WSMsgType.PING or kind is WSMsgType.PONG or self._is_closing:
            return
        elif frame.fin and not self._parts and kind is not WSMsgType.CONTINUATION:
            self._deliver(frame.get_payload_as_bytes(), kind)
        else:
            self._collect(frame, kind)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        if self._connections is not None:
            self._connections.discard(self)
        if self._close_timer is not None:
            self._close_timer.cancel()
        self._closed.set()
        self._receiver.disconnected(*self._outcome)

    def pause_writing(self) -> None:
        self._is_writable = False

    def resume_writing(self) -> None:
        self._is_writable = True
        self._receiver.writable()

    def _collect(self, frame: WSFrame, kind: WSMsgType) -> None:
        if (kind is WSMsgType.CONTINUATION) != bool(self._parts):
            self.close(CLOSE_PROTOCOL_ERROR, "Fragments out of order.")
            return
        if not self._parts:
            self._part_type = kind
        self._size += frame.payload_size
        if self._size > self._receiver.max_frame_bytes:
            self._parts.clear()
            self.close(CLOSE_TOO_LARGE, "Message too large.")
            return
        self._parts.append(frame.get_payload_as_bytes())
        if frame.fin:
            data, self._parts, self._size = b"".join(self._parts), [], 0
            self._deliver(data, self._part_type)

    def _deliver(self, data: bytes, kind: WSMsgType) -> None:
        if len(data) > self._receiver.max_frame_bytes:
            self.close(CLOSE_TOO_LARGE, "Message too large.")
            return
        try:
            self._receiver.frame_received(data, is_text=kind is WSMsgType.TEXT)
        except Exception:
            log_failure("the receiver of a frame", self._receiver)
            self.close(CLOSE_INTERNAL_ERROR, "Internal error.")

    def _answer_close(self, transport: WSTransport, payload: bytes) -> None:
        code = struct.unpack(">H", payload[:2])[0] if len(payload) >= 2 else CLOSE_NORMAL
        self._outcome = (code, payload[2:].decode(errors="replace"))
        if not self._is_closing:
            self._is_closing = True
            transport.send(WSMsgType.CLOSE, payload[:2])
        transport.disconnect()


@final
class _Farewell(WSListener):
    """Closes a connection that was accepted only to be told why it is refused."""

    def __init__(self, rejection: Rejection) -> None:
        self._rejection = rejection

    def on_ws_connected(self, transport: WSTransport) -> None:
        code = self._rejection.close_code or CLOSE_ABNORMAL
        transport.send(WSMsgType.CLOSE, struct.pack(">H", code) + close_reason(self._rejection.reason).encode())
        transport.disconnect()


@final
class _Server(Server):
    def __init__(
        self, host: str, server: asyncio.Server, connections: "set[_Connection]", *, is_encrypted: bool
    ) -> None:
        self._host = host
        self._is_encrypted = is_encrypted
        self._server = server
        self._connections = connections
        self._port = int(server.sockets[0].getsockname()[1])

    @property
    def port(self) -> int:
        return self._port

    @property
    def url(self) -> str:
        return server_url(self._host, self._port, is_encrypted=self._is_encrypted)

    async def aclose(self) -> None:
        self._server.close()
        connections = list(self._connections)
        for connection in connections:
            connection.close(CLOSE_GOING_AWAY)
        for connection in connections:
            await connection.wait_closed()


@final
class PicowsNetwork(Network):
    """Connects and listens with picows."""

    async def connect(
        self, url: str, receiver: Receiver, limits: TransportLimits, ssl: SSLContext | None = None
    ) -> Transport:
        dialing = Dialing()
        try:
            async with dialing, asyncio.timeout(limits.connect_timeout):
                _, listener = await ws_connect(
                    lambda: _Connection(receiver, limits),
                    url,
                    ssl_context=ssl,
                    websocket_handshake_timeout=limits.connect_timeout,
                    max_frame_size=limits.max_frame_bytes,
                    read_buffer_init_size=_READ_BUFFER_BYTES,
                    socket_factory=lambda address: dialing.open(address.host, address.port),
                )
                if not isinstance(listener, _Connection):
                    # The library says nothing when the connection is lost before the server has answered.
                    raise ConnectionResetError("the server has closed the connection without an answer")
        except (OSError, WSError, TimeoutError, ValueError) as error:
            response = error.response if isinstance(error, WSInvalidStatusError) else None
            status = None if response is None else int(response.status)
            raise connect_error(url, error, status) from cause_of(url, error)
        return listener

    async def listen(
        self, host: str, port: int, accept: Accept, limits: TransportLimits, ssl: SSLContext | None = None
    ) -> Server:
        connections: set[_Connection] = set()

        def create(request: WSUpgradeRequest) -> WSListener | WSUpgradeResponseWithListener:
            headers = [(str(name), str(value)) for name, value in request.headers.items()]
            asked = connection_request(request.path.decode("latin-1"), headers, "")
            outcome = accept(asked)
            if isinstance(outcome, Rejection):
                if outcome.close_code is not None:
                    return _Farewell(outcome)
                response = WSUpgradeResponse.create_error_response(outcome.status, outcome.reason.encode())
                return WSUpgradeResponseWithListener(response, None)
            return _Connection(outcome, limits, connections, asked)

        server = await ws_create_server(
            create,
            host,
            port,
            ssl=ssl,
            websocket_handshake_timeout=limits.connect_timeout,
            max_frame_size=limits.max_frame_bytes,
            read_buffer_init_size=_READ_BUFFER_BYTES,
        )
        return _Server(host, server, connections, is_encrypted=ssl is not None)
