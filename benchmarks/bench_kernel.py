"""The kernel beside its peers: `make bench`, or `python -m benchmarks.bench_kernel --quick`.

Ratios are to awaiting an empty `async def` method of the same class in the same run, loops subtracted on both
sides. Times are CPU time of the thread.
"""

import argparse
import asyncio
import functools
import tracemalloc

import aiocache  # type: ignore[import-untyped]
from async_lru import alru_cache

from refusion import Computed, collect, compute_method

from ._measure import Case, describe_interpreter, measure, report

MEMORY_VALUES = 50_000


class Empty:
    async def get(self, key: str) -> int:
        return 5


class Cached:
    @compute_method
    async def get(self, key: str) -> int:
        return 5

    @compute_method
    async def pair(self, a: str, b: int) -> int:
        return 5

    @compute_method
    def sync_get(self, key: str) -> int:
        return 5

    @compute_method
    async def root(self) -> int:
        return 5

    @compute_method
    async def leaf(self, number: int) -> int:
        return await self.root()

    @compute_method
    async def reads_many(self, count: int) -> int:
        for _ in range(count):
            await self.get("a")
        return 5


class Lru:
    @functools.cache  # noqa: B019  # the peer as it is used
    def get(self, key: str) -> int:
        return 5


class AsyncLru:
    @alru_cache(maxsize=None)
    async def get(self, key: str) -> int:
        return 5


class AioCache:
    @aiocache.cached()  # type: ignore[untyped-decorator]
    async def get(self, key: str) -> int:
        return 5


async def hits(quick: bool) -> None:
    empty, cached, lru, async_lru, aio_cache = Empty(), Cached(), Lru(), AsyncLru(), AioCache()

    async def loop(count: int) -> None:
        for _ in range(count):
            pass

    async def run_empty(count: int) -> None:
        for _ in range(count):
            await empty.get("a")

    async def run_cached(count: int) -> None:
        for _ in range(count):
            await cached.get("a")

    async def run_pair(count: int) -> None:
        for _ in range(count):
            await cached.pair("a", 1)

    async def run_sync(count: int) -> None:
        for _ in range(count):
            cached.sync_get("a")

    async def run_lru(count: int) -> None:
        for _ in range(count):
            lru.get("a")

    async def run_async_lru(count: int) -> None:
        for _ in range(count):
            await async_lru.get("a")

    async def run_aio_cache(count: int) -> None:
        for _ in range(count):
            await aio_cache.get("a")

    async def run_inside(count: int) -> None:
        cached.reads_many.invalidate(count)
        await cached.reads_many(count)

    keys = [f"key {number}" for number in range(1_000)]

    async def invalidate_keys() -> None:
        for key in keys:
            cached.get.invalidate(key)

    async def run_miss(count: int) -> None:
        for key in keys[:count]:
            await cached.get(key)

    async def loop_keys(count: int) -> None:
        for _ in keys[:count]:
            pass

    many = 20_000 if quick else 200_000
    cases = [
        Case("loop", loop, many),
        Case("loop keys", loop_keys, 1_000),
        Case("empty", run_empty, many, overhead="loop"),
        Case("hit", run_cached, many, overhead="loop"),
        Case("hit, two arguments", run_pair, many, overhead="loop"),
        Case("hit, synchronous", run_sync, many, overhead="loop"),
        Case("hit inside of a computation", run_inside, many, overhead="loop"),
        Case("functools.lru_cache", run_lru, many, overhead="loop"),
        Case("async_lru", run_async_lru, many // 10, overhead="loop"),
        Case("aiocache", run_aio_cache, many // 50, overhead="loop"),
        Case("miss", run_miss, 1_000, prepare=invalidate_keys, overhead="loop keys"),
    ]
    found = await measure(cases, 5 if quick else 11)
    base = found["empty"].nanoseconds

    def row(label: str, name: str, budget: float | None = None) -> tuple[str, float, float | None, float | None]:
        nanoseconds = found[name].nanoseconds
        return label, nanoseconds, nanoseconds / base, budget

    report(
        "a call",
        [
            row("await an empty async def method", "empty"),
            row("cached hit, one str argument", "hit", 2.0),
            row("cached hit, two arguments", "hit, two arguments"),
            row("cached hit, synchronous method", "hit, synchronous"),
            row("cached hit inside of a computation", "hit inside of a computation"),
            row("functools.lru_cache hit (synchronous)", "functools.lru_cache"),
            row("async_lru hit", "async_lru"),
            row("aiocache hit (memory)", "aiocache"),
            row("miss and store, empty body", "miss", 25.0),
        ],
    )
    print(f"  async_lru / refusion: {found['async_lru'].nanoseconds / found['hit'].nanoseconds:.1f} x")
    print(f"  aiocache / refusion: {found['aiocache'].nanoseconds / found['hit'].nanoseconds:.1f} x")
    await async_lru.get.cache_close()
    collect()


async def invalidations(quick: bool) -> None:
    sizes = (1_000, 10_000) if quick else (1_000, 10_000, 100_000)
    services: dict[int, tuple[Cached, list[Computed[int]]]] = {}

    def case(size: int) -> Case:
        async def prepare() -> None:
            service = Cached()
            services[size] = service, [await service.leaf.capture(number) for number in range(size)]

        async def run(count: int) -> None:
            services[size][0].root.invalidate()

        return Case(str(size), run, size, prepare=prepare)

    found = await measure([case(size) for size in sizes], 3 if quick else 7)
    # The budget is 0.8 us per dependant, so the ratio to 1,000 ns is the number of microseconds.
    report(
        "invalidation, per dependant of one value (x = microseconds)",
        [
            (f"{size:,} dependants", found[str(size)].nanoseconds, found[str(size)].nanoseconds / 1_000, 0.8)
            for size in sizes
        ],
    )
    services.clear()
    collect()


async def memory() -> None:
    service = Cached()
    await service.root()
    held: list[Computed[int] | None] = [None] * MEMORY_VALUES
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for number in range(MEMORY_VALUES):
        held[number] = await service.leaf.capture(number)
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    size = (after - before) / MEMORY_VALUES
    print("\nmemory per cached value (int, one int argument, one dependency, all included)")
    print(f"  {size:,.0f} bytes; budget 900 bytes: {'held' if size <= 900 else 'OVER'}")


async def run(quick: bool) -> None:
    print(describe_interpreter())
    await hits(quick)
    await invalidations(quick)
    await memory()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench_kernel", description="Measure the kernel.")
    parser.add_argument("--quick", action="store_true", help="fewer rounds: a look, not a number to quote")
    asyncio.run(run(parser.parse_args().quick))


if __name__ == "__main__":
    main()
