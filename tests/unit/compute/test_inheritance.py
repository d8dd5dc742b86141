"""Compute methods in class hierarchies, and on services of every make."""

import copy
from dataclasses import dataclass, field

import pytest

from refusion import compute_method
from refusion.compute import ComputeDeclarationError

from .services import Counters


class Base:
    def __init__(self) -> None:
        self.value = 1

    @compute_method(min_cache_duration=7)
    async def get(self, key: str) -> int:
        return self.value


async def test_an_override_is_a_compute_method_with_the_same_options() -> None:
    class Derived(Base):
        runs = 0

        async def get(self, key: str) -> int:
            Derived.runs += 1
            return self.value * 10

    derived = Derived()
    assert [await derived.get("a"), await derived.get("a")] == [10, 10]
    assert Derived.runs == 1
    assert (await derived.get.capture("a")).options.min_cache_duration == 7


async def test_an_override_with_its_own_decorator_has_its_own_options() -> None:
    class Derived(Base):
        @compute_method(min_cache_duration=3)
        async def get(self, key: str) -> int:
            return 2

    assert (await Derived().get.capture("a")).options.min_cache_duration == 3
    assert (await Base().get.capture("a")).options.min_cache_duration == 7


async def test_super_calls_the_base_method_whose_dependencies_count() -> None:
    class Derived(Base):
        async def get(self, key: str) -> int:
            return await super().get(key) + 100

    derived = Derived()
    assert await derived.get("a") == 101
    derived.value = 2
    super(Derived, derived).get.invalidate("a")
    assert await derived.get("a") == 102


def test_an_override_of_the_other_color_is_refused() -> None:
    with pytest.raises(ComputeDeclarationError, match="it must be `async def`, too"):

        class _Derived(Base):
            def get(self, key: str) -> int:  # type: ignore
                return 1


async def test_a_hook_of_the_class_for_its_subclasses_still_runs() -> None:
    seen: list[str] = []

    class Hooked:
        def __init_subclass__(cls, tag: str = "", **kwargs: object) -> None:
            super().__init_subclass__(**kwargs)
            seen.append(f"{cls.__name__} {tag}")

        @compute_method
        async def get(self) -> int:
            return 1

    class Derived(Hooked, tag="x"):
        async def get(self) -> int:
            return 2

    assert seen == ["Derived x"]
    assert hasattr(Derived().get, "invalidate")


async def test_instances_are_independent() -> None:
    one, two = Counters(), Counters()
    one.set("a", 1)
    assert [await one.get("a"), await two.get("a")] == [1, 0]
    assert await one.get.capture("a") is not await two.get.capture("a")


async def test_a_copy_is_a_service_of_its_own() -> None:
    original = Counters()
    assert await original.get("a") == 0
    for clone in (copy.copy(original), copy.deepcopy(original)):
        clone.values = {"a": 5}
        assert await clone.get("a") == 5
        assert await original.get("a") == 0


async def test_a_method_can_be_called_through_its_class() -> None:
    counters = Counters()
    assert await Counters.get(counters, "a") == 0
    assert await counters.get("a") == 0
    assert counters.log == ["get(a)"]


@dataclass
class Unhashable:
    value: int = 1
    runs: list[str] = field(default_factory=list)

    @compute_method
    async def get(self) -> int:
        self.runs.append("get")
        return self.value


@dataclass(frozen=True)
class EqualByValue:
    value: int = 1

    @compute_method
    async def get(self) -> object:
        return object()


@dataclass(slots=True, weakref_slot=True)
class SlotsDataclass:
    value: int = 1

    @compute_method
    async def get(self) -> int:
        return self.value


class Slots:
    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 1

    @compute_method
    async def get(self) -> int:
        return self.value


class AlwaysEqual:
    def __init__(self, value: int) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 1

    @compute_method
    async def get(self) -> int:
        return self.value


async def test_a_service_that_is_not_hashable_works() -> None:
    one, two = Unhashable(), Unhashable()
    assert [await one.get(), await one.get(), await two.get()] == [1, 1, 1]
    assert (one.runs, two.runs) == (["get"], ["get"])


async def test_equal_services_do_not_share_results() -> None:
    assert await EqualByValue().get() is not await EqualByValue().get()
    assert [await AlwaysEqual(1).get(), await AlwaysEqual(2).get()] == [1, 2]


@pytest.mark.parametrize("kind", [Slots, SlotsDataclass])
async def test_a_service_with_slots_works(kind: type[Slots]) -> None:
    service = kind()
    assert [await service.get(), await service.get()] == [1, 1]
    service.value = 2
    service.get.invalidate()
    assert await service.get() == 2


async def test_a_subclass_with_equality_of_its_own_works_after_its_base_was_used() -> None:
    class Plain:
        @compute_method
        async def get(self) -> int:
            return 1

    plain = Plain()
    assert [await plain.get() for _ in range(3)] == [1, 1, 1]

    @dataclass
    class Derived(Plain):
        value: int = 5

        async def get(self) -> int:
            return await super().get() + self.value

    assert [await Derived().get(), await Derived(6).get(), await plain.get()] == [6, 7, 1]


async def test_a_bound_method_keeps_its_service_alive() -> None:
    get = Counters().get
    assert await get("a") == 0
