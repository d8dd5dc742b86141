"""A service with methods of every sort, whose calls never fail but in ways that they say."""

import asyncio
from typing import Any

from refusion import compute_method
from refusion.rpc import RpcNoWait, RpcStream, rpc_service

from ._types import Order, Person, Point, Shape

__all__ = ["Service", "ServiceContract"]


@rpc_service(name="IFuzz")
class ServiceContract:
    """What is called."""

    async def add(self, a: int, b: int = 10) -> int:
        raise NotImplementedError

    async def echo(self, data: Any) -> Any:
        raise NotImplementedError

    async def place(self, order: Order, *, is_gift: bool = False, where: Point | None = None) -> Order:
        raise NotImplementedError

    async def greet(self, person: Person) -> Person:
        raise NotImplementedError

    async def draw(self, shape: Shape) -> Shape:
        raise NotImplementedError

    async def wait(self, key: str) -> str:
        raise NotImplementedError

    async def fail(self, text: str) -> None:
        raise NotImplementedError

    async def tell(self, text: str) -> RpcNoWait:
        raise NotImplementedError

    async def count(self, limit: int) -> RpcStream[int]:
        raise NotImplementedError

    async def total(self, numbers: RpcStream[int]) -> int:
        raise NotImplementedError

    @compute_method
    async def get(self, key: str) -> int:
        raise NotImplementedError

    async def touch(self, key: str) -> None:
        raise NotImplementedError


class Service(ServiceContract):
    """Answers."""

    def __init__(self) -> None:
        self.values: dict[str, int] = {}

    async def add(self, a: int, b: int = 10) -> int:
        return a + b

    async def echo(self, data: Any) -> Any:
        await asyncio.sleep(0)
        return data

    async def place(self, order: Order, *, is_gift: bool = False, where: Point | None = None) -> Order:
        return order

    async def greet(self, person: Person) -> Person:
        return person

    async def draw(self, shape: Shape) -> Shape:
        return shape

    async def wait(self, key: str) -> str:
        await asyncio.get_running_loop().create_future()
        return key

    async def fail(self, text: str) -> None:
        raise ValueError(text)

    async def tell(self, text: str) -> RpcNoWait:
        return RpcNoWait()

    async def count(self, limit: int) -> RpcStream[int]:
        items = range(min(limit, 1_000))
        return RpcStream(items, is_real_time=limit % 4 == 1, allow_reconnect=limit % 5 != 2)

    async def total(self, numbers: RpcStream[int]) -> int:
        return sum([number async for number in numbers])

    @compute_method
    async def get(self, key: str) -> int:
        return self.values.get(key, 0)

    async def touch(self, key: str) -> None:
        self.values[key] = self.values.get(key, 0) + 1
        self.get.invalidate(key)
