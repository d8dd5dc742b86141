"""One computed, from birth to invalidation."""

import asyncio

import pytest

from refusion import Computed, ConsistencyState
from refusion.compute import ComputedNotReady
from refusion.compute._completion import complete
from refusion.testing import settle

from .services import Counters
from .test_single_flight import Gate


async def test_the_output_of_a_running_computation_can_not_be_read() -> None:
    gate = Gate()
    task = asyncio.create_task(gate.get())
    await settle()
    running = gate.get.existing()
    assert running is not None
    assert running.state is ConsistencyState.COMPUTING
    for name in ("value", "error", "value_or_none", "has_value", "has_error", "output"):
        with pytest.raises(ComputedNotReady, match=r"Gate\.get\('a'\) #\d+ COMPUTING> is still COMPUTING"):
            getattr(running, name)
    assert running.version > 0
    assert running.options.min_cache_duration == 0
    assert running.input.arguments == ("a",)
    gate.open_all()
    await task
    assert running.value == 0


async def test_an_output_is_set_once() -> None:
    computed = await Counters().get.capture("a")
    assert complete(computed, 5, None, float("inf")) is False
    assert computed.value == 0


async def test_an_invalidated_computed_keeps_its_output() -> None:
    computed = await Counters().get.capture("a")
    computed.invalidate()
    assert computed.value == 0
    assert computed.is_invalidated
    assert not computed.is_consistent


async def test_versions_are_distinct_and_not_zero() -> None:
    counters = Counters()
    versions = {(await counters.get.capture(str(key))).version for key in range(100)}
    assert len(versions) == 100
    assert 0 not in versions


async def test_computeds_are_compared_by_identity() -> None:
    counters = Counters()
    one, two = await counters.get.capture("a"), await counters.get.capture("b")
    assert one.value == two.value
    assert one != two
    assert len({one, two, one}) == 2


async def test_unpacking_gives_value_and_error() -> None:
    value, error = await Counters().get.capture("a")
    assert (value, error) == (0, None)


async def test_results_are_equal_when_value_and_error_are() -> None:
    counters = Counters()
    one, two = (await counters.get.capture("a")).output, (await counters.get.capture("b")).output
    assert one == two
    assert hash(one) == hash(two)
    assert one.has_value
    assert one.value == 0
    assert repr(one) == "Result(0)"
    assert one != 0


async def test_at_most_one_consistent_computed_per_call() -> None:
    counters = Counters()
    seen: list[Computed[int]] = []
    for _ in range(20):
        seen.append(await counters.get.capture("a"))
        counters.get.invalidate("a")
    seen.append(await counters.get.capture("a"))
    assert [computed for computed in seen if computed.is_consistent] == [counters.get.existing("a")]
