"""No RPC at all: picows sends a frame of the size of a call back. What a round trip costs at least."""

import asyncio
from collections.abc import AsyncIterable, Awaitable, Callable
from typing import Any, Final

from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect, ws_create_server

from ._cases import Case
from ._stack import Client, Stack

__all__ = ["create"]

_FRAME: Final = bytes(12)


class _Server(WSListener):
    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type is WSMsgType.BINARY:
            transport.send(WSMsgType.BINARY, frame.get_payload_as_bytes())
        elif frame.msg_type is WSMsgType.CLOSE:
            transport.disconnect()


class _Listener(WSListener):
    def __init__(self) -> None:
        self.future: asyncio.Future[bytes] | None = None

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if self.future is not None:
            self.future.set_result(frame.get_payload_as_bytes())


class _Client(Client):
    def __init__(self, transport: WSTransport, listener: _Listener) -> None:
        self._transport = transport
        self._listener = listener

    def method(self, case: str) -> Callable[..., Awaitable[Any]]:
        loop = asyncio.get_running_loop()
        send, listener = self._transport.send, self._listener

        async def call(a: int, b: int) -> int:
            future = listener.future = loop.create_future()
            send(WSMsgType.BINARY, _FRAME)
            await future
            return a + b

        return call

    async def count(self, n: int) -> AsyncIterable[int]:
        raise NotImplementedError


class _Echo(Stack):
    about = "a bare echo of 12 bytes on picows, one at a time: the floor of a round trip"
    has_stream = False

    async def serve(self) -> str:
        self._server = await ws_create_server(lambda request: _Server(), "127.0.0.1", 0)
        return f"ws://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def connect(self, url: str) -> Client:
        transport, listener = await ws_connect(_Listener, url)
        assert isinstance(listener, _Listener)
        return _Client(transport, listener)

    def has(self, case: Case, concurrency: int) -> bool:
        return case.name == "add" and concurrency == 1


def create(name: str) -> Stack:
    return _Echo()
