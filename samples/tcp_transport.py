"""A transport of one's own: RPC over plain TCP, without WebSockets. Run it with `python -m samples.tcp_transport`.

A message on the wire is its size in four bytes, one byte that says what it is, and the payload. The client begins by
saying what it wants, as `/rpc/ws?clientId=...`, and the server lets it in or says why not.
"""

import asyncio
import struct
from asyncio import StreamReader, StreamWriter
from ssl import SSLContext
from typing import Final
from urllib.parse import urlsplit

from refusion.rpc import RpcConnectError, RpcHub
from refusion.rpc.transports import (
    CLOSE_GOING_AWAY,
    CLOSE_TOO_LARGE,
    Accept,
    Network,
    QueuedTransport,
    Receiver,
    Rejection,
    Server,
    Transport,
    TransportLimits,
    close_reason,
    connection_request,
)

BINARY: Final = 0
TEXT: Final = 1
CLOSE: Final = 2
HELLO: Final = 3
REFUSAL: Final = 4

_HEAD: Final = struct.Struct(">IB")
_CODE: Final = struct.Struct(">H")
_MAX_HELLO: Final = 4_096
_CONNECTION_LOST: Final = (OSError, EOFError)


class TcpNetwork(Network):
    """Connects and listens at `tcp://` URLs."""

    schemes = ("tcp",)

    async def connect(
        self, url: str, receiver: Receiver, limits: TransportLimits, ssl: SSLContext | None = None
    ) -> Transport:
        parts = urlsplit(url)
        writer: StreamWriter | None = None
        try:
            async with asyncio.timeout(limits.connect_timeout):
                reader, writer = await asyncio.open_connection(parts.hostname, parts.port, ssl=ssl)
                write_message(writer, HELLO, f"{parts.path}?{parts.query}".encode())
                refusal = await _read_answer(reader)
        except (*_CONNECTION_LOST, ValueError) as error:
            _abort(writer)
            raise RpcConnectError(f"can't connect to {_shown(url)}: {error or type(error).__name__}") from error
        except BaseException:
            _abort(writer)
            raise
        if refusal is not None:
            writer.close()
            raise RpcConnectError(f"can't connect to {_shown(url)}: {refusal.reason}", refusal.status)
        transport = TcpTransport(reader, writer, receiver, limits)
        transport.start()
        return transport

    async def listen(
        self, host: str, port: int, accept: Accept, limits: TransportLimits, ssl: SSLContext | None = None
    ) -> Server:
        server = TcpServer(accept, limits)
        await server.start(host, port, ssl)
        return server


class TcpServer(Server):
    """Listens for clients."""

    def __init__(self, accept: Accept, limits: TransportLimits) -> None:
        self._accept = accept
        self._limits = limits
        self._transports: set[TcpTransport] = set()

    async def start(self, host: str, port: int, ssl: SSLContext | None) -> None:
        self._server = await asyncio.start_server(self._serve, host, port, ssl=ssl)
        self._host = host

    @property
    def port(self) -> int:
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def url(self) -> str:
        return f"tcp://{self._host}:{self.port}/rpc/ws"

    async def aclose(self) -> None:
        self._server.close()
        for transport in list(self._transports):
            transport.close(CLOSE_GOING_AWAY)
            await transport.wait_closed()

    async def _serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        try:
            async with asyncio.timeout(self._limits.connect_timeout):
                kind, target = await read_message(reader, _MAX_HELLO)
            if kind != HELLO:
                raise ConnectionError("not a client of ours")
            remote = writer.get_extra_info("peername")[0]
            outcome = self._accept(connection_request(target.decode(), (), remote))
        except (*_CONNECTION_LOST, ValueError):
            _abort(writer)
            return
        if not isinstance(outcome, Rejection):
            write_message(writer, HELLO)
            transport = TcpTransport(reader, writer, outcome, self._limits)
            self._transports.add(transport)
            await transport.run()
            self._transports.discard(transport)
            return
        if outcome.close_code is None:
            write_message(writer, REFUSAL, _CODE.pack(outcome.status) + outcome.reason.encode())
        else:
            write_message(writer, HELLO)
            write_message(writer, CLOSE, _CODE.pack(outcome.close_code) + close_reason(outcome.reason).encode())
        writer.close()


class TcpTransport(QueuedTransport):
    """One connection, after the hello."""

    def __init__(self, reader: StreamReader, writer: StreamWriter, receiver: Receiver, limits: TransportLimits) -> None:
        super().__init__(receiver, limits)
        self._reader = reader
        self._writer = writer

    async def read_frame(self) -> tuple[bytes, bool] | None:
        try:
            kind, payload = await read_message(self._reader, self.receiver.max_frame_bytes)
            if kind in (BINARY, TEXT):
                return payload, kind == TEXT
            if kind == CLOSE and len(payload) >= _CODE.size:
                self.outcome = (_CODE.unpack_from(payload)[0], payload[_CODE.size :].decode(errors="replace"))
        except MessageTooLarge:
            self.close(CLOSE_TOO_LARGE, "Message too large.")
            await self._read_to_the_end()
        except _CONNECTION_LOST:
            # Or closed by this side: the outcome tells.
            pass
        self._writer.close()
        return None

    async def write_frame(self, frame: bytes) -> None:
        write_message(self._writer, TEXT if self.receiver.is_text else BINARY, frame)
        await self._writer.drain()

    async def end(self, code: int, reason: str) -> None:
        self.outcome = (code, reason)
        write_message(self._writer, CLOSE, _CODE.pack(code) + reason.encode())
        await self._writer.drain()

    def cut(self) -> None:
        self._writer.transport.abort()

    async def _read_to_the_end(self) -> None:
        try:
            while await self._reader.read(65_536):
                pass
        except OSError:
            return


class MessageTooLarge(ValueError):
    """Raised before a message that nobody wants is read."""


def write_message(writer: StreamWriter, kind: int, payload: bytes = b"") -> None:
    writer.write(_HEAD.pack(len(payload), kind))
    writer.write(payload)


async def read_message(reader: StreamReader, max_bytes: int) -> tuple[int, bytes]:
    size, kind = _HEAD.unpack(await reader.readexactly(_HEAD.size))
    if size > max_bytes:
        raise MessageTooLarge(f"a message of {size:,} bytes, and {max_bytes:,} is the limit")
    return kind, await reader.readexactly(size)


async def _read_answer(reader: StreamReader) -> Rejection | None:
    kind, answer = await read_message(reader, _MAX_HELLO)
    if kind == REFUSAL and len(answer) >= _CODE.size:
        return Rejection(answer[_CODE.size :].decode(errors="replace"), _CODE.unpack_from(answer)[0])
    if kind != HELLO:
        raise ConnectionError("not a server of ours")
    return None


def _shown(url: str) -> str:
    """Return a URL without its query, where clients prove who they are."""
    return url.partition("?")[0]


def _abort(writer: StreamWriter | None) -> None:
    if writer is not None:
        writer.transport.abort()


class Greeter:
    async def hello(self, name: str) -> str:
        raise NotImplementedError


class GreeterService(Greeter):
    async def hello(self, name: str) -> str:
        return f"Hello, {name}!"


async def main() -> None:
    async with RpcHub(transport=TcpNetwork()) as server, RpcHub(transport=TcpNetwork()) as client:
        server.add_service(Greeter, GreeterService())
        listener = await server.serve("127.0.0.1", 0)
        greeter = client.client(Greeter, listener.url)
        print(listener.url.partition(":")[0], await greeter.hello("TCP"))


if __name__ == "__main__":
    asyncio.run(main())
