"""refusion itself: on picows, on websockets, and with JSON on the wire."""

from collections.abc import AsyncIterable, Awaitable, Callable
from typing import Any, Final

from refusion.rpc import RpcHub, RpcStream

from . import _cases
from ._cases import Item
from ._stack import Client, Stack

__all__ = ["create"]


class Calculator:
    """The contract."""

    async def add(self, a: int, b: int) -> int:
        raise NotImplementedError

    async def add_later(self, a: int, b: int) -> int:
        raise NotImplementedError

    async def item(self, item: Item) -> Item:
        raise NotImplementedError

    async def items(self, items: list[Item]) -> list[Item]:
        raise NotImplementedError

    async def count(self, n: int) -> RpcStream[int]:
        raise NotImplementedError


class CalculatorService(Calculator):
    async def add(self, a: int, b: int) -> int:
        return a + b

    async def add_later(self, a: int, b: int) -> int:
        return await _cases.add_later(a, b)

    async def item(self, item: Item) -> Item:
        return item

    async def items(self, items: list[Item]) -> list[Item]:
        return items

    async def count(self, n: int) -> RpcStream[int]:
        return RpcStream(_cases.count(n))


class _Client(Client):
    def __init__(self, hub: RpcHub, url: str) -> None:
        self._hub = hub
        self._calculator = hub.client(Calculator, url)

    def method(self, case: str) -> Callable[..., Awaitable[Any]]:
        method: Callable[..., Awaitable[Any]] = getattr(self._calculator, case)
        return method

    async def count(self, n: int) -> AsyncIterable[int]:
        return await self._calculator.count(n)


class _Refusion(Stack):
    def __init__(self, transport: str, wire_format: str) -> None:
        self.about = f"{wire_format} on {transport}; one connection, structs arrive as objects"
        self._transport = transport
        self._format = wire_format

    async def serve(self) -> str:
        self._hub = RpcHub(transport=self._transport)
        self._hub.add_service(Calculator, CalculatorService())
        return (await self._hub.serve()).url

    async def connect(self, url: str) -> Client:
        return _Client(RpcHub(transport=self._transport, format=self._format), url)


_KINDS: Final = {
    "refusion": ("picows", "msgpack6c"),
    "refusion-websockets": ("websockets", "msgpack6c"),
    "refusion-json": ("picows", "json5np"),
}


def create(name: str) -> Stack:
    return _Refusion(*_KINDS[name])
