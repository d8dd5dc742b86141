"""A hundred tasks and four threads on one graph, which ends as the naive model says."""

import asyncio
import random
import threading

import pytest

from refusion import collect

from .graph import GraphService, Model, Node

# It takes twice as long when it is watched, and others come to the same lines.
pytestmark = pytest.mark.no_cover

SOURCES = 6
NODES = [
    Node(
        sources=(index % SOURCES, (index * 7) % SOURCES),
        nodes=tuple({max(0, index - 1), index // 2} if index else ()),
        modulus=10_007,
        is_sync=index % 3 == 0,
    )
    for index in range(30)
]


def check(service: GraphService, model: Model) -> None:
    async def read_all() -> list[int]:
        return [await service.node(index) for index in range(len(NODES))]

    assert asyncio.run(read_all()) == [model.node(index) for index in range(len(NODES))]
    collect()


def test_a_hundred_tasks_on_one_graph_end_consistent() -> None:
    model = Model([0] * SOURCES, NODES)
    service = GraphService(model)

    async def work(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(60):
            match chance.randrange(5):
                case 0:
                    service.set(chance.randrange(SOURCES), chance.randrange(100))
                case 1:
                    task = asyncio.create_task(service.node(chance.randrange(len(NODES))))
                    await asyncio.sleep(0)
                    task.cancel()
                    await asyncio.gather(task, return_exceptions=True)
                case _:
                    await service.node(chance.randrange(len(NODES)))

    async def main() -> None:
        await asyncio.gather(*[work(seed) for seed in range(100)])

    asyncio.run(main())
    check(service, model)


def test_four_threads_on_one_graph_end_consistent() -> None:
    model = Model([0] * SOURCES, NODES)
    service = GraphService(model)
    failures: list[BaseException] = []
    barrier = threading.Barrier(4)

    def work(seed: int) -> None:
        chance = random.Random(seed)

        async def in_loop() -> None:
            for _ in range(150):
                if chance.randrange(4) == 0:
                    service.set(chance.randrange(SOURCES), chance.randrange(100))
                else:
                    await service.node(chance.randrange(len(NODES)))

        try:
            barrier.wait()
            if seed % 2:
                asyncio.run(in_loop())
                return
            for _ in range(400):
                if chance.randrange(4) == 0:
                    service.set(chance.randrange(SOURCES), chance.randrange(100))
                else:
                    service.sync_node(chance.randrange(len(NODES)))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(50)
    assert not any(thread.is_alive() for thread in threads), "a thread waits for ever"
    assert failures == []
    check(service, model)


def test_a_reader_after_a_write_in_another_thread_sees_it() -> None:
    model = Model([0] * SOURCES, NODES)
    service = GraphService(model, suspends=False)
    last = len(NODES) - 1
    for value in range(200):
        writer = threading.Thread(target=service.set, args=(value % SOURCES, value))
        writer.start()
        writer.join()
        assert service.sync_node(last) == model.node(last)
    collect()
