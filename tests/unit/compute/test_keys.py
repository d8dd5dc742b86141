"""What makes two calls the same call."""

import math
from collections.abc import Hashable
from enum import StrEnum
from typing import Any, NamedTuple

import pytest

from refusion import compute_method
from refusion.compute import UnhashableArgument


class Color(StrEnum):
    RED = "red"


class Point(NamedTuple):
    x: Any
    y: Any


class Echo:
    def __init__(self) -> None:
        self.runs = 0

    @compute_method
    async def echo(self, value: Hashable) -> int:
        self.runs += 1
        return self.runs

    @compute_method
    async def spread(self, a: int, b: int = 2, *rest: int, c: int = 3, **named: int) -> int:
        self.runs += 1
        return self.runs

    @compute_method
    async def pair(self, a: int, b: int = 2) -> int:
        self.runs += 1
        return self.runs

    @compute_method(key=lambda items: tuple(items))
    async def total(self, items: list[int]) -> int:
        self.runs += 1
        return sum(items)


async def test_the_spelling_of_a_call_does_not_matter() -> None:
    echo = Echo()
    await echo.pair(1)
    assert [await echo.pair(1, 2), await echo.pair(1, b=2), await echo.pair(a=1), await echo.pair(b=2, a=1)] == [1] * 4
    assert echo.pair.existing(b=2, a=1) is await echo.pair.capture(1)
    echo.pair.invalidate(b=2, a=1)
    assert await echo.pair(1) == 2


async def test_variable_and_keyword_only_parameters_are_part_of_the_key() -> None:
    echo = Echo()
    first = await echo.spread(1, 2, 4, c=5, x=6, y=7)
    assert await echo.spread(1, 2, 4, y=7, x=6, c=5) == first
    assert await echo.spread(1, 2, 4, c=5, x=6) != first
    assert await echo.spread(1, 2, c=5, x=6, y=7) != first


@pytest.mark.parametrize(
    "values",
    [
        (1, True, 1.0),
        ("red", Color.RED),
        ((1,), (True,), (1.0,), [1] and ((1,),)),
        ((1, 2), Point(1, 2)),
        (frozenset({1}), frozenset({True})),
        (None, 0, "", False, b""),
        (((1,),), ((True,),)),
    ],
    ids=repr,
)
async def test_values_of_different_types_are_different_calls(values: tuple[Hashable, ...]) -> None:
    echo = Echo()
    results = [await echo.echo(value) for value in values]
    assert len(set(results)) == len(values)
    assert [await echo.echo(value) for value in values] == results


async def test_hot_hits_keep_types_apart_too() -> None:
    echo = Echo()
    first = [await echo.echo(1) for _ in range(3)]
    second = [await echo.echo(True) for _ in range(3)]
    assert first == [1] * 3
    assert second == [2] * 3
    assert [await echo.pair(1, 2), await echo.pair(1, 2), await echo.pair(True, 2)] == [3, 3, 4]


async def test_nan_is_one_argument_and_zero_has_no_sign() -> None:
    echo = Echo()
    assert await echo.echo(float("nan")) == await echo.echo(float("nan")) == await echo.echo(math.nan)
    assert await echo.echo((math.nan,)) == await echo.echo((float("nan"),))
    assert await echo.echo(0.0) == await echo.echo(-0.0)


@pytest.mark.parametrize("value", [[1], {"a": 1}, {1}, (1, [2]), bytearray(b"x")], ids=repr)
async def test_an_unhashable_argument_is_named_with_the_way_out(value: Any) -> None:
    with pytest.raises(UnhashableArgument, match=r"'value' of Echo\.echo is an unhashable .* @compute_method\(key="):
        await Echo().echo(value)


async def test_a_key_function_makes_unhashable_arguments_possible() -> None:
    echo = Echo()
    assert await echo.total([1, 2]) == await echo.total([1, 2]) == 3
    assert echo.runs == 1
    echo.total.invalidate([1, 2])
    assert await echo.total([1, 2]) == 3
    assert echo.runs == 2


async def test_a_key_function_that_gives_something_unhashable_is_an_error() -> None:
    class Service:
        @compute_method(key=lambda items: items)
        async def total(self, items: list[int]) -> int:
            return sum(items)

    with pytest.raises(UnhashableArgument):
        await Service().total([1])


async def test_equal_but_distinct_mutable_looking_arguments_share_a_result_by_their_own_equality() -> None:
    echo = Echo()
    assert await echo.echo("a" * 100) == await echo.echo("".join(["a"] * 100))


async def test_every_value_can_be_cached() -> None:
    class Service:
        def __init__(self, value: object) -> None:
            self.value = value
            self.runs = 0

        @compute_method
        async def get(self) -> object:
            self.runs += 1
            return self.value

    for value in (None, 0, "", False, (), {}, NotImplemented):
        service = Service(value)
        assert [await service.get() for _ in range(3)] == [value] * 3
        assert service.runs == 1


async def test_every_caller_gets_the_same_object() -> None:
    class Service:
        @compute_method
        async def get(self) -> list[int]:
            return []

    service = Service()
    assert await service.get() is await service.get()


async def test_arguments_come_back_from_the_input_of_a_computed() -> None:
    echo = Echo()
    computed = await echo.spread.capture(1, 2, 3, c=4, z=5)
    assert computed.input.arguments == (1, 2, (3,), 4, (("z", 5),))
    assert repr(computed.input).startswith("Echo.spread(1, 2, ")
    assert (await echo.pair.capture(1)).input == (await echo.pair.capture(1, 2)).input
    assert hash((await echo.pair.capture(1)).input) == hash((await echo.pair.capture(1, 2)).input)
    assert (await echo.pair.capture(1)).input != (await echo.pair.capture(2)).input
    assert (await echo.pair.capture(1)).input != 5
