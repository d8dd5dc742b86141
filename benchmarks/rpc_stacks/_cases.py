"""What every stack has to do: the calls, their arguments, and the handlers behind them."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final

import msgspec

__all__ = ["CASES", "ITEM", "ITEMS", "Case", "CompactItem", "Item", "add", "add_later", "count"]


class Item(msgspec.Struct):
    """A small value, as its users would declare it."""

    id: int
    name: str
    city: str
    is_active: bool
    score: float
    tags: list[str]


class CompactItem(Item, array_like=True):
    """The same without the names of its fields on the wire, as Protocol Buffers would have it."""


ITEM: Final = Item(42, "Ada Lovelace", "London", True, 99.5, ["math", "engines", "poetry"])
ITEMS: Final = [Item(number, f"name {number}", "London", True, number / 2, ["a", "b"]) for number in range(100)]


@dataclass(frozen=True, slots=True)
class Case:
    """A call that is measured."""

    name: str
    title: str
    args: tuple[Any, ...]
    result: Any


CASES: Final = {
    case.name: case
    for case in (
        Case("add", "add(int, int); the handler has no await", (20, 22), 42),
        Case("add_later", "add(int, int); the handler awaits once", (20, 22), 42),
        Case("item", "a struct of six fields there and back", (ITEM,), ITEM),
        Case("items", "a list of 100 such structs there and back", (ITEMS,), ITEMS),
    )
}


async def add(a: int, b: int) -> int:
    return a + b


async def add_later(a: int, b: int) -> int:
    await asyncio.sleep(0)
    return a + b


async def count(n: int) -> AsyncIterator[int]:
    for number in range(n):
        yield number
