"""What can be a compute method, and what is refused with which words."""

import asyncio
import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from refusion import ComputedOptions, compute_method
from refusion.compute import ComputeDeclarationError

from .services import Counters


def test_a_property_is_refused() -> None:
    with pytest.raises(ComputeDeclarationError, match="it is a property"):

        class _Service:
            @compute_method  # type: ignore
            @property
            def get(self) -> int:
                return 1


@pytest.mark.parametrize("wrapper", [staticmethod, classmethod])
def test_static_and_class_methods_are_refused(wrapper: Any) -> None:
    def get(first: int) -> int:
        return first

    with pytest.raises(ComputeDeclarationError, match=f"it is a {wrapper.__name__}"):
        compute_method(wrapper(get))


def test_a_static_method_above_a_compute_method_fails_when_called_and_tells_why() -> None:
    class Service:
        @staticmethod
        @compute_method
        def get(key: int) -> int:
            return key

    with pytest.raises(ComputeDeclarationError, match="below @staticmethod"):
        Service.get(1)


def test_generators_are_refused() -> None:
    def numbers() -> Iterator[int]:
        yield 1

    async def later() -> AsyncIterator[int]:
        yield 1

    for function in (numbers, later):
        with pytest.raises(ComputeDeclarationError, match="generator"):
            compute_method(function)


@pytest.mark.parametrize("thing", [int, 5, "text", Counters], ids=repr)
def test_what_is_no_function_is_refused(thing: Any) -> None:
    with pytest.raises(ComputeDeclarationError, match="isn't a function"):
        compute_method(thing)


def test_decorating_twice_is_refused() -> None:
    with pytest.raises(ComputeDeclarationError, match="one already"):

        class _Service:
            @compute_method
            @compute_method
            def get(self) -> int:
                return 1


def test_a_method_without_self_is_refused() -> None:
    with pytest.raises(ComputeDeclarationError, match="no parameter for the instance"):

        class _Service:
            @compute_method
            def get() -> int:  # type: ignore
                return 1


@pytest.mark.parametrize("value", [-1, -0.5, math.nan])
def test_negative_and_nan_options_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match="min_cache_duration must be zero or more seconds"):
        compute_method(min_cache_duration=value)


@pytest.mark.parametrize("value", ["1", True, object()], ids=repr)
def test_options_that_are_no_numbers_are_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="must be a number of seconds"):
        ComputedOptions(keep_alive=value)


def test_a_comparer_without_a_delay_is_refused() -> None:
    with pytest.raises(TypeError, match="needs a consolidation_delay"):
        compute_method(consolidation_comparer=lambda a, b: True)


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(TypeError, match="unexpected keyword"):
        compute_method(colour="red")  # type: ignore


def test_frameworks_see_coroutine_functions() -> None:
    counters = Counters()
    for function in (counters.get, Counters.get):
        assert inspect.iscoroutinefunction(function)
        assert asyncio.iscoroutinefunction(function)
    for function in (counters.size, Counters.size):
        assert not inspect.iscoroutinefunction(function)
        assert not asyncio.iscoroutinefunction(function)


def test_signature_and_names_are_those_of_the_method() -> None:
    method = Counters().total
    assert str(inspect.signature(method)) == "(a: str, b: str = 'b') -> int"
    assert method.__name__ == "total"
    assert method.__qualname__ == "Counters.total"
    assert Counters.total.__name__ == "total"
    assert repr(Counters.total) == "<ComputeMethod Counters.total>"


async def test_wrong_arguments_are_a_type_error_as_for_any_function() -> None:
    counters = Counters()
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        counters.get()  # type: ignore
    with pytest.raises(TypeError, match="unexpected keyword argument"):
        counters.get("a", nope=1)  # type: ignore
    with pytest.raises(TypeError):
        counters.get.invalidate("a", "b")  # type: ignore


async def test_parameter_kinds_are_kept() -> None:
    class Service:
        @compute_method
        async def get(self, a: int, /, b: int, *, c: int = 3) -> tuple[int, int, int]:
            return a, b, c

        @compute_method
        async def first(self, a: int, /) -> int:
            return a

    service = Service()
    assert await service.get(1, b=2) == (1, 2, 3)
    assert await service.get(1, 2, c=4) == (1, 2, 4)
    assert await service.first(5) == 5
    with pytest.raises(TypeError):
        service.get(a=1, b=2)  # type: ignore
    with pytest.raises(TypeError):
        service.get(1, 2, 3)  # type: ignore


async def test_functions_can_be_compute_methods() -> None:
    runs: list[int] = []

    @compute_method
    async def double(value: int) -> int:
        runs.append(value)
        return value * 2

    @compute_method
    def triple(value: int) -> int:
        runs.append(value)
        return value * 3

    assert [await double(2), await double(2), triple(3), triple(3)] == [4, 4, 9, 9]
    assert runs == [2, 3]
    double.invalidate(2)
    assert await double(2) == 4
    assert runs == [2, 3, 2]


def test_abstract_compute_methods_keep_a_class_abstract() -> None:
    class Base(ABC):
        @compute_method
        @abstractmethod
        async def get(self) -> int: ...

    with pytest.raises(TypeError, match="abstract"):
        Base()  # type: ignore

    class Derived(Base):
        async def get(self) -> int:
            return 1

    Derived()


def test_a_compute_method_can_not_be_assigned() -> None:
    counters = Counters()
    with pytest.raises(AttributeError, match=r"Counters\.get is a compute method and can't be assigned"):
        counters.get = None  # type: ignore


@pytest.mark.parametrize("make", [lambda: (x for x in "a"), lambda: asyncio.sleep(0)], ids=["generator", "coroutine"])
async def test_a_result_that_can_be_used_only_once_is_refused(make: Any) -> None:
    class Service:
        @compute_method
        async def get(self) -> Any:
            return make()

        @compute_method
        def now(self) -> Any:
            return make()

    service = Service()
    with pytest.raises(TypeError, match="can be used only once"):
        await service.get()
    with pytest.raises(TypeError, match="can be used only once"):
        service.now()
