"""Compute methods that are called without await."""

import asyncio
import threading

import pytest

from refusion import Computed, compute_method, invalidating, registry

from .services import Counters


class Prices:
    def __init__(self) -> None:
        self.values = {"a": 1, "b": 2}
        self.log: list[str] = []

    @compute_method
    def get(self, key: str) -> int:
        self.log.append(key)
        return self.values[key]

    @compute_method
    def total(self) -> int:
        self.log.append("total")
        return self.get("a") + self.get("b")

    @compute_method
    async def doubled(self) -> int:
        return self.total() * 2

    @compute_method
    def scaled(self, factor: int, *, offset: int = 0) -> int:
        return self.total() * factor + offset


def test_a_call_returns_the_value_and_is_cached_without_a_loop() -> None:
    prices = Prices()
    assert [prices.total(), prices.total()] == [3, 3]
    assert prices.log == ["total", "a", "b"]
    prices.values["a"] = 10
    prices.get.invalidate("a")
    assert prices.total() == 12
    assert prices.log == ["total", "a", "b", "total", "a"]


async def test_asynchronous_methods_depend_on_synchronous_ones() -> None:
    prices = Prices()
    assert await prices.doubled() == 6
    prices.values["b"] = 5
    with invalidating():
        prices.get("b")
    assert await prices.doubled() == 12


def test_keyword_only_arguments_are_passed_on() -> None:
    prices = Prices()
    assert prices.scaled(2, offset=1) == 7
    assert prices.scaled(offset=1, factor=2) == 7
    assert prices.scaled.capture(2, offset=1) is prices.scaled.existing(2, offset=1)


def test_capture_returns_the_computed_itself() -> None:
    prices = Prices()
    computed = prices.total.capture()
    assert computed.value == 3
    assert len(computed.dependencies) == 2


def test_errors_are_cached_and_raised() -> None:
    prices = Prices()
    for _ in range(2):
        with pytest.raises(KeyError):
            prices.get("missing")
    assert prices.log == ["missing"]
    assert isinstance(prices.get.capture("missing").error, KeyError)


async def test_the_awaitable_members_of_a_computed_work() -> None:
    prices = Prices()
    computed = prices.total.capture()
    waiting = asyncio.create_task(computed.wait_invalidated())
    await asyncio.sleep(0)
    prices.values["a"] = 4
    prices.get.invalidate("a")
    await waiting
    updated = await computed.update()
    assert updated.value == 6
    assert await computed.use() == 6
    assert (await Computed.capture(prices.total)) is updated


def test_threads_share_one_run() -> None:
    started, release = threading.Event(), threading.Event()

    class Slow:
        runs = 0

        @compute_method
        def get(self) -> int:
            self.runs += 1
            started.set()
            assert release.wait(10)
            return self.runs

    slow = Slow()
    results: list[int] = []
    threads = [threading.Thread(target=lambda: results.append(slow.get())) for _ in range(8)]
    for thread in threads:
        thread.start()
    assert started.wait(10)
    release.set()
    for thread in threads:
        thread.join()
    assert results == [1] * 8


def test_a_thread_that_comes_after_an_invalidation_computes_anew() -> None:
    started, release = threading.Event(), threading.Event()

    class Slow:
        def __init__(self) -> None:
            self.value = 1
            self.runs = 0

        @compute_method
        def get(self) -> int:
            self.runs += 1
            value = self.value
            if self.runs == 1:
                started.set()
                assert release.wait(10)
            return value

    slow = Slow()
    results: list[int] = []
    early = threading.Thread(target=lambda: results.append(slow.get()))
    early.start()
    assert started.wait(10)
    slow.value = 2
    slow.get.invalidate()
    late = threading.Thread(target=lambda: results.append(slow.get()))
    late.start()
    release.set()
    early.join()
    late.join()
    assert sorted(results) == [1, 2]
    assert slow.get() == 2


def test_an_interrupt_leaves_the_key_usable() -> None:
    class Interrupted:
        runs = 0

        @compute_method
        def get(self) -> int:
            self.runs += 1
            if self.runs == 1:
                raise KeyboardInterrupt
            return self.runs

    service = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        service.get()
    assert service.get() == 2


def test_the_result_of_a_call_in_the_scope_is_none() -> None:
    counters = Counters()
    assert counters.size() == 0
    counters.values["a"] = 1
    with invalidating():
        assert counters.size() is None
    assert counters.size() == 1
    assert registry().counters.registered > 0
