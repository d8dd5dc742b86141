"""One computation per key at a time, and what its callers get."""

import asyncio
import threading

import pytest

from refusion import Computed, ConsistencyState, collect, compute_method, registry
from refusion.compute import CyclicComputation
from refusion.testing import settle


class Gate:
    """A compute method whose bodies wait until they are let go."""

    def __init__(self) -> None:
        self.value = 0
        self.runs = 0
        self.gates: list[asyncio.Event] = []

    @compute_method
    async def get(self, key: str = "a") -> int:
        self.runs += 1
        value = self.value
        gate = asyncio.Event()
        self.gates.append(gate)
        await gate.wait()
        return value

    def open_all(self) -> None:
        for gate in self.gates:
            gate.set()


async def test_concurrent_callers_share_one_run() -> None:
    gate = Gate()
    tasks = [asyncio.create_task(gate.get()) for _ in range(100)]
    await settle()
    assert gate.runs == 1
    gate.open_all()
    assert await asyncio.gather(*tasks) == [0] * 100
    assert gate.runs == 1


async def test_different_keys_run_in_parallel() -> None:
    gate = Gate()
    tasks = [asyncio.create_task(gate.get(key)) for key in "abc"]
    await settle()
    assert gate.runs == 3
    gate.open_all()
    await asyncio.gather(*tasks)


async def test_a_caller_after_an_invalidation_never_gets_what_was_computed_before_it() -> None:
    gate = Gate()
    early = asyncio.create_task(gate.get())
    await settle()
    gate.value = 1
    gate.get.invalidate()
    late = asyncio.create_task(gate.get())
    await settle()
    gate.open_all()
    await settle()
    gate.open_all()
    assert await early == 0
    assert await late == 1
    assert await gate.get() == 1


async def test_a_computation_invalidated_on_its_way_is_never_seen_consistent() -> None:
    gate = Gate()
    states: list[ConsistencyState] = []
    task = asyncio.create_task(gate.get.capture())
    await settle()
    running = gate.get.existing()
    assert running is not None
    running.on_invalidated(lambda computed: states.append(computed.state))
    gate.get.invalidate()
    assert running.state is ConsistencyState.COMPUTING
    gate.open_all()
    assert await task is running
    assert running.state is ConsistencyState.INVALIDATED
    assert running.value == 0
    assert states == [ConsistencyState.INVALIDATED]


async def test_the_registry_keeps_nothing_of_keys_that_are_gone() -> None:
    class Service:
        @compute_method
        async def get(self, key: int) -> int:
            return key

    service = Service()
    before = registry().counters.key_count
    for key in range(5_000):
        await service.get(key)
        service.get.invalidate(key)
    assert registry().counters.key_count == before


async def test_invalidating_and_reading_in_turns_always_ends_with_the_latest() -> None:
    class Service:
        def __init__(self) -> None:
            self.value = 0

        @compute_method
        async def get(self) -> int:
            value = self.value
            await asyncio.sleep(0)
            return value

    service = Service()

    async def worker(number: int) -> None:
        for step in range(100):
            service.value = number * 1_000 + step
            service.get.invalidate()
            await service.get()

    await asyncio.gather(*[worker(number) for number in range(16)])
    assert await service.get() == service.value
    existing = service.get.existing()
    assert existing is not None
    assert existing.is_consistent


class Cycles:
    @compute_method
    async def itself(self, key: int) -> int:
        return await self.itself(key)

    @compute_method
    async def ping(self) -> int:
        return await asyncio.gather(self.pong()) and 1

    @compute_method
    async def pong(self) -> int:
        return (await self.ping.capture()).value

    @compute_method
    def sync_itself(self) -> int:
        return self.sync_itself()

    @compute_method
    async def countdown(self, n: int) -> int:
        return 0 if n == 0 else await self.countdown(n - 1) + 1


async def test_a_computation_that_needs_itself_fails_at_once() -> None:
    cycles = Cycles()
    with pytest.raises(CyclicComputation, match=r"Cycles\.itself\(1\).*needs its own result"):
        await cycles.itself(1)
    with pytest.raises(CyclicComputation):
        cycles.sync_itself()


async def test_a_cycle_is_found_through_others_child_tasks_and_capture() -> None:
    with pytest.raises(CyclicComputation):
        await Cycles().ping()


async def test_a_cycle_error_is_cached_like_any_error() -> None:
    cycles = Cycles()
    with pytest.raises(CyclicComputation):
        await cycles.itself(1)
    computed = cycles.itself.existing(1)
    assert computed is not None
    assert computed.has_error


async def test_the_same_method_with_other_arguments_is_no_cycle() -> None:
    assert await Cycles().countdown(20) == 20


async def test_a_chain_of_ten_thousand_computations_needs_no_recursion() -> None:
    cycles = Cycles()
    assert await cycles.countdown(10_000) == 10_000
    assert (await cycles.countdown.capture(10_000)).is_consistent


async def test_a_leaked_context_raises_no_false_alarm() -> None:
    class Service:
        later: asyncio.Task[int] | None = None

        def __init__(self) -> None:
            self.go = asyncio.Event()

        @compute_method
        async def get(self) -> int:
            if self.later is None:
                self.later = asyncio.create_task(self.call_later())
            return 1

        async def call_later(self) -> int:
            await self.go.wait()
            self.get.invalidate()
            return await self.get()

    service = Service()
    assert await service.get() == 1
    service.go.set()
    assert service.later is not None
    assert await service.later == 1


async def test_a_flight_whose_loop_was_closed_is_started_over() -> None:
    gate = Gate()

    def run_and_abandon() -> None:
        loop = asyncio.new_event_loop()
        keep.append(loop.create_task(gate.get()))
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()

    keep: list[asyncio.Task[int]] = []
    thread = threading.Thread(target=run_and_abandon)
    thread.start()
    thread.join()
    assert gate.runs == 1
    task = asyncio.create_task(gate.get())
    await settle()
    assert gate.runs == 2
    gate.gates[1].set()
    assert await task == 0
    keep[0].get_coro().close()  # type: ignore
    keep[0]._log_destroy_pending = False  # type: ignore


async def test_loops_one_after_another_and_at_once_share_results() -> None:
    class Service:
        runs = 0

        @compute_method
        async def get(self) -> int:
            self.runs += 1
            return self.runs

    service = Service()
    results: list[int] = []

    def run() -> None:
        results.append(asyncio.run(service.get()))  # type: ignore

    async def call() -> int:
        return await service.get()

    for _ in range(3):
        thread = threading.Thread(target=lambda: results.append(asyncio.run(call())))
        thread.start()
        thread.join()
    results.append(await call())
    assert results == [1] * 4


async def test_an_invalidation_from_another_thread_wakes_waiters_in_their_own_loop() -> None:
    class Service:
        @compute_method
        async def get(self) -> int:
            return 1

    service = Service()
    computed: Computed[int] = await service.get.capture()
    waiting = asyncio.create_task(computed.wait_invalidated())
    await settle()
    thread = threading.Thread(target=service.get.invalidate)
    thread.start()
    async with asyncio.timeout(10):
        await waiting
    thread.join()
    collect()
