"""grpc.aio with generic handlers. Messages are as compact as those of Protocol Buffers, and coded as fast."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from typing import Any, Final

import grpc
import msgspec
from grpc import aio

from . import _cases
from ._cases import CASES, ITEM, ITEMS, CompactItem, Item
from ._stack import Client, Stack

__all__ = ["create"]

_SERVICE: Final = "benchmark.Calculator"
_encode: Final = msgspec.msgpack.Encoder().encode


def _decoder(kind: Any) -> Callable[[bytes], Any]:
    return msgspec.msgpack.Decoder(kind).decode


_REQUESTS: Final = {
    "add": _decoder(tuple[int, int]),
    "add_later": _decoder(tuple[int, int]),
    "item": _decoder(CompactItem),
    "items": _decoder(list[CompactItem]),
}
_RESPONSES: Final = _REQUESTS | {"add": _decoder(int), "add_later": _decoder(int)}


async def _add(request: tuple[int, int], context: Any) -> int:
    return await _cases.add(*request)


async def _add_later(request: tuple[int, int], context: Any) -> int:
    return await _cases.add_later(*request)


async def _echo(request: Any, context: Any) -> Any:
    return request


async def _count(request: int, context: Any) -> AsyncIterator[int]:
    async for number in _cases.count(request):
        yield number


_HANDLERS: Final[dict[str, Any]] = {"add": _add, "add_later": _add_later, "item": _echo, "items": _echo}


class _Client(Client):
    def __init__(self, url: str) -> None:
        self._channel = aio.insecure_channel(url)
        self._calls: dict[str, Any] = {
            name: self._channel.unary_unary(f"/{_SERVICE}/{name}", _encode, decode)
            for name, decode in _RESPONSES.items()
        }
        self._count: Any = self._channel.unary_stream(f"/{_SERVICE}/count", _encode, _decoder(int))

    def method(self, case: str) -> Callable[..., Awaitable[Any]]:
        call: Callable[..., Awaitable[Any]] = self._calls[case]
        return (lambda *args: call(args)) if case.startswith("add") else call

    def arguments(self, case: str) -> tuple[Any, ...]:
        return {"item": (_compact(ITEM),), "items": ([_compact(item) for item in ITEMS],)}.get(case, CASES[case].args)

    async def count(self, n: int) -> AsyncIterable[int]:
        numbers: AsyncIterable[int] = self._count(n)
        return numbers


class _Grpc(Stack):
    about = "one channel; MessagePack without field names in the place of Protocol Buffers, structs arrive as objects"

    async def serve(self) -> str:
        self._server = aio.server()
        methods: dict[str, Any] = {
            name: grpc.unary_unary_rpc_method_handler(handler, _REQUESTS[name], _encode)
            for name, handler in _HANDLERS.items()
        }
        methods["count"] = grpc.unary_stream_rpc_method_handler(_count, _decoder(int), _encode)
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, methods),))
        port = self._server.add_insecure_port("127.0.0.1:0")
        await self._server.start()
        return f"127.0.0.1:{port}"

    async def connect(self, url: str) -> Client:
        return _Client(url)


def _compact(item: Item) -> CompactItem:
    return CompactItem(item.id, item.name, item.city, item.is_active, item.score, item.tags)


class _GrpcOnAsyncio(_Grpc):
    about = "as grpc.aio-uvloop, on the loop of asyncio that it is made for; the budgets were set against this one"
    loop_factory = staticmethod(asyncio.new_event_loop)


def create(name: str) -> Stack:
    return _Grpc() if name == "grpc.aio-uvloop" else _GrpcOnAsyncio()
