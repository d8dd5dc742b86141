"""Methods that await nothing are answered where their calls arrive, and nobody can tell but by the task."""

import asyncio

import pytest

from refusion.rpc import rpc_method
from refusion.testing import settle

from .world import World


class Cell:
    async def put(self, value: int) -> None:
        raise NotImplementedError

    async def get(self) -> int:
        raise NotImplementedError

    async def task_name(self) -> str:
        raise NotImplementedError

    @rpc_method(needs_task=True)
    async def own_task_name(self) -> str:
        raise NotImplementedError


class CellService(Cell):
    def __init__(self) -> None:
        self.value = 0

    async def put(self, value: int) -> None:
        self.value = value
        await asyncio.sleep(0)

    async def get(self) -> int:
        return self.value

    async def task_name(self) -> str:
        task = asyncio.current_task()
        return "none" if task is None else task.get_name()

    async def own_task_name(self) -> str:
        task = asyncio.current_task()
        return "none" if task is None else task.get_name()


@pytest.fixture
async def cell(world: World) -> Cell:
    world.server.add_service(Cell, CellService())
    client = world.client.client(Cell, world.peer)
    assert await client.get() == 0
    return client


async def test_a_call_doesnt_begin_before_those_that_came_before_it(cell: Cell) -> None:
    for value in range(1, 5):
        put, got = asyncio.ensure_future(cell.put(value)), asyncio.ensure_future(cell.get())
        assert await got == value
        await put


async def test_a_call_that_was_cancelled_before_it_began_holds_nobody_up(world: World, cell: Cell) -> None:
    put = asyncio.ensure_future(cell.put(1))
    await asyncio.sleep(0)
    put.cancel()
    await settle()
    assert await cell.get() in (0, 1)
    assert world.server_peer.admission.unstarted_count == 0


async def test_a_method_that_asks_for_its_task_can_have_one(cell: Cell) -> None:
    assert await cell.task_name() == "none"
    assert await cell.own_task_name() == "Cell.OwnTaskName:1"
