"""Errors are results: cached for a while, by their kind, and raised anew for every caller."""

import asyncio
import gc
import logging
import traceback
import weakref

import pytest

from refusion import Computed, TransientError, compute_method, registry
from refusion._base._transiency import Transiency
from refusion.compute import InvalidationSource
from refusion.testing import VirtualClock


class Failing:
    def __init__(self, error: BaseException) -> None:
        self.error: BaseException | None = error
        self.runs = 0

    @compute_method
    async def get(self) -> int:
        self.runs += 1
        if self.error is not None:
            raise self.error
        return self.runs

    @compute_method
    async def fallback(self) -> int:
        try:
            return await self.get()
        except Exception:
            return -1

    @compute_method
    async def parent(self) -> int:
        return await self.get()


async def test_an_error_is_raised_for_every_caller_and_computed_once() -> None:
    failing = Failing(ValueError("no"))
    for _ in range(3):
        with pytest.raises(ValueError, match="no"):
            await failing.get()
    assert failing.runs == 1


class Mine(ValueError, TransientError):
    pass


@pytest.mark.parametrize(
    ("error", "lifetime"),
    [
        (OSError(), 1.0),
        (TimeoutError(), 1.0),
        (ConnectionResetError(), 1.0),
        (Mine(), 1.0),
        (Exception("unknown"), 1.0),
        (ValueError(), 30.0),
        (TypeError(), 30.0),
        (KeyError(), 30.0),
        (RuntimeError(), 30.0),
        (FileNotFoundError(), 30.0),
        (PermissionError(), 30.0),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
async def test_an_error_expires_by_its_kind(error: Exception, lifetime: float) -> None:
    with VirtualClock() as clock:
        failing = Failing(error)
        computed = await failing.get.capture()
        await clock.advance(lifetime - 0.01)
        assert computed.is_consistent
        await clock.advance(0.02)
        assert computed.is_invalidated
        assert computed.invalidation_source == InvalidationSource.ERROR_EXPIRED


async def test_an_error_may_name_how_long_it_lasts() -> None:
    with VirtualClock() as clock:
        error = OSError()
        error.retry_delay = 5.0  # type: ignore
        computed = await Failing(error).get.capture()
        await clock.advance(4.9)
        assert computed.is_consistent
        await clock.advance(0.2)
        assert computed.is_invalidated


async def test_the_classifier_can_be_replaced_and_a_broken_one_means_transient(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(error: BaseException) -> Transiency:
        raise RuntimeError("classifier")

    before = registry().error_classifier
    with VirtualClock() as clock, caplog.at_level(logging.ERROR):
        try:
            registry().error_classifier = lambda error: Transiency.TERMINAL
            terminal = await Failing(OSError()).get.capture()
            registry().error_classifier = broken
            transient = await Failing(ValueError()).get.capture()
        finally:
            registry().error_classifier = before
        await clock.advance(1.1)
        assert transient.is_invalidated
        await clock.advance(100)
        assert terminal.is_consistent
    assert "an error classifier failed" in caplog.text


async def test_an_error_that_nobody_holds_stays_for_its_time() -> None:
    with VirtualClock() as clock:
        failing = Failing(ValueError())
        with pytest.raises(ValueError):
            await failing.get()
        registry().collect()
        gc.collect()
        with pytest.raises(ValueError):
            await failing.get()
        assert failing.runs == 1
        assert clock.pending_timers >= 1


async def test_the_timer_of_an_error_goes_with_it() -> None:
    with VirtualClock() as clock:
        failing = Failing(ValueError())
        computed = await failing.get.capture()
        registry().collect()
        before = clock.pending_timers
        computed.invalidate()
        assert clock.pending_timers == before - 1


async def test_raising_an_error_many_times_does_not_grow_its_traceback() -> None:
    failing = Failing(ValueError("no"))
    lengths = []
    for _ in range(10):
        try:
            await failing.get()
        except ValueError as error:
            lengths.append(len(traceback.extract_tb(error.__traceback__)))
    assert len(set(lengths[1:])) == 1


async def test_the_traceback_shows_the_line_that_failed() -> None:
    failing = Failing(ValueError("no"))
    for _ in range(2):
        with pytest.raises(ValueError) as info:
            await failing.get()
        assert "raise self.error" in "".join(traceback.format_exception(info.value))


async def test_an_error_does_not_keep_its_computed_alive() -> None:
    gc.collect()
    gc.disable()
    try:
        failing = Failing(ValueError("no"))
        computed: Computed[int] | None = await failing.get.capture()
        assert computed is not None
        ref = weakref.ref(computed)
        with pytest.raises(ValueError):
            await failing.get()
        computed.invalidate()
        computed = None
        failing.error = None
        assert ref() is None
    finally:
        gc.enable()


def test_an_error_of_a_synchronous_method_does_not_keep_its_computed_alive_either() -> None:
    class Service:
        @compute_method
        def get(self) -> int:
            raise ValueError("no")

    gc.collect()
    gc.disable()
    try:
        service = Service()
        ref = weakref.ref(service.get.capture())
        with pytest.raises(ValueError):
            service.get()
        service.get.invalidate()
        assert ref() is None
    finally:
        gc.enable()


async def test_a_dependant_that_swallows_an_error_still_depends_on_it() -> None:
    failing = Failing(ValueError())
    assert await failing.fallback() == -1
    failing.error = None
    failing.get.invalidate()
    assert await failing.fallback() == 2


async def test_a_failed_dependant_keeps_its_dependencies() -> None:
    failing = Failing(ValueError())
    with pytest.raises(ValueError):
        await failing.parent()
    failing.error = None
    failing.get.invalidate()
    assert await failing.parent() == 2


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
def test_process_control_passes_through_and_leaves_the_key_usable(interrupt: type[BaseException]) -> None:
    failing = Failing(interrupt())

    async def call() -> int:
        return await failing.get()

    with pytest.raises(interrupt):
        asyncio.run(call())
    failing.error = None
    assert asyncio.run(call()) == 2


async def test_reading_a_computed_never_masks_its_error() -> None:
    computed = await Failing(ValueError("no")).get.capture()
    assert computed.has_error
    assert not computed.has_value
    assert computed.value_or_none is None
    value, error = computed
    assert value is None
    assert isinstance(error, ValueError)
    with pytest.raises(ValueError, match="no"):
        _ = computed.value
    with pytest.raises(ValueError, match="no"):
        _ = computed.output.value


async def test_a_falsy_error_is_an_error() -> None:
    class Falsy(Exception):
        def __bool__(self) -> bool:
            return False

    computed = await Failing(Falsy()).get.capture()
    assert computed.has_error
    with pytest.raises(Falsy):
        await Failing(Falsy()).get()
