"""The default transport, client and server, on the `websockets` library.

Compression is off: frames are small and formats have their own. So are the library's pings: the protocol
has keep-alives, and only those count.
"""

import asyncio
import weakref
from contextvars import ContextVar
from http import HTTPStatus
from ssl import SSLContext
from typing import Any, Final, final

from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.connection import Connection
from websockets.asyncio.server import Server as WebSocketsServer
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI
from websockets.http11 import Request, Response

from ._connecting import cause_of, connect_error
from ._dialing import wait_turns
from ._queued import QueuedTransport
from ._serving import connection_request, server_url
from ._transport import (
    CLOSE_ABNORMAL,
    CLOSE_GOING_AWAY,
    Accept,
    Network,
    Receiver,
    Rejection,
    Server,
    Transport,
    TransportLimits,
    close_reason,
)

__all__ = ["WebSocketsNetwork"]


@final
class _WebSocketTransport(QueuedTransport):
    __slots__ = ("_connection",)

    def __init__(self, connection: Connection, receiver: Receiver, limits: TransportLimits) -> None:
        super().__init__(receiver, limits)
        self._connection = connection
        self._set_max_size()

    async def read_frame(self) -> tuple[bytes, bool] | None:
        self._set_max_size()
        try:
            data = await self._connection.recv()
        except ConnectionClosed:
            code = self._connection.close_code
            self.outcome = (CLOSE_ABNORMAL if code is None else code), self._connection.close_reason or ""
            return None
        return (data.encode(), True) if isinstance(data, str) else (data, False)

    async def write_frame(self, frame: bytes) -> None:
        await self._connection.send(frame, text=self.receiver.is_text)

    async def end(self, code: int, reason: str) -> None:
        await self._connection.close(code, reason)

    @property
    def unsent_bytes(self) -> int:
        # A large frame may be on its way for long, of which the library has a part.
        return super().unsent_bytes + self._connection.transport.get_write_buffer_size()

    def cut(self) -> None:
        self._connection.transport.abort()

    def _set_max_size(self) -> None:
        # A stranger's first message is kept small; after the handshake the receiver allows more.
        self._connection.protocol.max_message_size = self.receiver.max_frame_bytes


@final
class _Server(Server):
    def __init__(self, accept: Accept, limits: TransportLimits, ssl: SSLContext | None) -> None:
        self._accept = accept
        self._limits = limits
        self._ssl = ssl
        self._receivers: weakref.WeakKeyDictionary[ServerConnection, Receiver | Rejection] = weakref.WeakKeyDictionary()
        self._server: WebSocketsServer | None = None
        self._host = ""
        self._port = 0

    async def start(self, host: str, port: int) -> None:
        self._host = host
        self._server = await serve(
            self._handle,
            host,
            port,
            ssl=self._ssl,
            process_request=self._process_request,
            compression=None,
            ping_interval=None,
            open_timeout=self._limits.connect_timeout,
            close_timeout=self._limits.close_timeout,
            max_size=self._limits.max_frame_bytes,
            server_header=None,
        )
        self._port = next(iter(self._server.sockets)).getsockname()[1]

    @property
    def port(self) -> int:
        return self._port

    @property
    def url(self) -> str:
        return server_url(self._host, self._port, is_encrypted=self._ssl is not None)

    async def aclose(self) -> None:
        server, self._server = self._server, None
        if server is None:
            return
        server.close(code=CLOSE_GOING_AWAY)
        await server.wait_closed()

    def _process_request(self, connection: ServerConnection, request: Request) -> Response | None:
        remote = connection.remote_address
        outcome = self._accept(
            connection_request(request.path, request.headers.raw_items(), str(remote[0]) if remote else "")
        )
        if isinstance(outcome, Rejection) and outcome.close_code is None:
            return connection.respond(HTTPStatus(outcome.status), outcome.reason + "\n")
        self._receivers[connection] = outcome
        return None

    async def _handle(self, connection: ServerConnection) -> None:
        outcome = self._receivers.pop(connection)
        if isinstance(outcome, Rejection):
            await connection.close(outcome.close_code or CLOSE_ABNORMAL, close_reason(outcome.reason))
            return
        await _WebSocketTransport(connection, outcome, self._limits).run()


_attempt: Final[ContextVar[list["_ClientConnection"]]] = ContextVar("refusion_rpc_connect")


class _ClientConnection(ClientConnection):
    """Tells who connects that it exists, and whether there is a connection to lose."""

    is_open = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _attempt.get().append(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.is_open = True
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = False
        super().connection_lost(exc)


async def _connect(url: str, limits: TransportLimits, ssl: SSLContext | None) -> ClientConnection:
    connections: list[_ClientConnection] = []
    token = _attempt.set(connections)
    try:
        return await connect(
            url,
            ssl=(ssl or True) if url.startswith("wss:") else None,
            compression=None,
            ping_interval=None,
            open_timeout=limits.connect_timeout,
            close_timeout=limits.close_timeout,
            max_size=limits.max_frame_bytes,
            create_connection=_ClientConnection,
        )
    except BaseException:
        # The library has cut them, whatever has happened; uvloop may keep to itself that it has done so.
        await wait_turns(lambda: not any(connection.is_open for connection in connections))
        raise
    finally:
        _attempt.reset(token)


@final
class WebSocketsNetwork(Network):
    """Connects and listens with the `websockets` library."""

    async def connect(
        self, url: str, receiver: Receiver, limits: TransportLimits, ssl: SSLContext | None = None
    ) -> Transport:
        try:
            connection = await _connect(url, limits, ssl)
        except (OSError, InvalidHandshake, InvalidURI, TimeoutError, EOFError) as error:
            status = error.response.status_code if isinstance(error, InvalidStatus) else None
            raise connect_error(url, error, status) from cause_of(url, error)
        transport = _WebSocketTransport(connection, receiver, limits)
        transport.start()
        return transport

    async def listen(
        self, host: str, port: int, accept: Accept, limits: TransportLimits, ssl: SSLContext | None = None
    ) -> Server:
        server = _Server(accept, limits, ssl)
        await server.start(host, port)
        return server
