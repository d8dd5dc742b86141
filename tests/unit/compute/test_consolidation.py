"""Consolidation: dependants hear of a change only if the output differs."""

import asyncio
import contextvars
import logging
from collections.abc import Callable
from typing import Any

import pytest

from refusion import Computed, compute_method, invalidating
from refusion.testing import VirtualClock, settle

ambient: contextvars.ContextVar[str] = contextvars.ContextVar("ambient", default="none")


class Service:
    def __init__(self) -> None:
        self.value: Any = 1
        self.runs = 0
        self.seen: list[str] = []

    @compute_method
    async def raw(self) -> Any:
        self.runs += 1
        self.seen.append(ambient.get())
        if isinstance(self.value, Exception):
            raise self.value
        return self.value

    @compute_method(consolidation_delay=0)
    async def parity(self) -> int:
        return int(await self.raw()) % 2

    @compute_method(consolidation_delay=0.2)
    async def slow(self) -> Any:
        return await self.raw()

    @compute_method(consolidation_delay=0, consolidation_comparer=lambda a, b: abs(a - b) < 10)
    async def rough(self) -> int:
        return int(await self.raw())

    @compute_method
    async def parent(self) -> int:
        return await self.parity()

    def set(self, value: Any) -> None:
        self.value = value
        self.raw.invalidate()


async def test_an_equal_output_leaves_the_target_as_it_is() -> None:
    service = Service()
    target, parent = await service.parity.capture(), await service.parent.capture()
    service.set(3)
    await settle()
    assert target.is_consistent
    assert parent.is_consistent
    assert service.parity.existing() is target
    service.set(5)
    await settle()
    assert target.is_consistent


async def test_a_different_output_invalidates_the_target_and_its_dependants() -> None:
    service = Service()
    target, parent = await service.parity.capture(), await service.parent.capture()
    service.set(2)
    await settle()
    assert target.is_invalidated
    assert parent.is_invalidated
    assert await service.parent() == 0


async def test_the_target_has_no_dependencies() -> None:
    assert (await Service().parity.capture()).dependencies == ()


async def test_a_change_that_is_taken_back_within_the_delay_goes_unseen() -> None:
    with VirtualClock() as clock:
        service = Service()
        target = await service.slow.capture()
        service.set(2)
        await clock.advance(0.1)
        service.set(1)
        await clock.advance(0.2)
        assert target.is_consistent
        assert service.runs == 2


async def test_a_comparer_decides() -> None:
    service = Service()
    target = await service.rough.capture()
    service.set(5)
    await settle()
    assert target.is_consistent
    service.set(50)
    await settle()
    assert target.is_invalidated


async def test_invalidating_by_call_goes_to_the_source() -> None:
    service = Service()
    for form in (lambda: service.parity.invalidate(), lambda: _in_scope(service)):
        target = await service.parity.capture()
        form()
        await settle()
        assert target.is_consistent


def _in_scope(service: Service) -> None:
    with invalidating():
        service.parity()


async def test_invalidating_the_target_itself_works_at_once() -> None:
    service = Service()
    target = await service.parity.capture()
    target.invalidate()
    assert target.is_invalidated
    assert await service.parity() == 1
    assert service.runs == 1


async def test_errors_are_equal_when_type_and_text_are() -> None:
    with VirtualClock() as clock:
        service = Service()
        service.value = ValueError("same")
        target = await service.slow.capture()
        assert isinstance(target.error, ValueError)
        service.set(ValueError("same"))
        await clock.advance(0.3)
        assert target.is_consistent
        service.set(ValueError("other"))
        await clock.advance(0.3)
        assert target.is_invalidated


async def test_a_value_and_an_error_differ() -> None:
    service = Service()
    target = await service.parity.capture()
    service.set(ValueError("now"))
    await settle()
    assert target.is_invalidated


async def test_the_background_run_inherits_nothing() -> None:
    service = Service()
    await service.parity.capture()
    ambient.set("writer")
    service.set(3)
    await settle()
    assert service.seen[-1] == "none"


async def test_a_failing_comparer_invalidates_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Service):
        @compute_method(consolidation_delay=0, consolidation_comparer=lambda a, b: 1 / 0)
        async def get(self) -> int:
            return int(await self.raw())

    broken = Broken()
    target = await broken.get.capture()
    with caplog.at_level(logging.ERROR):
        broken.set(3)
        await settle()
    assert target.is_invalidated
    assert "consolidation failed" in caplog.text


def test_a_target_whose_loop_is_gone_is_invalidated() -> None:
    service = Service()

    async def compute() -> Computed[int]:
        return await service.parity.capture()

    target = asyncio.run(compute())
    service.set(3)
    assert target.is_invalidated


def test_synchronous_methods_consolidate_in_a_timer() -> None:
    class Sizes:
        def __init__(self) -> None:
            self.items = [1]

        @compute_method
        def read(self) -> int:
            return len(self.items)

        @compute_method(consolidation_delay=0.5)
        def is_empty(self) -> bool:
            return self.read() == 0

    with VirtualClock() as clock:
        sizes = Sizes()
        target = sizes.is_empty.capture()
        steps: list[tuple[Callable[[], None], bool]] = [
            (lambda: sizes.items.append(2), True),
            (sizes.items.clear, False),
        ]
        for change, stays in steps:
            change()
            sizes.read.invalidate()
            assert target.is_consistent
            clock.advance_sync(0.6)
            assert target.is_consistent is stays
