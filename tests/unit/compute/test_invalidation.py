"""Invalidation: its scopes, its order, its delays, and what handlers may do."""

import asyncio
import logging
import math
import threading

import pytest

from refusion import Computed, ConsistencyState, compute_method, invalidate, invalidating, is_invalidating, registry
from refusion.testing import VirtualClock

from .services import Counters


async def test_a_call_in_the_scope_invalidates_at_once_and_computes_nothing() -> None:
    counters = Counters()
    computed = await counters.get.capture("a")
    with invalidating():
        assert is_invalidating()
        result = counters.get("a")
        assert computed.is_invalidated
        assert await result is None  # type: ignore
        counters.get("unknown")
        assert counters.size() is None
    assert counters.log == ["get(a)"]


async def test_all_forms_of_invalidation_do_the_same() -> None:
    counters = Counters()
    for form in (
        lambda: counters.get.invalidate("a"),
        lambda: invalidate(counters.get, "a"),
    ):
        computed = await counters.get.capture("a")
        form()
        assert computed.is_invalidated

    async def indirectly() -> None:
        await counters.get("a")
        await counters.get("b")

    computeds = [await counters.get.capture(key) for key in "ab"]
    invalidate(indirectly)
    assert all(computed.is_invalidated for computed in computeds)


async def test_a_finished_call_may_be_awaited_or_made_a_task_in_the_scope() -> None:
    counters = Counters()
    with invalidating():
        call = counters.get("a")
    assert await asyncio.create_task(call) is None  # type: ignore
    assert await asyncio.gather(call, call) == [None, None]


async def test_the_cascade_reaches_everything_built_on_a_value() -> None:
    counters = Counters()
    total = await counters.total.capture("a", "b")
    other = await counters.total.capture("c", "d")
    counters.get.invalidate("b")
    assert total.is_invalidated
    assert other.is_consistent


async def test_order_is_state_then_handlers_then_dependants() -> None:
    counters = Counters()
    total = await counters.total.capture("a", "b")
    leaf = await counters.get.capture("a")
    log: list[tuple[str, ConsistencyState, ConsistencyState]] = []
    leaf.on_invalidated(lambda _: log.append(("leaf", leaf.state, total.state)))
    total.on_invalidated(lambda _: log.append(("total", leaf.state, total.state)))
    leaf.invalidate()
    assert log == [
        ("leaf", ConsistencyState.INVALIDATED, ConsistencyState.CONSISTENT),
        ("total", ConsistencyState.INVALIDATED, ConsistencyState.INVALIDATED),
    ]


async def test_handlers_run_in_the_order_of_subscription_and_duplicates_once() -> None:
    computed = await Counters().get.capture("a")
    log: list[int] = []
    handlers = [lambda _, number=number: log.append(number) for number in range(8)]
    for handler in [*handlers, *handlers]:
        computed.on_invalidated(handler)
    computed.invalidate()
    computed.invalidate()
    assert log == list(range(8))


async def test_a_failing_handler_hides_nothing(caplog: pytest.LogCaptureFixture) -> None:
    counters = Counters()
    total = await counters.total.capture("a", "b")
    leaf = await counters.get.capture("a")
    log: list[str] = []

    def fail(_: object) -> None:
        raise ValueError("handler")

    leaf.on_invalidated(fail)
    leaf.on_invalidated(lambda _: log.append("second"))
    with caplog.at_level(logging.ERROR):
        leaf.invalidate()
    assert log == ["second"]
    assert total.is_invalidated
    assert "an invalidation handler failed" in caplog.text


async def test_a_failing_logger_hides_nothing_either(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("logger")

    monkeypatch.setattr(logging.getLogger("refusion"), "exception", broken)
    computed = await Counters().get.capture("a")
    computed.on_invalidated(lambda _: 1 / 0)
    computed.invalidate()
    assert computed.is_invalidated


async def test_an_interrupt_in_a_handler_is_raised_after_the_cascade() -> None:
    counters = Counters()
    total = await counters.total.capture("a", "b")
    leaf = await counters.get.capture("a")

    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    leaf.on_invalidated(interrupt)
    with pytest.raises(KeyboardInterrupt):
        leaf.invalidate()
    assert total.is_invalidated


async def test_a_late_subscription_fires_at_once_and_its_error_is_the_subscribers() -> None:
    computed = await Counters().get.capture("a")
    computed.invalidate()
    seen: list[object] = []
    computed.on_invalidated(seen.append)()
    assert seen == [computed]
    with pytest.raises(ZeroDivisionError):
        computed.on_invalidated(lambda _: 1 / 0)


async def test_a_subscription_can_be_taken_back() -> None:
    computed = await Counters().get.capture("a")
    seen: list[object] = []
    unsubscribe = computed.on_invalidated(seen.append)
    unsubscribe()
    unsubscribe()
    computed.invalidate()
    unsubscribe()
    assert seen == []


async def test_a_handler_may_compute_whoever_invalidates() -> None:
    counters = Counters()
    computed = await counters.get.capture("a")
    tasks: list[asyncio.Task[int]] = []
    computed.on_invalidated(lambda _: tasks.append(asyncio.ensure_future(counters.get("a"))))  # type: ignore
    with invalidating():
        counters.get("a")
    assert await tasks[0] == 0
    assert counters.log == ["get(a)", "get(a)"]


async def test_a_handler_may_invalidate_others() -> None:
    counters = Counters()
    first, second = await counters.get.capture("a"), await counters.get.capture("b")
    first.on_invalidated(lambda _: second.invalidate())
    first.invalidate()
    assert second.is_invalidated


async def test_invalidating_in_a_body_makes_the_result_stale_from_birth() -> None:
    class Service:
        runs = 0

        @compute_method
        async def get(self) -> int:
            self.runs += 1
            current = Computed.current()
            assert current is not None
            current.invalidate()
            return self.runs

    service = Service()
    assert [await service.get(), await service.get()] == [1, 2]


class Delayed:
    runs = 0

    @compute_method(invalidation_delay=1.0)
    async def get(self) -> int:
        self.runs += 1
        return self.runs

    @compute_method
    async def parent(self) -> int:
        return await self.get()


async def test_a_delay_counts_from_the_first_request_and_serves_the_old_value_meanwhile() -> None:
    with VirtualClock() as clock:
        delayed = Delayed()
        parent = await delayed.parent.capture()
        computed = await delayed.get.capture()
        delayed.get.invalidate()
        await clock.advance(0.6)
        delayed.get.invalidate()
        assert await delayed.get() == 1
        assert parent.is_consistent
        await clock.advance(0.5)
        assert computed.is_invalidated
        assert parent.is_invalidated
        assert await delayed.get() == 2


async def test_an_immediate_invalidation_waits_for_no_delay() -> None:
    with VirtualClock() as clock:
        delayed = Delayed()
        computed = await delayed.get.capture()
        computed.invalidate()
        assert computed.is_consistent
        computed.invalidate(immediately=True)
        assert computed.is_invalidated
        assert clock.pending_timers <= 2


async def test_a_polite_request_during_a_computation_starts_the_delay_at_its_end() -> None:
    with VirtualClock() as clock:

        class Service:
            @compute_method(invalidation_delay=1.0)
            async def get(self) -> int:
                current = Computed.current()
                assert current is not None
                current.invalidate()
                return 1

        computed = await Service().get.capture()
        assert computed.is_consistent
        await clock.advance(1.1)
        assert computed.is_invalidated


async def test_the_earliest_of_several_planned_invalidations_counts() -> None:
    with VirtualClock() as clock:
        computed = await Counters().get.capture("a")
        computed.invalidate(after=5)
        computed.invalidate(after=2)
        computed.invalidate(after=3)
        computed.invalidate(after=math.inf)
        await clock.advance(1.9)
        assert computed.is_consistent
        await clock.advance(0.2)
        assert computed.is_invalidated


async def test_a_planned_invalidation_without_delay_happens_at_once() -> None:
    computed = await Counters().get.capture("a")
    computed.invalidate(after=0)
    assert computed.is_invalidated


async def test_everything_can_be_invalidated() -> None:
    counters = Counters()
    computeds = [await counters.get.capture(key) for key in "abc"]
    registry().invalidate_everything()
    assert all(computed.is_invalidated for computed in computeds)


class Chain:
    @compute_method
    async def link(self, n: int) -> int:
        return 0 if n == 0 else await self.link(n - 1) + 1


@pytest.mark.no_cover
async def test_a_chain_of_a_hundred_thousand_is_invalidated() -> None:
    chain = Chain()
    computeds = [await chain.link.capture(n) for n in range(100_000)]
    chain.link.invalidate(0)
    assert all(computed.is_invalidated for computed in computeds)


async def test_two_dependencies_invalidated_at_once_invalidate_the_dependant_once() -> None:
    counters = Counters()
    for _ in range(50):
        total = await counters.total.capture("a", "b")
        calls: list[object] = []
        total.on_invalidated(calls.append)
        barrier = threading.Barrier(2)

        def strike(key: str, barrier: threading.Barrier = barrier) -> None:
            barrier.wait()
            counters.get.invalidate(key)

        threads = [threading.Thread(target=strike, args=(key,)) for key in "ab"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert calls == [total]
        assert total.dependencies == ()


async def test_every_mutation_must_invalidate_the_entity_and_the_aggregate() -> None:
    counters = Counters()
    entity, aggregate = await counters.get.capture("a"), counters.size.capture()
    counters.set("a", 1)
    assert entity.is_invalidated
    assert aggregate.is_invalidated
    assert counters.size() == 1
