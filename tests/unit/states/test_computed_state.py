"""ComputedState: follows what it was computed from."""

import asyncio
import gc
import itertools
import logging
import weakref
from collections.abc import Iterator

import pytest

from refusion import ComputedOptions, ComputedState, FixedDelayer, MutableState, compute_method, invalidating
from refusion.compute import CyclicComputation
from refusion.states import StateClosed
from refusion.testing import VirtualClock, settle

SOON = FixedDelayer(0.1)


@pytest.fixture(autouse=True)
def clock() -> Iterator[VirtualClock]:
    with VirtualClock() as clock:
        yield clock


async def test_it_computes_at_once_and_again_after_each_change(clock: VirtualClock) -> None:
    source = MutableState(1)

    async def double() -> int:
        return await source.use() * 2

    async with ComputedState(double, initial_value=-1, update_delayer=SOON) as state:
        assert state.value == -1
        assert state.snapshot.is_initial
        assert state.computed.is_invalidated
        assert (await state.when_first_updated()).value == 2
        source.set(5)
        assert state.value == 2
        await clock.advance(0.2)
        assert state.value == 10


async def test_use_and_update_do_not_wait_for_the_delayer(clock: VirtualClock) -> None:
    source, runs = MutableState(1), []

    async def compute() -> int:
        runs.append(1)
        return await source.use()

    async with ComputedState(compute, update_delayer=FixedDelayer(100)) as state:
        assert await state.use() == 1
        source.set(2)
        assert await state.use() == 2
        source.set(3)
        assert (await state.update()).value == 3
        await clock.advance(50)
        assert len(runs) == 3


async def test_the_order_of_events_from_birth(clock: VirtualClock) -> None:
    source = MutableState(1)
    async with ComputedState(source.use, update_delayer=SOON) as state:
        log: list[str] = []
        state.on_invalidated(lambda s: log.append(f"invalidated {s.value}"))
        state.on_updating(lambda s: log.append(f"updating {s.value}"))
        state.on_updated(lambda s: log.append(f"updated {s.value}"))
        await settle()
        source.set(2)
        await clock.advance(0.2)
    assert log == [
        "invalidated None",
        "updating None",
        "updated 1",
        "invalidated 1",
        "updating 1",
        "updated 2",
    ]


async def test_a_generation_that_is_born_stale_is_told_after_it_is_shown(clock: VirtualClock) -> None:
    source, gate = MutableState(1), asyncio.Event()

    async def compute() -> int:
        value = await source.use()
        await gate.wait()
        return value

    async with ComputedState(compute, update_delayer=SOON) as state:
        log: list[str] = []
        await settle()
        state.on_updated(lambda s: log.append(f"updated {s.computed.state.value}"))
        state.on_invalidated(lambda s: log.append("invalidated"))
        source.set(2)
        gate.set()
        await settle()
        assert log == ["updated invalidated", "invalidated"]
        await clock.advance(0.2)
        assert state.value == 2


async def test_a_recompute_during_a_computation_is_not_lost(clock: VirtualClock) -> None:
    values, gate = [1], asyncio.Event()

    async def compute() -> int:
        value = values[-1]
        await gate.wait()
        return value

    async with ComputedState(compute, update_delayer=SOON) as state:
        await settle()
        values.append(2)
        recomputation = state.recompute()
        gate.set()
        assert (await recomputation).value == 2
        values.append(3)
        state.recompute()
        assert state.computed.is_invalidated
        await clock.advance(0.2)
        assert state.value == 3


async def test_errors_are_published_and_transient_ones_retried_with_growing_delays(clock: VirtualClock) -> None:
    times: list[float] = []

    async def fail() -> int:
        times.append(clock.now())
        raise OSError("down")

    async with ComputedState(fail, update_delayer=FixedDelayer(0)) as state:
        await clock.advance(30)
        assert isinstance(state.error, OSError)
        assert state.snapshot.retry_count == state.snapshot.error_count == len(times)
    pauses = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert 1.8 < pauses[0] < 2.2
    assert pauses == sorted(pauses) or pauses[3] > pauses[0]


async def test_a_success_resets_the_retries_and_the_last_good_value_stays_through_errors(clock: VirtualClock) -> None:
    source: MutableState[int] = MutableState(1)

    async def compute() -> int:
        value = await source.use()
        if value < 0:
            raise ValueError("negative")
        return value

    async with ComputedState(compute, update_delayer=SOON) as state:
        await settle()
        source.set(-1)
        await clock.advance(0.2)
        assert state.has_error
        assert state.last_non_error_value == 1
        assert (state.snapshot.error_count, state.snapshot.retry_count) == (1, 0)
        source.set(7)
        await clock.advance(0.2)
        assert state.last_non_error_value == 7


async def test_it_computes_for_nobody_whatever_its_creators_context() -> None:
    source = MutableState(1)

    class Service:
        state: ComputedState[int] | None = None

        @compute_method
        async def get(self) -> int:
            self.state = ComputedState(source.use, update_delayer=SOON)
            await self.state.when_first_updated()
            return 0

    service = Service()
    computed = await service.get.capture()
    assert computed.dependencies == ()
    with invalidating():
        state = ComputedState(source.use, update_delayer=SOON)
    assert (await state.when_first_updated()).value == 1
    assert service.state is not None
    for opened in (state, service.state):
        await opened.aclose()


async def test_it_can_be_depended_on(clock: VirtualClock) -> None:
    source = MutableState(1)
    async with ComputedState(source.use, update_delayer=SOON) as state:

        class Service:
            @compute_method
            async def get(self) -> int:
                return await state.use() + 100

        service = Service()
        computed = await service.get.capture()
        assert computed.value == 101
        source.set(2)
        assert computed.is_invalidated
        assert await service.get() == 102


async def test_closing_is_prompt_idempotent_and_ends_the_following(clock: VirtualClock) -> None:
    source, runs = MutableState(1), []

    async def compute() -> int:
        runs.append(1)
        return await source.use()

    state = ComputedState(compute, update_delayer=SOON)
    await state.when_first_updated()
    waiting = asyncio.create_task(state.when_updated())
    await settle()
    await state.aclose()
    await state.aclose()
    assert state.is_closed
    with pytest.raises(StateClosed):
        await waiting
    with pytest.raises(StateClosed):
        await state.when_updated()
    source.set(2)
    await clock.advance(10)
    assert len(runs) == 1
    assert state.value == 1
    with pytest.raises(StateClosed):
        await state.use()


async def test_a_running_computation_may_finish_after_closing(clock: VirtualClock) -> None:
    gate = asyncio.Event()

    async def compute() -> int:
        await gate.wait()
        return 1

    state = ComputedState(compute, update_delayer=SOON)
    await settle()
    await state.aclose()
    gate.set()
    await settle()
    assert state.value == 1


async def test_a_computation_that_does_not_finish_after_closing_is_cancelled(clock: VirtualClock) -> None:
    cancelled = asyncio.Event()

    async def compute() -> int:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return 1

    for delay, wait in ((10.0, 10.1), (0.0, 0.0)):
        cancelled.clear()
        state = ComputedState(compute, update_delayer=SOON, graceful_close_delay=delay)
        await settle()
        await state.aclose()
        await clock.advance(wait)
        assert cancelled.is_set()


async def test_waiting_for_the_first_update_of_a_state_that_is_closed_before_is_an_error() -> None:
    state: ComputedState[None] = ComputedState(asyncio.Event().wait, graceful_close_delay=0)  # type: ignore
    waiting = asyncio.create_task(state.when_first_updated())
    await settle()
    await state.aclose()
    with pytest.raises(StateClosed):
        await waiting


async def test_a_state_can_not_use_or_update_itself() -> None:
    for member in ("use", "update"):
        states: list[ComputedState[object]] = []

        async def compute(states: list[ComputedState[object]] = states, member: str = member) -> object:
            return await getattr(states[0], member)()

        async with ComputedState(compute, update_delayer=SOON) as state:
            states.append(state)
            assert isinstance((await state.when_first_updated()).error, CyclicComputation)


def test_without_a_running_loop_the_error_says_what_to_do() -> None:
    with pytest.raises(RuntimeError, match="create it in async code"):
        ComputedState(lambda: asyncio.sleep(0))


async def test_a_failing_delayer_stops_the_state_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    source = MutableState(1)

    class Broken:
        async def delay(self, retry_count: int) -> None:
            raise ValueError("delayer")

    state = ComputedState(source.use, update_delayer=Broken())
    await state.when_first_updated()
    with caplog.at_level(logging.ERROR):
        source.set(2)
        await settle(50)
    assert state.is_closed
    assert "its update delayer failed" in caplog.text


async def test_a_failing_handler_does_not_stop_the_state(clock: VirtualClock) -> None:
    source = MutableState(1)
    async with ComputedState(source.use, update_delayer=SOON) as state:
        state.on_updated(lambda _: 1 / 0)
        source.set(2)
        await clock.advance(0.2)
        assert state.value == 2


async def test_a_closed_state_can_be_collected_and_leaves_no_edge(clock: VirtualClock) -> None:
    source = MutableState(1)
    state = ComputedState(source.use, update_delayer=SOON)
    await state.when_first_updated()
    await state.aclose()
    ref = weakref.ref(state)
    del state
    await settle()
    gc.collect()
    assert ref() is None
    assert source.computed.dependants == ()


async def test_a_state_that_nobody_holds_goes_on(clock: VirtualClock) -> None:
    source = MutableState(1)
    seen: list[int] = []

    async def compute() -> int:
        seen.append(await source.use())
        return 0

    ref = weakref.ref(ComputedState(compute, update_delayer=SOON))
    await settle()
    gc.collect()
    source.set(2)
    await clock.advance(0.2)
    assert seen == [1, 2]
    state = ref()
    assert state is not None
    await state.aclose()


async def test_a_cancelled_leader_of_an_update_hands_over() -> None:
    gate, runs = asyncio.Event(), []

    async def compute() -> int:
        runs.append(1)
        await gate.wait()
        return len(runs)

    async with ComputedState(compute, update_delayer=FixedDelayer(100)) as state:
        gate.set()
        await state.when_first_updated()
        gate.clear()
        state.recompute()
        leader = asyncio.create_task(state.update())
        await settle()
        follower = asyncio.create_task(state.update())
        await settle()
        leader.cancel()
        await settle()
        gate.set()
        assert (await follower).value == 3


async def test_changes_of_a_state(clock: VirtualClock) -> None:
    source = MutableState(1)
    async with ComputedState(source.use, update_delayer=SOON) as state:
        seen: list[int] = []

        async def follow() -> None:
            async for computed in state.changes():
                seen.append(computed.value)

        task = asyncio.create_task(follow())
        await settle()
        source.set(2)
        await clock.advance(0.2)
        task.cancel()
        assert seen == [1, 2]


async def test_a_state_can_not_consolidate() -> None:
    with pytest.raises(TypeError, match="consolidation"):
        ComputedState(lambda: asyncio.sleep(0), options=ComputedOptions(consolidation_delay=1))


async def test_ten_thousand_changes_end_with_the_last_value(clock: VirtualClock) -> None:
    source = MutableState(0)
    async with ComputedState(source.use, update_delayer=FixedDelayer(0)) as state:
        for value in range(10_000):
            source.set(value)
            if value % 100 == 0:
                await asyncio.sleep(0)
        await clock.advance(0.1)
        assert state.value == 9_999


def test_a_loop_that_shuts_down_ends_a_state_quietly() -> None:
    states: list[ComputedState[int]] = []

    async def main() -> None:
        states.append(ComputedState(MutableState(1).use, update_delayer=SOON))
        await states[0].when_first_updated()

    asyncio.run(main())
    assert states[0].is_closed
