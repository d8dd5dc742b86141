"""Isolation, capture, lookup: what a call means where it is made."""

import asyncio
import contextvars
import gc
from collections.abc import AsyncIterator

import pytest

from refusion import Computed, compute_method, invalidate, invalidating, is_invalidating, isolated
from refusion.compute import ComputeModeError, NothingCaptured
from refusion.testing import settle

from .services import Counters


class Parent:
    def __init__(self) -> None:
        self.counters = Counters()

    @compute_method
    async def isolated_call(self) -> int:
        with isolated():
            assert Computed.current() is None
            return await self.counters.get("a")

    @compute_method
    async def called_inside_awaited_outside(self) -> int:
        with isolated():
            call = self.counters.get("a")
        return await call

    @compute_method
    async def called_outside_awaited_inside(self) -> int:
        call = self.counters.get("a")
        with isolated():
            return await call

    @compute_method
    async def around(self) -> int:
        with isolated():
            await self.counters.get("a")
        return await self.counters.get("b")

    @compute_method
    async def captured(self) -> int:
        return (await self.counters.get.capture("a")).value


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("isolated_call", 0),
        ("called_inside_awaited_outside", 0),
        ("called_outside_awaited_inside", 1),
        ("around", 1),
        ("captured", 0),
    ],
)
@pytest.mark.parametrize("is_hit", [False, True], ids=["miss", "hit"])
async def test_the_context_in_force_when_the_call_is_made_decides(name: str, count: int, is_hit: bool) -> None:
    parent = Parent()
    if is_hit:
        await parent.counters.get("a")
        await parent.counters.get("a")
    computed = await getattr(parent, name).capture()
    assert len(computed.dependencies) == count


async def test_nested_computations_in_isolation_track_their_own_dependencies() -> None:
    counters = Counters()

    class Service:
        @compute_method
        async def get(self) -> int:
            with isolated():
                return await counters.total("a")

    await Service().get()
    total = counters.total.existing("a")
    assert total is not None
    assert len(total.dependencies) == 2


async def test_current_is_the_running_computation_which_capture_returns() -> None:
    seen: list[Computed[int] | None] = []

    class Service:
        @compute_method
        async def get(self) -> int:
            seen.append(Computed.current())
            return 1

    assert Computed.current() is None
    computed = await Service().get.capture()
    assert seen == [computed]


async def test_capture_takes_the_last_call_that_was_made_outside_of_bodies() -> None:
    counters = Counters()

    async def both() -> None:
        await counters.get("x")
        await counters.total("a", "b")

    computed = await Computed.capture(both)
    assert computed is counters.total.existing("a", "b")
    assert await Computed.capture(counters.get, "x") is counters.get.existing("x")
    assert await Computed.capture(counters.size) is counters.size.existing()


async def test_capture_without_a_compute_call_is_an_error_and_try_capture_gives_none() -> None:
    async def nothing() -> int:
        return 1

    async def failing() -> int:
        raise ValueError("mine")

    with pytest.raises(NothingCaptured, match="nothing called no compute method"):
        await Computed.capture(nothing)
    assert await Computed.try_capture(nothing) is None
    with pytest.raises(ValueError, match="mine"):
        await Computed.try_capture(failing)


async def test_a_captured_error_is_returned_and_a_producers_own_error_raised() -> None:
    class Service:
        @compute_method
        async def get(self) -> int:
            raise ValueError("computed")

        @compute_method
        async def fine(self) -> int:
            return 1

    service = Service()

    async def fails_after() -> None:
        await service.fine()
        raise KeyError("own")

    computed = await Computed.capture(service.get)
    assert isinstance(computed.error, ValueError)
    assert await service.get.capture() is computed
    with pytest.raises(KeyError):
        await Computed.capture(fails_after)


async def test_existing_never_computes() -> None:
    counters = Counters()
    assert counters.get.existing("a") is None
    assert Computed.existing(counters.get, "a") is None
    assert counters.log == []
    computed = await counters.get.capture("a")
    assert counters.get.existing("a") is computed
    assert Computed.existing(counters.get, "a") is computed

    async def indirectly() -> int:
        return await counters.get("a")

    assert Computed.existing(indirectly) is computed
    assert counters.log == ["get(a)"]


async def test_existing_finds_a_running_computation() -> None:
    counters = Counters()
    task = asyncio.create_task(counters.total("a"))
    await asyncio.sleep(0)
    await task
    existing = counters.total.existing("a")
    assert existing is not None


async def test_existing_refuses_a_function_that_waits_for_other_things() -> None:
    async def waits() -> None:
        await asyncio.sleep(0)

    with pytest.raises(TypeError, match="waits for something other"):
        Computed.existing(waits)
    with pytest.raises(TypeError, match="waits for something other"):
        invalidate(waits)


async def test_use_is_refused_where_nothing_is_computed_and_update_is_not() -> None:
    counters = Counters()
    computed = await counters.get.capture("a")
    with invalidating():
        with pytest.raises(ComputeModeError):
            computed.use()
        assert await computed.update() is computed


async def test_scopes_nest_and_restore_also_after_an_error() -> None:
    assert not is_invalidating()
    with pytest.raises(ValueError), invalidating():
        with isolated():
            assert not is_invalidating()
        assert is_invalidating()
        raise ValueError
    assert not is_invalidating()


async def test_a_scope_that_leaks_into_a_task_is_inert_once_left() -> None:
    counters = Counters()
    go = asyncio.Event()

    async def later() -> tuple[bool, int]:
        await go.wait()
        return is_invalidating(), await counters.get("a")

    with invalidating():
        task = asyncio.create_task(later())
        await settle()
    go.set()
    assert await task == (False, 0)
    assert counters.log == ["get(a)"]


async def test_a_computation_that_leaks_into_a_task_is_neither_captured_nor_pinned() -> None:
    counters = Counters()
    go = asyncio.Event()
    tasks: list[asyncio.Task[int]] = []

    async def later() -> int:
        await go.wait()
        assert Computed.current() is None
        return await counters.get("a")

    class Service:
        @compute_method
        async def get(self) -> int:
            tasks.append(asyncio.create_task(later()))
            return 1

    computed = await Service().get.capture()
    go.set()
    assert await tasks[0] == 0
    assert computed.dependencies == ()


def test_a_scope_may_be_left_in_a_foreign_context() -> None:
    scope = isolated()
    contextvars.copy_context().run(scope.__enter__)
    scope.__exit__(None, None, None)
    assert Computed.current() is None


async def test_a_generator_closed_elsewhere_may_hold_a_scope() -> None:
    async def numbers() -> AsyncIterator[int]:
        with isolated():
            yield 1
            yield 2

    generator = numbers()
    await asyncio.create_task(generator.__anext__())  # type: ignore
    await generator.aclose()  # type: ignore
    gc.collect()


def test_a_scope_object_is_for_one_with_at_a_time() -> None:
    scope = isolated()
    with scope, pytest.raises(RuntimeError, match="in use already"), scope:
        pass
    with scope:
        pass
