"""Why something was invalidated."""

from collections.abc import Iterator

import pytest

from refusion import InvalidationSource, invalidate, invalidating
from refusion.compute import InvalidationTracking, invalidation_tracking, set_invalidation_tracking

from .services import Counters


@pytest.fixture(autouse=True)
def _tracking() -> Iterator[None]:
    before = invalidation_tracking()
    yield
    set_invalidation_tracking(before)


async def test_only_the_invalidated_has_a_source() -> None:
    computed = await Counters().get.capture("a")
    assert computed.invalidation_source is None
    computed.invalidate()
    assert computed.invalidation_source is not None


async def test_the_first_reason_stays() -> None:
    computed = await Counters().get.capture("a")
    computed.invalidate(source="first")
    computed.invalidate(source="second")
    assert str(computed.invalidation_source) == "first"


async def test_by_default_the_source_is_the_place_of_the_call() -> None:
    counters = Counters()

    async def place_of(action: str) -> str:
        computed = await counters.get.capture("a")
        match action:
            case "computed":
                computed.invalidate()
            case "method":
                counters.get.invalidate("a")
            case "scope":
                with invalidating():
                    counters.get("a")
            case "function":
                invalidate(counters.get, "a")
        return str(computed.invalidation_source)

    for action in ("computed", "method", "scope", "function"):
        place = await place_of(action)
        assert "place_of (" in place, action
        assert "test_sources.py:" in place


async def test_dependants_carry_the_origin() -> None:
    counters = Counters()
    total = await counters.total.capture("a", "b")
    counters.get.existing("a").invalidate(source="the root")  # type: ignore
    assert str(total.invalidation_source) == "the root"


async def test_without_tracking_all_sources_are_unknown() -> None:
    set_invalidation_tracking(InvalidationTracking.NONE)
    computed = await Counters().get.capture("a")
    computed.invalidate()
    assert computed.invalidation_source is InvalidationSource.UNKNOWN
    assert str(computed.invalidation_source) == "unknown"


async def test_the_whole_chain_can_be_kept() -> None:
    set_invalidation_tracking(InvalidationTracking.WHOLE_CHAIN)
    counters = Counters()
    total = await counters.total.capture("a", "b")
    leaf = await counters.get.capture("a")
    leaf.invalidate(source="the root")
    source = total.invalidation_source
    assert source is not None
    assert source.dependency is leaf
    assert [str(link) for link in source][-1] == "the root"
    assert source.origin == InvalidationSource("the root")
    assert str(source).endswith("INVALIDATED> <- the root")
    assert repr(source).startswith("<InvalidationSource ")


async def test_a_stale_dependency_names_itself() -> None:
    set_invalidation_tracking(InvalidationTracking.WHOLE_CHAIN)
    counters = Counters()
    leaf = await counters.get.capture("a")
    leaf.invalidate(source="early")

    from refusion import compute_method

    class Parent:
        @compute_method
        async def get(self) -> int:
            return await leaf.use(allow_inconsistent=True)

    computed = await Parent().get.capture()
    source = computed.invalidation_source
    assert source is not None
    assert source.dependency is leaf
    assert str(source.origin) == "early"


def test_sources_are_compared_by_what_they_say() -> None:
    assert InvalidationSource("a") == InvalidationSource("a")
    assert InvalidationSource("a") != InvalidationSource("b")
    assert InvalidationSource("a") != "a"
    assert len({InvalidationSource("a"), InvalidationSource("a")}) == 1
