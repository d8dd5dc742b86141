"""python-socketio over WebSocket: a call is an event with an acknowledgement."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec
import socketio

from . import _cases
from ._stack import Client, Stack
from ._uvicorn import serve_asgi

__all__ = ["create"]

_END = -1


async def _echo(value: Any) -> Any:
    return value


class _Client(Client):
    def __init__(self) -> None:
        self._client = socketio.AsyncClient()
        self._numbers: asyncio.Queue[int] = asyncio.Queue()
        self._client.on("number", self._numbers.put_nowait)

    async def connect(self, url: str) -> None:
        await self._client.connect(url, transports=["websocket"])

    def method(self, case: str) -> Callable[..., Awaitable[Any]]:
        call = self._client.call
        if case.startswith("add"):
            return lambda *args: call(case, args)
        return lambda value: call(case, value)

    def arguments(self, case: str) -> tuple[Any, ...]:
        arguments: tuple[Any, ...] = msgspec.to_builtins(super().arguments(case))
        return arguments

    async def count(self, n: int) -> AsyncIterable[int]:
        return self._numbers_below(n)

    async def _numbers_below(self, n: int) -> AsyncIterator[int]:
        await self._client.emit("count", n)
        while (number := await self._numbers.get()) != _END:
            yield number


class _SocketIo(Stack):
    about = "python-socketio under uvicorn, WebSocket only: `call` with an acknowledgement, a stream is events; dicts"

    async def serve(self) -> str:
        server = socketio.AsyncServer(async_mode="asgi", max_http_buffer_size=1 << 24)

        def handle(name: str, function: Callable[..., Awaitable[Any]]) -> None:
            async def handler(sid: str, *args: Any) -> Any:
                return await function(*args)

            server.on(name, handler)

        async def count(sid: str, n: int) -> None:
            async for number in _cases.count(n):
                await server.emit("number", number, to=sid)
            await server.emit("number", _END, to=sid)

        for name, function in (("add", _cases.add), ("add_later", _cases.add_later), ("item", _echo), ("items", _echo)):
            handle(name, function)
        server.on("count", count)
        return f"http://127.0.0.1:{await serve_asgi(socketio.ASGIApp(server))}"

    async def connect(self, url: str) -> Client:
        client = _Client()
        await client.connect(url)
        return client


def create(name: str) -> Stack:
    return _SocketIo()
