"""Options: defaults, inheritance, and what each one does to a result."""

import math

import pytest

from refusion import ComputedOptions, compute_method
from refusion.testing import VirtualClock


async def test_the_defaults_are_those_of_the_reference() -> None:
    options = ComputedOptions().resolve()
    assert options.keep_alive == 10
    assert options.min_cache_duration == 0
    assert options.transient_error_invalidation_delay == 1
    assert options.non_transient_error_invalidation_delay == 30
    assert options.auto_invalidation_delay == math.inf
    assert options.invalidation_delay == 0
    assert not options.must_consolidate
    assert options.cancellation_retries.max_retries == 10


async def test_the_process_wide_defaults_can_be_replaced() -> None:
    before = ComputedOptions.default
    ComputedOptions.default = ComputedOptions(min_cache_duration=5)
    try:

        class Service:
            @compute_method
            async def get(self) -> int:
                return 1

            @compute_method(min_cache_duration=7)
            async def own(self) -> int:
                return 1

        service = Service()
        assert (await service.get.capture()).options.min_cache_duration == 5
        assert (await service.own.capture()).options.min_cache_duration == 7
        assert Service.get.options is (await service.get.capture()).options
    finally:
        ComputedOptions.default = before


async def test_a_result_invalidates_itself_after_the_auto_invalidation_delay() -> None:
    with VirtualClock() as clock:

        class Service:
            runs = 0

            @compute_method(auto_invalidation_delay=2)
            async def get(self) -> int:
                self.runs += 1
                return self.runs

        service = Service()
        computed = await service.get.capture()
        await clock.advance(1.9)
        assert await service.get() == 1
        await clock.advance(0.2)
        assert computed.is_invalidated
        assert await service.get() == 2


async def test_auto_invalidation_caps_the_life_of_lasting_errors_but_not_of_passing_ones() -> None:
    with VirtualClock() as clock:

        class Service:
            @compute_method(auto_invalidation_delay=0.5)
            async def get(self, error: type[Exception]) -> int:
                raise error

        service = Service()
        lasting, passing = await service.get.capture(ValueError), await service.get.capture(OSError)
        await clock.advance(0.6)
        assert lasting.is_invalidated
        assert passing.is_consistent
        await clock.advance(0.5)
        assert passing.is_invalidated


def test_a_deadline_counts_though_its_loop_is_gone() -> None:
    import asyncio

    class Service:
        runs = 0

        @compute_method(auto_invalidation_delay=5)
        async def get(self) -> int:
            self.runs += 1
            return self.runs

    service = Service()

    async def call() -> int:
        return await service.get()

    class LateClock:
        """Never fires a timer, as when the loops of all timers were closed."""

        time = 0.0

        def now(self) -> float:
            return self.time

        def call_at(self, when: float, callback: object) -> "LateClock":
            return self

        def cancel(self) -> None: ...

        async def sleep(self, delay: float) -> None: ...

    from refusion._base._clock import set_clock

    clock = LateClock()
    before = set_clock(clock)
    try:
        assert [asyncio.run(call()), asyncio.run(call())] == [1, 1]
        clock.time = 6.0
        assert asyncio.run(call()) == 2
        existing = service.get.existing()
        assert existing is not None
        clock.time = 12.0
        assert service.get.existing() is None
        assert existing.is_invalidated
    finally:
        set_clock(before)


@pytest.mark.parametrize("delay", [0.0, 5.0, math.inf])
def test_any_time_from_zero_to_infinity_is_an_option(delay: float) -> None:
    assert ComputedOptions(keep_alive=delay).resolve().keep_alive == delay
