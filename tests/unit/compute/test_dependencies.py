"""What a computation depends on."""

import asyncio
import gc

import pytest

from refusion import MutableState, collect, compute_method, registry
from refusion.compute import ComputedNotReady
from refusion.compute._graph import DependantSet

from .services import Counters


class Graph:
    """Values that are computed from two sources."""

    def __init__(self) -> None:
        self.values = {"x": 1, "y": 2}
        self.log: list[str] = []
        self.release = asyncio.Event()

    def set(self, key: str, value: int) -> None:
        self.values[key] = value
        self.get.invalidate(key)

    @compute_method
    async def get(self, key: str) -> int:
        self.log.append(key)
        await asyncio.sleep(0)
        return self.values[key]

    @compute_method
    async def in_sequence(self) -> int:
        x = await self.get("x")
        await asyncio.sleep(0)
        return x + await self.get("y")

    @compute_method
    async def gathered(self) -> int:
        return sum(await asyncio.gather(self.get("x"), self.get("y")))

    @compute_method
    async def in_task_group(self) -> int:
        async with asyncio.TaskGroup() as tasks:
            x, y = tasks.create_task(self.get("x")), tasks.create_task(self.get("y"))
        return x.result() + y.result()

    @compute_method
    def size(self) -> int:
        return self.values["x"]

    @compute_method
    async def in_thread(self) -> int:
        return await asyncio.to_thread(self.size)

    @compute_method
    async def only_x_in_time(self) -> int:
        self.late = asyncio.create_task(self._late_y())
        return await self.get("x")

    async def _late_y(self) -> int:
        await self.release.wait()
        return await self.get("y")

    @compute_method
    async def many(self) -> int:
        return sum([await self.get("x") for _ in range(100)])

    @compute_method
    async def unawaited(self) -> int:
        self.get("x")
        return 1

    @compute_method
    async def left(self) -> int:
        return await self.get("x")

    @compute_method
    async def right(self) -> int:
        return await self.get("x")

    @compute_method
    async def diamond(self) -> int:
        return await self.left() + await self.right()


@pytest.mark.parametrize("name", ["in_sequence", "gathered", "in_task_group"])
@pytest.mark.parametrize("key", ["x", "y"])
async def test_calls_count_however_they_are_made(name: str, key: str) -> None:
    graph = Graph()
    method = getattr(graph, name)
    assert await method() == 3
    graph.set(key, 10)
    assert await method() == sum(graph.values.values())


async def test_a_call_in_a_thread_started_with_the_context_counts() -> None:
    graph = Graph()
    computed = await graph.in_thread.capture()
    graph.size.invalidate()
    assert computed.is_invalidated


async def test_only_what_was_used_in_time_counts() -> None:
    graph = Graph()
    computed = await graph.only_x_in_time.capture()
    graph.release.set()
    assert await graph.late == 2
    graph.set("y", 5)
    assert computed.is_consistent
    assert len(computed.dependencies) == 1


async def test_a_dependency_counts_once() -> None:
    graph = Graph()
    computed = await graph.many.capture()
    assert len(computed.dependencies) == 1
    assert computed.dependencies[0].dependants == (computed,)


async def test_a_hit_counts_when_it_is_called_even_if_it_is_never_awaited() -> None:
    graph = Graph()
    await graph.get("x")
    computed = await graph.unawaited.capture()
    graph.set("x", 2)
    assert computed.is_invalidated


async def test_a_diamond_is_invalidated_once() -> None:
    graph = Graph()
    computed = await graph.diamond.capture()
    calls: list[object] = []
    computed.on_invalidated(calls.append)
    graph.set("x", 2)
    assert calls == [computed]
    assert await graph.diamond() == 4


async def test_edges_are_gone_after_an_invalidation() -> None:
    graph = Graph()
    total = await graph.in_sequence.capture()
    x, y = total.dependencies
    graph.set("x", 2)
    assert (total.dependencies, x.dependants, y.dependants) == ((), (), ())


async def test_using_a_stale_dependency_makes_the_dependant_stale_from_birth() -> None:
    graph = Graph()
    x = await graph.get.capture("x")

    class Parent:
        @compute_method
        async def get(self) -> int:
            return await x.use(allow_inconsistent=True)

    graph.set("x", 5)
    computed = await Parent().get.capture()
    assert computed.is_invalidated
    assert computed.value == 1


async def test_using_a_running_computation_as_it_is_is_an_error() -> None:
    graph = Graph()
    task = asyncio.create_task(graph.get("x"))
    await asyncio.sleep(0)
    running = graph.get.existing("x")
    assert running is not None

    class Parent:
        @compute_method
        async def get(self) -> int:
            assert running is not None
            return await running.use(allow_inconsistent=True)

    with pytest.raises(ComputedNotReady):
        await Parent().get()
    await task


async def test_a_collected_dependant_does_not_take_its_successor_along() -> None:
    class Switch:
        def __init__(self) -> None:
            self.uses_a = True

        @compute_method
        async def leaf(self, key: str) -> str:
            return key

        @compute_method
        async def pick(self) -> str:
            return await self.leaf("a" if self.uses_a else "b")

    switch = Switch()
    a = await switch.leaf.capture("a")
    await switch.pick()
    collect()
    gc.collect()
    assert switch.pick.existing() is None
    switch.uses_a = False
    successor = await switch.pick.capture()
    a.invalidate()
    assert successor.is_consistent


async def test_a_constant_method_groups_what_uses_it() -> None:
    class Store:
        def __init__(self) -> None:
            self.runs = 0

        @compute_method
        async def group(self) -> None:
            return None

        @compute_method
        async def get(self, key: int) -> int:
            await self.group()
            self.runs += 1
            return key

    store = Store()
    computeds = [await store.get.capture(key) for key in range(50)]
    store.group.invalidate()
    assert all(computed.is_invalidated for computed in computeds)


async def test_reading_a_value_makes_no_dependency_but_using_it_does() -> None:
    state = MutableState(1)

    class Reader:
        @compute_method
        async def peek(self) -> int:
            return state.value

        @compute_method
        async def use(self) -> int:
            return await state.use()

    reader = Reader()
    peeked, used = await reader.peek.capture(), await reader.use.capture()
    state.set(2)
    assert peeked.is_consistent
    assert used.is_invalidated


async def test_dead_dependants_do_not_pile_up() -> None:
    counters = Counters()
    root = await counters.get.capture("a")
    held = [await counters.total.capture("a", key) for key in "xyz"]
    for index in range(1_000):
        await counters.total("a", str(index))
        collect()
    gc.collect()
    dependants = root._dependants
    assert isinstance(dependants, DependantSet)
    assert 3 <= len(dependants) < 100
    registry().prune()
    assert len(dependants) == 3
    assert set(root.dependants) == set(held)
