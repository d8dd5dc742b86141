"""What every client cache does, whatever it keeps values in. A new one joins with a subclass."""

import asyncio
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refusion.remote import CachedValue, ClientCache, MemoryCache, SqliteCache

NewCache: TypeAlias = Callable[[], ClientCache]

A, B = CachedValue(b"a", "hash of a"), CachedValue(b"b", "hash of b")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("set"), st.integers(0, 3), st.binary(max_size=4)),
        st.tuples(st.sampled_from(["remove", "get", "get"]), st.integers(0, 3), st.just(b"")),
        st.tuples(
            st.sampled_from(["flush", "clear", "reopen", "open anew", "open as another version"]),
            st.just(0),
            st.just(b""),
        ),
    ),
    max_size=30,
)


class CacheContract:
    """The suite; a subclass says how to make a cache, each time on top of the same store."""

    examples = 100

    def make(self, folder: Path) -> NewCache:
        raise NotImplementedError

    @pytest.fixture
    def new_cache(self, tmp_path: Path) -> NewCache:
        return self.make(tmp_path)

    async def test_a_value_is_readable_at_once_and_after_a_flush(self, new_cache: NewCache) -> None:
        cache = await opened(new_cache())
        assert await cache.get(b"k") is None
        cache.set(b"k", A)
        assert await cache.get(b"k") == A
        await cache.flush()
        assert await cache.get(b"k") == A
        await cache.aclose()

    async def test_the_value_that_was_set_last_is_kept(self, new_cache: NewCache) -> None:
        cache = await opened(new_cache())
        cache.set(b"k", A)
        cache.set(b"k", B)
        assert await cache.get(b"k") == B
        await cache.flush()
        cache.set(b"k", A)
        await cache.aclose()
        cache = await opened(new_cache())
        assert await cache.get(b"k") == A
        await cache.aclose()

    async def test_a_removed_value_is_gone_also_for_the_next_one_who_opens(self, new_cache: NewCache) -> None:
        cache = await opened(new_cache())
        cache.set(b"flushed", A)
        await cache.flush()
        cache.set(b"pending", A)
        for key in (b"flushed", b"pending", b"never there"):
            cache.remove(key)
            assert await cache.get(key) is None
        await cache.aclose()
        cache = await opened(new_cache())
        assert [await cache.get(key) for key in (b"flushed", b"pending")] == [None, None]
        await cache.aclose()

    async def test_closing_flushes_and_may_be_repeated(self, new_cache: NewCache) -> None:
        cache = await opened(new_cache())
        cache.set(b"k", A)
        await cache.aclose()
        await cache.aclose()
        for reopened in (cache, new_cache()):
            await reopened.open("1")
            assert await reopened.get(b"k") == A
            await reopened.aclose()

    async def test_a_cache_that_is_not_open_finds_and_keeps_nothing(self, new_cache: NewCache) -> None:
        cache = new_cache()
        cache.set(b"early", A)
        cache.remove(b"early")
        assert await cache.get(b"early") is None
        await cache.flush()
        await cache.open("1")
        cache.set(b"k", A)
        await cache.aclose()
        assert await cache.get(b"k") is None
        cache.set(b"late", B)
        cache.remove(b"k")
        await cache.flush()
        await cache.open("1")
        assert [await cache.get(key) for key in (b"early", b"k", b"late")] == [None, A, None]
        await cache.aclose()

    async def test_another_version_finds_nothing_and_nor_does_the_old_one_after_it(self, new_cache: NewCache) -> None:
        cache = await opened(new_cache())
        cache.set(b"k", A)
        await cache.aclose()
        cache = new_cache()
        await cache.open("2")
        assert await cache.get(b"k") is None
        cache.set(b"new", B)
        await cache.aclose()
        cache = await opened(new_cache())
        assert [await cache.get(b"k"), await cache.get(b"new")] == [None, None]
        await cache.aclose()

    async def test_it_is_open_until_the_last_of_those_who_have_opened_it_is_done(self, new_cache: NewCache) -> None:
        cache = await opened(new_cache())
        await cache.open("1")
        cache.set(b"k", A)
        await cache.aclose()
        assert await cache.get(b"k") == A
        await cache.aclose()
        assert await cache.get(b"k") is None
        await cache.aclose()
        await cache.open("1")
        assert await cache.get(b"k") == A
        await cache.aclose()

    async def test_opening_with_another_version_is_an_error_while_it_is_open(self, new_cache: NewCache) -> None:
        cache = await opened(new_cache())
        cache.set(b"k", A)
        with pytest.raises(ValueError, match="open with version '1', and can't be with '2'"):
            await cache.open("2")
        assert await cache.get(b"k") == A
        await cache.aclose()

    async def test_hubs_may_open_and_use_it_at_the_same_time(self, new_cache: NewCache) -> None:
        cache = new_cache()
        await asyncio.gather(*[cache.open("1") for _ in range(5)])
        for i in range(5):
            cache.set(b"%d" % i, A)
        await asyncio.gather(*[cache.flush() for _ in range(5)])
        assert await asyncio.gather(*[cache.get(b"%d" % i) for i in range(6)]) == [A] * 5 + [None]
        await asyncio.gather(*[cache.aclose() for _ in range(5)])

    @pytest.mark.parametrize("is_flushed", [False, True])
    async def test_clearing_leaves_nothing_and_what_is_set_later_stays(
        self, new_cache: NewCache, is_flushed: bool
    ) -> None:
        cache = await opened(new_cache())
        cache.set(b"a", A)
        cache.set(b"b", A)
        if is_flushed:
            await cache.flush()
        await cache.clear()
        cache.set(b"b", B)
        assert [await cache.get(b"a"), await cache.get(b"b")] == [None, B]
        await cache.flush()
        assert [await cache.get(b"a"), await cache.get(b"b")] == [None, B]
        await cache.aclose()
        cache = await opened(new_cache())
        assert [await cache.get(b"a"), await cache.get(b"b")] == [None, B]
        await cache.aclose()

    async def test_keys_and_values_are_any_bytes(self, new_cache: NewCache) -> None:
        values = {
            b"": CachedValue(b"", ""),
            b"\x00": CachedValue(b"\x00", "h"),
            bytes(range(256)): CachedValue(bytes(range(256)), "\u00e4"),
            b"k" * 10_000: CachedValue(b"v" * 3_000_000, "h"),
        }
        cache = await opened(new_cache())
        for key, value in values.items():
            cache.set(key, value)
        await cache.aclose()
        cache = await opened(new_cache())
        for key, value in values.items():
            assert await cache.get(key) == value
        await cache.aclose()

    @pytest.mark.timeout(120)
    def test_whatever_is_done_with_it_it_has_what_a_dictionary_would_have(self) -> None:
        with asyncio.Runner() as runner:

            @settings(max_examples=self.examples, deadline=None)
            @given(steps=STEPS)
            def check(steps: list[tuple[str, int, bytes]]) -> None:
                with tempfile.TemporaryDirectory() as folder:
                    runner.run(self._play(self.make(Path(folder)), steps))

            check()

    async def _play(self, new_cache: NewCache, steps: list[tuple[str, int, bytes]]) -> None:
        model: dict[bytes, CachedValue] = {}
        version = 1
        cache = await opened(new_cache())
        try:
            for step, number, data in steps:
                key = b"%d" % number
                if step == "set":
                    model[key] = CachedValue(data, data.hex())
                    cache.set(key, model[key])
                elif step == "remove":
                    model.pop(key, None)
                    cache.remove(key)
                elif step == "get":
                    assert await cache.get(key) == model.get(key)
                elif step == "flush":
                    await cache.flush()
                elif step == "clear":
                    model.clear()
                    await cache.clear()
                else:
                    await cache.aclose()
                    if step == "open as another version":
                        version += 1
                        model.clear()
                    cache = cache if step == "reopen" else new_cache()
                    await cache.open(str(version))
            for number in range(4):
                assert await cache.get(b"%d" % number) == model.get(b"%d" % number)
        finally:
            await cache.aclose()


class TestMemoryCache(CacheContract):
    def make(self, folder: Path) -> NewCache:
        cache = MemoryCache()
        return lambda: cache

    async def test_what_was_not_used_for_the_longest_time_goes_first(self) -> None:
        cache = await opened(MemoryCache(max_entries=3))
        for key in (b"a", b"b", b"c"):
            cache.set(key, A)
        await cache.get(b"a")
        cache.set(b"d", A)
        assert [key for key in (b"a", b"b", b"c", b"d") if await cache.get(key)] == [b"a", b"c", b"d"]

    async def test_keys_and_data_are_bounded_together(self) -> None:
        cache = await opened(MemoryCache(max_bytes=100))
        cache.set(b"a" * 10, CachedValue(b"x" * 40, "h"))
        cache.set(b"b" * 10, CachedValue(b"x" * 40, "h"))
        cache.set(b"b" * 10, CachedValue(b"y" * 40, "h"))
        assert await cache.get(b"a" * 10)
        cache.set(b"c", A)
        assert await cache.get(b"b" * 10) is None
        assert await cache.get(b"a" * 10)

    async def test_a_value_that_is_too_large_is_not_kept_and_nor_is_the_one_before(self) -> None:
        cache = await opened(MemoryCache(max_bytes=10))
        cache.set(b"k", A)
        cache.set(b"k", CachedValue(b"x" * 10, "h"))
        assert await cache.get(b"k") is None

    async def test_none_is_no_limit(self) -> None:
        cache = await opened(MemoryCache(max_bytes=None, max_entries=None))
        cache.set(b"k", A)
        assert await cache.get(b"k") == A

    @pytest.mark.parametrize("name", ["max_bytes", "max_entries"])
    def test_a_negative_limit_is_an_error(self, name: str) -> None:
        limits = {name: -1}
        with pytest.raises(ValueError, match=f"{name} is a number from 0 on"):
            MemoryCache(**limits)


class TestSqliteCache(CacheContract):
    examples = 40

    def make(self, folder: Path) -> NewCache:
        return lambda: SqliteCache(folder / "cache.db")


async def opened(cache: ClientCache) -> ClientCache:
    await cache.open("1")
    return cache
