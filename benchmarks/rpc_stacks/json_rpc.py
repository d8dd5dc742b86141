"""JSON-RPC over WebSocket as one writes it by hand: a table of futures by id, a task per call, a frame per message.

The JSON is that of msgspec, the fastest there is. There is no batching, no cancellation, no reconnecting, and no
limits. Values are plain ones: structs arrive as dicts.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from typing import Any, Final

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from . import _cases
from ._stack import Client, Stack

__all__ = ["create"]

_encode: Final = msgspec.json.Encoder().encode
_OPTIONS: Final[dict[str, Any]] = {"compression": None, "ping_interval": None, "max_size": 1 << 24}


class _Request(msgspec.Struct):
    id: int
    method: str
    params: list[Any]


class _Response(msgspec.Struct):
    id: int
    result: Any = None
    error: str | None = None
    is_item: bool = False


_decode_request: Final = msgspec.json.Decoder(_Request).decode
_decode_response: Final = msgspec.json.Decoder(_Response).decode


async def _echo(value: Any) -> Any:
    return value


_HANDLERS: Final[dict[str, Callable[..., Awaitable[Any]]]] = {
    "add": _cases.add,
    "add_later": _cases.add_later,
    "item": _echo,
    "items": _echo,
}


async def _serve(connection: ServerConnection) -> None:
    tasks: set[asyncio.Task[None]] = set()

    async def answer(request: _Request) -> None:
        try:
            if request.method == "count":
                async for number in _cases.count(*request.params):
                    await connection.send(_encode(_Response(request.id, number, is_item=True)), text=True)
                result = None
            else:
                result = await _HANDLERS[request.method](*request.params)
            response = _Response(request.id, result)
        except Exception as error:
            response = _Response(request.id, error=repr(error))
        await connection.send(_encode(response), text=True)

    with contextlib.suppress(ConnectionClosed):
        async for frame in connection:
            task = asyncio.create_task(answer(_decode_request(frame)))
            tasks.add(task)
            task.add_done_callback(tasks.discard)


class _Client(Client):
    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._futures: dict[int, asyncio.Future[Any]] = {}
        self._streams: dict[int, asyncio.Queue[_Response]] = {}
        self._last_id = 0
        self._loop = asyncio.get_running_loop()
        self._reader = asyncio.create_task(self._read())

    def method(self, case: str) -> Callable[..., Awaitable[Any]]:
        async def call(*args: Any) -> Any:
            return await self._call(case, args)

        return call

    async def count(self, n: int) -> AsyncIterable[int]:
        return self._numbers_below(n)

    async def _numbers_below(self, n: int) -> AsyncIterator[int]:
        call_id = self._new_id()
        items = self._streams[call_id] = asyncio.Queue()
        await self._connection.send(_encode(_Request(call_id, "count", [n])), text=True)
        while (item := await items.get()).is_item:
            yield item.result
        del self._streams[call_id]

    async def _call(self, method: str, args: tuple[Any, ...]) -> Any:
        call_id = self._new_id()
        future = self._futures[call_id] = self._loop.create_future()
        await self._connection.send(_encode({"id": call_id, "method": method, "params": args}), text=True)
        return await future

    def _new_id(self) -> int:
        self._last_id += 1
        return self._last_id

    async def _read(self) -> None:
        async for frame in self._connection:
            response = _decode_response(frame)
            stream = self._streams.get(response.id)
            if stream is not None:
                stream.put_nowait(response)
                continue
            future = self._futures.pop(response.id)
            if response.error is None:
                future.set_result(response.result)
            else:
                future.set_exception(RuntimeError(response.error))


class _JsonRpc(Stack):
    about = "hand-written JSON-RPC on websockets: futures by id, a task per call, msgspec's JSON, no batching; dicts"

    async def serve(self) -> str:
        self._server = await serve(_serve, "127.0.0.1", 0, **_OPTIONS)
        return f"ws://127.0.0.1:{next(iter(self._server.sockets)).getsockname()[1]}"

    async def connect(self, url: str) -> Client:
        return _Client(await connect(url, **_OPTIONS))


def create(name: str) -> Stack:
    return _JsonRpc()
