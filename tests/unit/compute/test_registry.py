"""The registry: counting, observing, pruning."""

import gc
import logging

import pytest

from refusion import Computed, collect, registry

from .services import Counters


async def test_each_computed_is_registered_and_unregistered_once() -> None:
    counters = Counters()
    log: list[tuple[str, object]] = []
    stops = [
        registry().on_register(lambda computed: log.append(("+", computed))),
        registry().on_unregister(lambda computed: log.append(("-", computed))),
    ]
    computeds = [await counters.get.capture(str(n)) for n in range(16)]
    for n in range(16):
        counters.get.invalidate(str(n))
    assert log == [("+", computed) for computed in computeds] + [("-", computed) for computed in computeds]
    for stop in stops:
        stop()
    await counters.get("again")
    assert len(log) == 32
    assert not registry().is_watched


async def test_each_use_is_told_also_hot_hits() -> None:
    counters = Counters()
    await counters.get("a")
    await counters.get("a")
    log: list[bool] = []
    stop = registry().on_access(lambda computed, is_new: log.append(is_new))
    for key in "aab":
        await counters.get(key)
    assert counters.size() == 0
    stop()
    await counters.get("a")
    assert log == [False, False, True, True]


async def test_a_failing_observer_disturbs_nobody(caplog: pytest.LogCaptureFixture) -> None:
    def fail(*_: object) -> None:
        raise ValueError("observer")

    stops = [registry().on_register(fail), registry().on_unregister(fail), registry().on_access(fail)]
    try:
        with caplog.at_level(logging.ERROR):
            counters = Counters()
            assert await counters.get("a") == 0
            counters.get.invalidate("a")
    finally:
        for stop in stops:
            stop()
            stop()
    assert caplog.text.count("a registry handler failed") == 3


async def test_the_counters_tell_what_is_there() -> None:
    collect()
    counters = Counters()
    before = registry().counters
    held = await counters.total.capture("a", "b")
    counters.get.invalidate("a")
    after = registry().counters
    assert after.registered == before.registered + 3
    assert after.unregistered == before.unregistered + 2
    assert after.computed_count == before.computed_count + 1
    assert held.is_invalidated


async def test_pruning_sweeps_out_what_was_collected_and_nothing_else() -> None:
    counters = Counters()
    held = await counters.get.capture("held")
    for n in range(100):
        await counters.get(str(n))
    collect()
    gc.collect()
    before = registry().counters
    assert registry().prune() >= 100
    after = registry().counters
    assert after.key_count <= before.key_count - 100
    assert after.pruned_keys >= before.pruned_keys + 100
    assert counters.get.existing("held") is held


async def test_entries_of_collected_results_do_not_pile_up() -> None:
    counters = Counters()
    for n in range(20_000):
        await counters.get(str(n))
        if n % 100 == 0:
            collect()
    collect()
    cache = counters.get.bound_method.cache  # type: ignore
    assert len(cache.table) < 4_000


async def test_all_registered_results_can_be_listed() -> None:
    counters = Counters()
    computed: Computed[int] = await counters.get.capture("a")
    assert computed in list(registry())
