"""A spread of declared types, with values of each."""

import enum
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Any, Final, Generic, Literal, NamedTuple, TypedDict, TypeVar
from uuid import UUID

import msgspec
from pydantic import BaseModel, Field

from refusion.rpc import rpc_type

__all__ = ["SAMPLES"]

T = TypeVar("T")


class Point(msgspec.Struct):
    x: int
    y: int = 0
    label: str | None = None


class Pair(msgspec.Struct, array_like=True):
    first: int
    second: list[float] = []


class Circle(msgspec.Struct, tag=True):
    radius: float


class Square(msgspec.Struct, tag=True):
    side: int
    at: Point | None = None


class Node(msgspec.Struct, rename="pascal"):
    value: int
    next: "Node | None" = None
    children: list["Node"] = []


class Box(msgspec.Struct, Generic[T]):
    item: T


@dataclass
class Order:
    items: list[Point]
    paid: Decimal = Decimal(0)
    takes: timedelta = timedelta(0)
    tags: set[str] = field(default_factory=set)


class Person(BaseModel):
    name: str
    age: int = Field(default=0, ge=0)
    photo: bytes = b""
    friends: list["Person"] = []
    waits: timedelta | None = None


class Options(TypedDict, total=False):
    depth: int
    name: str


class Range(NamedTuple):
    start: int
    end: float = 1.0


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 10


class Shape(ABC):
    @abstractmethod
    def area(self) -> float: ...


@rpc_type(name="Fuzzing.Disk, Fuzzing")
@dataclass
class Disk(Shape):
    radius: float

    def area(self) -> float:
        return self.radius


@rpc_type(name="Fuzzing.Tile, Fuzzing")
@dataclass
class Tile(Shape):
    side: int
    names: list[str] = field(default_factory=list)

    def area(self) -> float:
        return self.side


_MOMENT = datetime(2024, 2, 29, 12, 30, 15, 250_000, tzinfo=UTC)

SAMPLES: Final[tuple[tuple[tuple[Any, ...], tuple[Any, ...]], ...]] = (
    ((int, int), (1, -(2**40))),
    ((float,), (0.5,)),
    ((str, bytes), ("ä\n", b"\x00\xff")),
    ((bool, None), (True, None)),
    ((Any,), ({"a": [1, 2.5, None, "x", {}]},)),
    ((Point,), (Point(1, 2, "p"),)),
    ((Pair, list[Pair]), (Pair(1, [0.5]), [Pair(2)])),
    ((Circle | Square | None,), (Square(2, Point(1)),)),
    ((list[Circle | Square],), ([Circle(1.0), Square(3)],)),
    ((Node,), (Node(1, Node(2), [Node(3)]),)),
    ((Box[int], Box[str]), (Box(1), Box("b"))),
    ((Order,), (Order([Point(1)], Decimal("1.50"), timedelta(hours=1), {"a"}),)),
    ((Person,), (Person(name="A", age=3, photo=b"abc", friends=[Person(name="B")], waits=timedelta(seconds=2)),)),
    ((Person | None, int), (None, 1)),
    ((Options,), ({"depth": 1, "name": "n"},)),
    ((Range, tuple[int, ...]), (Range(1, 2.0), (1, 2, 3))),
    ((tuple[int, float | None, str],), ((1, None, "s"),)),
    ((Color, Level, Literal["a", 1]), (Color.RED, Level.HIGH, "a")),
    ((object,), (Disk(1.0),)),
    ((object, int), ([Tile(1), Tile(2, ["n"])], 1)),
    ((Shape,), (Tile(3, ["a", "b"]),)),
    ((Shape | None, list[Shape]), (None, [Disk(1.0), Disk(2.0)])),
    ((list[object],), ([1, 2, 2**40],)),
    ((tuple[Shape | None, ...],), ((Disk(1.0), None),)),
    ((int | str | None,), ("text",)),
    ((int | float, bool | str), (1, True)),
    ((timedelta, timedelta | None), (timedelta(days=-3, microseconds=5), None)),
    ((list[timedelta], dict[str, timedelta]), ([timedelta(1)], {"a": timedelta(2)})),
    ((datetime, date, time), (_MOMENT, date(2024, 2, 29), time(12, 30, 15, 5))),
    ((list[date], time | None), ([date(1, 1, 1), date.max], None)),
    ((Decimal, list[Decimal], dict[str, Decimal | float]), (Decimal("-1.25"), [Decimal(3)], {"a": 0.5})),
    ((UUID,), (UUID(int=2**100),)),
    ((dict[int, bytes], dict[str, list[int]]), ({0: b"\x01", 5: b""}, {"a": [1]})),
    ((set[int], frozenset[str]), ({1, 2}, frozenset({"x"}))),
    ((list[list[dict[str, Any]]],), ([[{"a": 1}], []],)),
    ((Annotated[int, msgspec.Meta(ge=0, le=100)], Annotated[list[int], msgspec.Meta(max_length=3)]), (5, [1])),
    ((msgspec.Raw, str), (msgspec.Raw(b"1"), "s")),
    (
        (
            Point | None,
            list[Order],
            dict[str, Person],
        ),
        (None, [Order([])], {"p": Person(name="P")}),
    ),
)
"""Types of arguments, and values of them."""
