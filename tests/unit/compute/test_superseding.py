"""Another result in the place of one that turned out to be stale."""

import threading
from typing import Any

from refusion import Computed, registry
from refusion.compute._async_method import AsyncMethod
from refusion.compute._graph import graph_lock

from .services import Counters


def supersede(computed: Computed[Any], value: Any, error: Exception | None = None) -> Computed[Any] | None:
    function = computed._function
    assert isinstance(function, AsyncMethod)
    return function.supersede(computed, value, error)


async def test_the_successor_is_found_and_counted_and_what_it_replaces_is_invalidated() -> None:
    counters = Counters()
    first = await counters.get.capture("a")
    before = registry().counters
    second = supersede(first, 5)
    assert first.is_invalidated
    assert second is not None
    assert counters.get.existing("a") is second
    assert await counters.get("a") == 5
    after = registry().counters
    assert (after.registered - before.registered, after.unregistered - before.unregistered) == (1, 1)
    counters.get.invalidate("a")
    assert second.is_invalidated
    assert await counters.get("a") == 0


async def test_a_stale_one_has_no_successor() -> None:
    counters = Counters()
    first = await counters.get.capture("a")
    counters.get.invalidate("a")
    assert supersede(first, 5) is None
    assert await counters.get("a") == 0


async def test_an_error_may_be_the_successor() -> None:
    counters = Counters()
    second = supersede(await counters.get.capture("a"), None, KeyError("a"))
    assert second is not None
    assert isinstance(second.error, KeyError)
    assert await counters.get.capture("a") is second


async def test_observers_are_told_of_it_while_it_computes_and_no_lock_is_held() -> None:
    counters = Counters()
    first = await counters.get.capture("a")
    told: list[tuple[bool, bool]] = []

    def look(computed: Computed[Any]) -> None:
        def acquire() -> None:
            is_free = graph_lock.acquire(timeout=1)
            told.append((computed.is_consistent, is_free))
            if is_free:
                graph_lock.release()

        thread = threading.Thread(target=acquire)
        thread.start()
        thread.join()

    stop = registry().on_register(look)
    supersede(first, 5)
    stop()
    assert told == [(False, True)]


async def test_an_observer_may_invalidate_everything() -> None:
    counters = Counters()
    first = await counters.get.capture("a")
    stop = registry().on_register(lambda _: registry().invalidate_everything())
    second = supersede(first, 5)
    stop()
    assert second is not None
    assert second.is_invalidated
    assert await counters.get("a") == 0
