"""What a call of a compute method returns: a full coroutine, finished already when it can be."""

import asyncio
import gc
import warnings
from collections.abc import Coroutine
from typing import Any

import pytest

from refusion import compute_method, invalidating
from refusion.compute._awaitables import Finished

from .services import Counters


class Failing:
    @compute_method
    async def get(self) -> int:
        raise ValueError("no")


async def warm() -> Counters:
    counters = Counters()
    await counters.get("a")
    await counters.get("a")
    return counters


def test_every_call_is_a_coroutine_to_the_abc() -> None:
    async def check() -> None:
        counters = await warm()
        with pytest.raises(ValueError):
            await Failing().get()
        with invalidating():
            scoped = counters.get("nothing")
        miss = counters.get("b")
        for call in (counters.get("a"), scoped, miss):
            assert isinstance(call, Coroutine)
            assert asyncio.iscoroutine(call)
            assert not asyncio.isfuture(call)
        await miss

    asyncio.run(check())


@pytest.mark.parametrize("key", ["a", "cold"], ids=["hit", "miss"])
async def test_asyncio_takes_a_call_everywhere(key: str) -> None:
    counters = await warm()

    async with asyncio.TaskGroup() as tasks:
        grouped = tasks.create_task(counters.get(key))
    assert grouped.result() == 0
    counters = await warm()
    assert await asyncio.create_task(counters.get(key)) == 0
    counters = await warm()
    assert await asyncio.gather(counters.get(key), counters.get(key)) == [0, 0]
    counters = await warm()
    assert await asyncio.wait_for(counters.get(key), 5) == 0
    counters = await warm()
    assert await asyncio.shield(counters.get(key)) == 0
    counters = await warm()
    assert await asyncio.ensure_future(counters.get(key)) == 0


async def test_the_same_hit_may_be_awaited_many_times() -> None:
    counters = await warm()
    hit = counters.get("a")
    assert [await hit, await hit] == [0, 0]
    assert await asyncio.gather(hit, hit) == [0, 0]
    assert counters.get("a") is hit


async def test_a_hit_lets_no_other_task_run_in_between() -> None:
    counters = await warm()
    ran: list[int] = []
    asyncio.get_running_loop().call_soon(ran.append, 1)
    assert await counters.get("a") == 0
    assert ran == []


async def test_a_dropped_hit_is_silent_and_a_dropped_miss_warns() -> None:
    counters = await warm()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        counters.get("a")
        with invalidating():
            counters.get("z")
        gc.collect()
        assert caught == []
        counters.get("never")
        gc.collect()
        assert "was never awaited" in str(caught[0].message)
    assert counters.get.existing("never") is None


async def test_a_cached_error_is_a_finished_call_too() -> None:
    failing = Failing()
    with pytest.raises(ValueError):
        await failing.get()
    call = failing.get()
    assert isinstance(call, Finished)
    for _ in range(2):
        with pytest.raises(ValueError, match="no"):
            await call
    assert isinstance((await asyncio.gather(call, return_exceptions=True))[0], ValueError)


async def test_finished_calls_can_be_stepped_by_hand() -> None:
    counters = await warm()
    with invalidating():
        scoped: Any = counters.get("nothing")
    for call in (counters.get("a"), scoped):
        with pytest.raises(StopIteration):
            call.send(None)
        with pytest.raises(KeyError):
            call.throw(KeyError())
        call.close()
    with pytest.raises(StopIteration):
        next(iter(scoped))


def test_a_hit_is_good_in_every_loop() -> None:
    counters = Counters()

    async def call() -> int:
        await counters.get("a")
        return await asyncio.gather(counters.get("a")) and await counters.get("a")

    assert [asyncio.run(call()) for _ in range(3)] == [0, 0, 0]
    assert counters.log == ["get(a)"]
