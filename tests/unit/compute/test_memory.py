"""What is kept alive, by whom, and for how long."""

import asyncio
import gc
import weakref
from collections.abc import Iterator

import pytest

from refusion import Computed, collect, compute_method, registry
from refusion.testing import VirtualClock

from .services import Counters


@pytest.fixture
def clock() -> Iterator[VirtualClock]:
    collect()
    with VirtualClock() as clock:
        yield clock
        collect()


async def test_two_calls_in_a_row_hit_though_nobody_holds_anything() -> None:
    counters = Counters()
    await counters.get("a")
    gc.collect()
    await counters.get("a")
    assert counters.log == ["get(a)"]


async def test_a_result_that_nobody_holds_is_free_once_the_keep_alive_is_over() -> None:
    counters = Counters()
    ref = weakref.ref(await counters.get.capture("a"))
    assert ref() is not None
    collect()
    assert ref() is None
    await counters.get("a")
    assert counters.log == ["get(a)"] * 2


async def test_the_keep_alive_lasts_ten_seconds_from_the_last_use(clock: VirtualClock) -> None:
    counters = Counters()
    ref = weakref.ref(await counters.get.capture("a"))
    await clock.advance(9.5)
    assert ref() is not None
    await clock.advance(3)
    assert ref() is None


@pytest.mark.parametrize("warm", [1, 3], ids=["slow hit", "hot hit"])
async def test_each_hit_renews_the_keep_alive(clock: VirtualClock, warm: int) -> None:
    counters = Counters()
    ref = weakref.ref(await counters.get.capture("a"))
    for _ in range(10):
        await clock.advance(6)
        for _ in range(warm):
            await counters.get("a")
    assert counters.log == ["get(a)"]
    assert ref() is not None
    await clock.advance(12.6)
    assert ref() is None


def test_results_age_without_an_event_loop(clock: VirtualClock) -> None:
    counters = Counters()
    ref = weakref.ref(counters.size.capture())
    clock.advance_sync(9)
    assert ref() is not None
    clock.advance_sync(4)
    assert ref() is None
    assert clock.pending_timers == 0 or registry().counters.held_count == 0


async def test_the_keep_alive_is_capped_by_count() -> None:
    class Service:
        @compute_method(keep_alive=77)
        async def get(self, key: int) -> int:
            return key

    before = registry().keep_alive_limit
    registry().keep_alive_limit = 4_096
    try:
        service = Service()
        refs = [weakref.ref(await service.get.capture(key)) for key in range(20_000)]
        alive = sum(ref() is not None for ref in refs)
        assert 3_000 < alive < 6_000
        assert refs[-1]() is not None
    finally:
        registry().keep_alive_limit = before


async def test_a_keep_alive_of_zero_holds_nothing() -> None:
    class Service:
        runs = 0

        @compute_method(keep_alive=0)
        async def get(self) -> int:
            self.runs += 1
            return self.runs

    service = Service()
    assert [await service.get(), await service.get()] == [1, 2]
    held = await service.get.capture()
    assert [await service.get(), await service.get()] == [3, 3]
    assert held.value == 3


async def test_holding_a_value_holds_all_it_was_made_from() -> None:
    counters = Counters()
    total = await counters.total.capture("a", "b")
    collect()
    gc.collect()
    assert counters.get.existing("a") in total.dependencies
    ref = weakref.ref(total.dependencies[0])
    del total
    collect()
    assert ref() is None


async def test_holding_a_dependency_does_not_hold_its_dependants() -> None:
    counters = Counters()
    leaf = await counters.get.capture("a")
    ref = weakref.ref(await counters.total.capture("a", "b"))
    collect()
    assert ref() is None
    assert leaf.dependants == ()


class Held:
    @compute_method(min_cache_duration=100)
    async def get(self) -> int:
        return 1


async def test_min_cache_duration_holds_through_collections_slides_and_ends_with_invalidation(
    clock: VirtualClock,
) -> None:
    held = Held()
    ref = weakref.ref(await held.get.capture())
    collect()
    assert ref() is not None
    await clock.advance(90)
    await held.get()
    await clock.advance(90)
    assert ref() is not None
    await clock.advance(30)
    assert ref() is None
    ref = weakref.ref(await held.get.capture())
    held.get.invalidate()
    assert ref() is None


async def test_updating_again_and_again_keeps_only_the_last_generation() -> None:
    counters = Counters()
    refs = []
    for _ in range(20):
        refs.append(weakref.ref(await counters.get.capture("a")))
        counters.get.invalidate("a")
    last = await counters.get.capture("a")
    assert [ref() for ref in refs] == [None] * 20
    assert last.is_consistent


async def test_a_service_is_free_once_its_values_are() -> None:
    counters = Counters()
    await counters.total("a", "b")
    counters.size()
    ref = weakref.ref(counters)
    del counters
    assert ref() is not None
    collect()
    assert ref() is None


async def test_a_service_in_use_is_let_go_some_time_after_its_last_use(clock: VirtualClock) -> None:
    counters = Counters()
    await counters.get("a")
    ref = weakref.ref(counters)
    del counters
    await clock.advance(60)
    assert ref() is None


async def test_no_cycle_keeps_a_dropped_graph_alive() -> None:
    gc.collect()
    gc.disable()
    try:
        counters = Counters()
        refs = [weakref.ref(await counters.total.capture("a", str(n))) for n in range(50)]
        collect()
        assert [ref() for ref in refs] == [None] * 50
    finally:
        gc.enable()


async def test_a_cancelled_wait_leaves_nothing_at_the_value() -> None:
    computed: Computed[int] = await Counters().get.capture("a")
    tasks = [asyncio.create_task(computed.wait_invalidated()) for _ in range(10_000)]
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert computed._pending is not None
    assert computed._pending.handlers == {}


async def test_a_computation_in_flight_is_found_though_nobody_holds_it() -> None:
    started, release = asyncio.Event(), asyncio.Event()

    class Service:
        @compute_method
        async def get(self) -> int:
            started.set()
            await release.wait()
            return 1

    service = Service()
    task = asyncio.create_task(service.get())
    await started.wait()
    collect()
    gc.collect()
    assert service.get.existing() is not None
    release.set()
    assert await task == 1
