"""A service with all that makes replicas hard: values from values, errors, and bodies that wait halfway."""

import asyncio
from random import Random

from refusion import compute_method
from refusion.rpc import rpc_method
from refusion.testing import ComputeCall, ConsistencyScenario

__all__ = ["Warehouse", "WarehouseScenario", "WarehouseService"]

ROOMS = 4
SHELVES = 8


class Warehouse:
    """How many things are on the shelves of some rooms; a shelf that was taken away is an error."""

    @compute_method
    async def count(self, room: int, shelf: int) -> int:
        raise NotImplementedError

    @compute_method
    async def total(self, room: int) -> int:
        raise NotImplementedError

    @compute_method
    async def report(self) -> dict[str, int]:
        raise NotImplementedError

    @rpc_method(is_command=True)
    async def put(self, room: int, shelf: int, count: int) -> None:
        raise NotImplementedError


class WarehouseService(Warehouse):
    """One life of the server, on data that outlives it."""

    def __init__(self, shelves: dict[tuple[int, int], int]) -> None:
        self.shelves = shelves

    @compute_method
    async def count(self, room: int, shelf: int) -> int:
        count = self.shelves.get((room, shelf))
        # Long enough for an edit, or a cut, to come in between.
        await asyncio.sleep(0)
        if count is None:
            raise KeyError(f"no shelf {shelf} in room {room}")
        return count

    @compute_method
    async def total(self, room: int) -> int:
        total = 0
        for shelf in range(SHELVES):
            try:
                total += await self.count(room, shelf)
            except KeyError:
                continue
        return total

    @compute_method
    async def report(self) -> dict[str, int]:
        return {f"room {room}": await self.total(room) for room in range(ROOMS)}

    async def put(self, room: int, shelf: int, count: int) -> None:
        await asyncio.sleep(0)
        self.change(room, shelf, count)

    def change(self, room: int, shelf: int, count: int | None) -> None:
        if count is None:
            self.shelves.pop((room, shelf), None)
        else:
            self.shelves[room, shelf] = count
        self.count.invalidate(room, shelf)


class WarehouseScenario(ConsistencyScenario[Warehouse, WarehouseService]):
    """Things come and go, and now and then a shelf does."""

    contract = Warehouse

    def __init__(self) -> None:
        self.shelves: dict[tuple[int, int], int] = {}

    def create_service(self) -> WarehouseService:
        return WarehouseService(self.shelves)

    async def edit(self, service: WarehouseService, random: Random) -> None:
        count = None if random.random() < 0.1 else random.randrange(1_000_000)
        service.change(random.randrange(ROOMS), random.randrange(SHELVES), count)

    async def command(self, client: Warehouse, random: Random) -> None:
        await client.put(random.randrange(ROOMS), random.randrange(SHELVES), random.randrange(1_000_000))

    def calls(self) -> list[ComputeCall]:
        counts = [ComputeCall("count", (room, shelf)) for room in range(ROOMS) for shelf in range(SHELVES)]
        totals = [ComputeCall("total", (room,)) for room in range(ROOMS)]
        return [*counts, *totals, ComputeCall("report")]
