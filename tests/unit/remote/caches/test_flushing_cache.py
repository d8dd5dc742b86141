"""Caches that write later, on a store that is slow and fails by name."""

import asyncio
import contextvars
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from refusion.remote import CachedValue, FlushingCache
from refusion.testing import VirtualClock, settle

from .test_caches import CacheContract, NewCache

A, B, C = (CachedValue(letter, f"hash of {letter!r}") for letter in (b"a", b"b", b"c"))


class Store:
    """What outlives caches; `fail` and `gates` break and stop steps by their names."""

    def __init__(self) -> None:
        self.version = ""
        self.values: dict[bytes, CachedValue] = {}
        self.log: list[str] = []
        self.fail: set[str] = set()
        self.gates: dict[str, asyncio.Event] = {}

    async def step(self, name: str, details: str = "") -> None:
        self.log.append(f"{name} {details}".strip())
        if name in self.gates:
            await self.gates[name].wait()
        if name in self.fail:
            raise OSError(f"{name} has failed")

    def take_log(self) -> list[str]:
        log, self.log = self.log, []
        return log


class StoreCache(FlushingCache):
    def __init__(self, store: Store, *, max_pending_bytes: int = 1_000_000) -> None:
        super().__init__(max_pending_bytes=max_pending_bytes)
        self.store = store

    async def open_store(self, version: str) -> None:
        await self.store.step("open")
        if self.store.version != version:
            self.store.values.clear()
            self.store.version = version

    async def fetch(self, key: bytes) -> CachedValue | None:
        value = self.store.values.get(key)
        await self.store.step("fetch", key.decode())
        return value

    async def write(self, values: Mapping[bytes, CachedValue | None]) -> None:
        await self.store.step(
            "write", " ".join(f"{key.decode()}={value.data.decode() if value else ''}" for key, value in values.items())
        )
        for key, value in values.items():
            if value is None:
                self.store.values.pop(key, None)
            else:
                self.store.values[key] = value

    async def wipe(self) -> None:
        await self.store.step("wipe")
        self.store.values.clear()

    async def close_store(self) -> None:
        await self.store.step("close")


class FakeStoreCache(StoreCache):
    """Has no use for a log that prints keys and values."""

    async def fetch(self, key: bytes) -> CachedValue | None:
        return self.store.values.get(key)

    async def write(self, values: Mapping[bytes, CachedValue | None]) -> None:
        for key, value in values.items():
            self.store.values.pop(key, None)
            if value is not None:
                self.store.values[key] = value


class TestFlushingCache(CacheContract):
    def make(self, folder: Path) -> NewCache:
        store = Store()
        return lambda: FakeStoreCache(store)


@pytest.fixture
def clock() -> Iterator[VirtualClock]:
    with VirtualClock() as clock:
        yield clock


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
async def cache(clock: VirtualClock, store: Store) -> StoreCache:
    cache = StoreCache(store)
    await cache.open("1")
    store.take_log()
    return cache


async def test_writes_go_together_a_quarter_of_a_second_after_the_first(
    clock: VirtualClock, store: Store, cache: StoreCache
) -> None:
    # Of what other tests have left to be let go.
    timers = clock.pending_timers
    cache.set(b"k", A)
    await clock.advance(0.2)
    cache.set(b"l", B)
    cache.remove(b"m")
    await clock.advance(0.04)
    assert store.log == []
    await clock.advance(0.01)
    assert store.take_log() == ["write k=a l=b m="]
    await clock.advance(5)
    assert store.log == []
    assert clock.pending_timers == timers


async def test_what_waits_or_is_being_written_is_read_without_the_store(store: Store, cache: StoreCache) -> None:
    store.values = {b"gone": A, b"there": C}
    store.gates["write"] = asyncio.Event()
    cache.set(b"k", A)
    cache.remove(b"gone")
    assert [await cache.get(b"k"), await cache.get(b"gone")] == [A, None]
    flush = asyncio.create_task(cache.flush())
    await settle()
    assert [await cache.get(b"k"), await cache.get(b"gone")] == [A, None]
    cache.set(b"k", B)
    assert await cache.get(b"k") == B
    assert store.take_log() == ["write k=a gone="]
    assert await cache.get(b"there") == C
    store.gates["write"].set()
    await flush
    assert await cache.get(b"k") == B


async def test_a_flush_waits_for_what_was_set_while_another_one_runs(store: Store, cache: StoreCache) -> None:
    store.gates["write"] = asyncio.Event()
    cache.set(b"k", A)
    first = asyncio.create_task(cache.flush())
    await settle()
    without_more = asyncio.create_task(cache.flush())
    await settle()
    cache.set(b"l", B)
    others = [asyncio.create_task(cache.flush()) for _ in range(3)]
    await settle()
    assert store.take_log() == ["write k=a"]
    assert not any(task.done() for task in (first, without_more, *others))
    store.gates["write"].set()
    await asyncio.gather(first, without_more, *others)
    assert store.take_log() == ["write l=b"]


async def test_a_flush_raises_what_writing_raised_and_the_values_are_written_later(
    clock: VirtualClock, store: Store, cache: StoreCache
) -> None:
    store.fail.add("write")
    cache.set(b"k", A)
    with pytest.raises(OSError, match="write has failed"):
        await cache.flush()
    assert await cache.get(b"k") == A
    store.fail.clear()
    await clock.advance(1.2)
    assert store.values == {b"k": A}


async def test_a_flush_that_waits_for_one_that_fails_writes_by_itself(store: Store, cache: StoreCache) -> None:
    store.gates["write"] = asyncio.Event()
    store.fail.add("write")
    cache.set(b"k", A)
    first = asyncio.create_task(cache.flush())
    await settle()
    second = asyncio.create_task(cache.flush())
    await settle()
    store.gates["write"].set()
    with pytest.raises(OSError, match="write has failed"):
        await first
    store.fail.clear()
    await second
    assert store.values == {b"k": A}


async def test_a_flush_behind_the_back_that_fails_is_logged_and_repeated_with_growing_pauses(
    clock: VirtualClock, store: Store, cache: StoreCache, caplog: pytest.LogCaptureFixture
) -> None:
    store.fail.add("write")
    cache.set(b"k", A)
    await clock.advance(0.25)
    assert store.take_log() == ["write k=a"]
    assert "failed, and will be tried again: OSError: write has failed" in caplog.text
    await clock.advance(0.8)
    assert store.log == []
    cache.set(b"l", B)
    await clock.advance(0.4)
    assert store.take_log() == ["write k=a l=b"]
    await clock.advance(100)
    assert len(store.take_log()) in (7, 8, 9)
    await clock.advance(600)
    assert len(store.take_log()) in (9, 10, 11)
    store.fail.clear()
    await cache.flush()
    store.take_log()
    cache.set(b"m", C)
    await clock.advance(0.25)
    assert store.take_log() == ["write m=c"]


async def test_what_could_not_be_written_does_not_replace_what_is_newer(store: Store, cache: StoreCache) -> None:
    store.values = {b"removed": C, b"set": C}
    store.gates["write"] = asyncio.Event()
    store.fail.add("write")
    for key in (b"k", b"removed", b"other"):
        cache.set(key, A)
    cache.remove(b"set")
    flush = asyncio.create_task(cache.flush())
    await settle()
    cache.set(b"k", B)
    cache.remove(b"removed")
    cache.set(b"set", B)
    store.gates["write"].set()
    with pytest.raises(OSError):
        await flush
    assert [await cache.get(key) for key in (b"k", b"removed", b"other", b"set")] == [B, None, A, B]
    store.fail.clear()
    await cache.flush()
    assert store.values == {b"k": B, b"other": A, b"set": B}


@pytest.mark.parametrize("fails", [False, True])
async def test_clearing_while_a_flush_runs_leaves_nothing_behind(store: Store, cache: StoreCache, fails: bool) -> None:
    store.values = {b"old": C}
    store.gates["write"] = asyncio.Event()
    if fails:
        store.fail.add("write")
    cache.set(b"k", A)
    flush = asyncio.create_task(cache.flush())
    await settle()
    clear = asyncio.create_task(cache.clear())
    await settle()
    assert [await cache.get(b"k"), await cache.get(b"old")] == [None, None]
    store.gates["write"].set()
    await asyncio.gather(flush, return_exceptions=True)
    await clear
    assert store.values == {}
    assert await cache.get(b"k") is None
    assert store.take_log() == ["write k=a", "wipe", "fetch k"]


async def test_what_is_set_while_the_store_is_wiped_stays(store: Store, cache: StoreCache) -> None:
    store.values = {b"k": C, b"old": C}
    store.gates["wipe"] = asyncio.Event()
    clear = asyncio.create_task(cache.clear())
    await settle()
    cache.set(b"k", A)
    assert [await cache.get(b"k"), await cache.get(b"old")] == [A, None]
    store.gates["wipe"].set()
    await clear
    await cache.flush()
    assert store.values == {b"k": A}


async def test_when_the_store_can_not_be_wiped_readers_find_nothing_and_it_is_wiped_later(
    clock: VirtualClock, store: Store, cache: StoreCache
) -> None:
    store.values = {b"old": C}
    store.fail.add("wipe")
    with pytest.raises(OSError, match="wipe has failed"):
        await cache.clear()
    cache.set(b"k", A)
    assert [await cache.get(b"k"), await cache.get(b"old")] == [A, None]
    store.fail.clear()
    await clock.advance(1.2)
    assert store.values == {b"k": A}


async def test_a_wiped_store_is_not_wiped_again_because_the_values_after_it_failed(
    store: Store, cache: StoreCache
) -> None:
    store.fail = {"wipe", "write"}
    with pytest.raises(OSError):
        await cache.clear()
    cache.set(b"k", A)
    store.fail = {"write"}
    with pytest.raises(OSError):
        await cache.flush()
    store.fail = set()
    await cache.flush()
    assert store.take_log() == ["wipe", "wipe", "write k=a", "write k=a"]


async def test_a_cache_that_is_not_open_can_not_be_cleared(store: Store, cache: StoreCache) -> None:
    await cache.aclose()
    with pytest.raises(RuntimeError, match="it isn't open; clear it before its hub is closed"):
        await cache.clear()


async def test_a_read_under_way_does_not_miss_what_is_set_or_cleared_meanwhile(store: Store, cache: StoreCache) -> None:
    store.values = {b"k": A, b"l": A, b"m": A}
    store.gates["fetch"] = asyncio.Event()
    store.gates["wipe"] = asyncio.Event()
    reads = [asyncio.create_task(cache.get(key)) for key in (b"k", b"l", b"m")]
    await settle()
    clear = asyncio.create_task(cache.clear())
    await settle()
    cache.set(b"k", B)
    store.gates["fetch"].set()
    assert await asyncio.gather(*reads) == [B, None, None]
    store.gates["wipe"].set()
    await clear


async def test_a_read_that_fails_raises(store: Store, cache: StoreCache) -> None:
    store.fail.add("fetch")
    with pytest.raises(OSError, match="fetch has failed"):
        await cache.get(b"k")


async def test_a_lot_is_written_at_once(store: Store, clock: VirtualClock) -> None:
    cache = StoreCache(store, max_pending_bytes=4_000)
    await cache.open("1")
    for i in range(7):
        cache.set(b"%d" % i, CachedValue(b"x" * 100, ""))
    await settle()
    assert len(store.values) == 7


async def test_a_burst_larger_than_what_may_wait_is_written_while_the_store_keeps_up(
    store: Store, clock: VirtualClock
) -> None:
    cache = StoreCache(store, max_pending_bytes=4_000)
    await cache.open("1")
    store.values = {b"old": A}
    for i in range(50):
        cache.set(b"%d" % i, CachedValue(b"x" * 100, ""))
    await settle()
    assert len(store.values) == 51


async def test_a_burst_that_can_not_be_written_is_dropped_and_the_store_wiped(
    store: Store, clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    cache = StoreCache(store, max_pending_bytes=4_000)
    await cache.open("1")
    store.values = {b"0": A}
    store.fail.add("write")
    for i in range(50):
        cache.set(b"%d" % i, B)
    await settle()
    assert "can't write as fast as values come" in caplog.text
    assert await cache.get(b"0") is None
    store.fail.clear()
    await cache.flush()
    assert store.values == {}


async def test_a_store_that_falls_behind_is_wiped_and_begins_anew(
    store: Store, clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    cache = StoreCache(store, max_pending_bytes=4_000)
    await cache.open("1")
    store.values = {b"old": A}
    store.gates["write"] = asyncio.Event()
    for i in range(100):
        cache.set(b"%d" % i, A)
        if i == 10:
            await settle()
    assert "can't write as fast as values come" in caplog.text
    assert await cache.get(b"99") == A
    assert [await cache.get(b"old"), await cache.get(b"5"), await cache.get(b"20")] == [None, None, None]
    store.gates["write"].set()
    await cache.flush()
    assert b"99" in store.values
    assert b"old" not in store.values
    assert len(store.values) < 16


async def test_a_store_that_fails_for_long_takes_no_more_memory_than_allowed(
    store: Store, clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    cache = StoreCache(store, max_pending_bytes=10_000)
    await cache.open("1")
    store.fail.add("write")
    for i in range(500):
        cache.set(b"%d" % i, CachedValue(b"x" * 100, ""))
        await clock.advance(0.1, settle_turns=4)
        assert cache._pending.size <= 10_000
    assert "can't write as fast as values come" in caplog.text
    store.fail.clear()
    await cache.aclose()
    assert b"499" in store.values


async def test_a_cache_that_could_not_be_opened_finds_and_keeps_nothing(store: Store, clock: VirtualClock) -> None:
    store.version, store.values = "0", {b"old": A}
    store.fail.add("open")
    cache = StoreCache(store)
    with pytest.raises(OSError, match="open has failed"):
        await cache.open("1")
    cache.set(b"k", B)
    assert [await cache.get(b"old"), await cache.get(b"k")] == [None, None]
    await cache.aclose()
    assert store.take_log() == ["open"]
    store.fail.clear()
    await cache.open("1")
    assert [await cache.get(b"old"), await cache.get(b"k")] == [None, None]


async def test_hubs_that_open_it_at_once_open_the_store_once(store: Store) -> None:
    cache = StoreCache(store)
    store.gates["open"] = asyncio.Event()
    opens = [asyncio.create_task(cache.open("1")) for _ in range(3)]
    await settle()
    opens[0].cancel()
    await settle()
    store.gates["open"].set()
    await asyncio.gather(*opens[1:])
    assert store.take_log() == ["open"]


async def test_closing_flushes_and_closes_also_when_that_fails(
    clock: VirtualClock, store: Store, cache: StoreCache
) -> None:
    timers = clock.pending_timers
    store.fail.add("write")
    cache.set(b"k", A)
    with pytest.raises(OSError, match="write has failed"):
        await cache.aclose()
    await cache.aclose()
    assert store.take_log() == ["write k=a", "close"]
    assert clock.pending_timers == timers
    assert await cache.get(b"k") is None


async def test_closing_waits_for_a_flush_that_runs(store: Store, cache: StoreCache) -> None:
    store.gates["write"] = asyncio.Event()
    cache.set(b"k", A)
    flush = asyncio.create_task(cache.flush())
    await settle()
    cache.set(b"l", B)
    close = asyncio.create_task(cache.aclose())
    await settle()
    assert store.take_log() == ["write k=a"]
    store.gates["write"].set()
    await asyncio.gather(flush, close)
    assert store.take_log() == ["write l=b", "close"]


async def test_cancelling_who_flushes_or_closes_does_not_stop_it(
    store: Store, cache: StoreCache, caplog: pytest.LogCaptureFixture
) -> None:
    store.gates["write"] = asyncio.Event()
    cache.set(b"k", A)
    flush = asyncio.create_task(cache.flush())
    await settle()
    flush.cancel()
    await settle()
    assert flush.cancelled()
    store.gates["write"].set()
    await settle()
    assert store.values == {b"k": A}
    store.gates["close"] = asyncio.Event()
    close = asyncio.create_task(cache.aclose())
    await settle()
    close.cancel()
    await settle()
    store.gates["close"].set()
    await cache.open("1")
    assert store.take_log() == ["write k=a", "close", "open"]
    assert caplog.records == []


async def test_a_write_that_is_cancelled_is_not_lost(store: Store, cache: StoreCache) -> None:
    store.gates["write"] = asyncio.Event()
    cache.set(b"k", A)
    flush = asyncio.create_task(cache.flush())
    await settle()
    assert cache._work is not None
    cache._work.cancel()
    await asyncio.gather(flush, return_exceptions=True)
    store.gates.clear()
    await cache.flush()
    assert store.values == {b"k": A}


async def test_the_store_does_not_work_in_the_context_of_who_flushes(store: Store, clock: VirtualClock) -> None:
    variable = contextvars.ContextVar("variable", default="nobody")
    seen = []

    class Watching(StoreCache):
        async def write(self, values: Mapping[bytes, CachedValue | None]) -> None:
            seen.append(variable.get())

    cache = Watching(store)
    await cache.open("1")
    variable.set("somebody")
    cache.set(b"k", A)
    await cache.flush()
    cache.set(b"k", B)
    await clock.advance(0.25)
    assert seen == ["nobody", "nobody"]


@pytest.mark.parametrize("name", ["flush_delay", "max_pending_bytes"])
def test_negative_numbers_are_errors(name: str) -> None:
    class Cache(FakeStoreCache):
        def __init__(self) -> None:
            FlushingCache.__init__(self, **{name: -1})

    with pytest.raises(ValueError, match=f"{name}=-1"):
        Cache()


async def test_failures_are_logged_with_what_failed(
    clock: VirtualClock, store: Store, cache: StoreCache, caplog: pytest.LogCaptureFixture
) -> None:
    store.fail.add("write")
    cache.set(b"k", A)
    await clock.advance(0.25)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "write has failed" in caplog.text
