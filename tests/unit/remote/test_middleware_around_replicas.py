"""Middleware that comes between a client with a cache and its server."""

import asyncio
from typing import Any

import pytest

from refusion.rpc import OutboundContext, Proceed
from refusion.testing import settle

from .cached_stage import CachedStage


@pytest.fixture
def stage(cached_stage: CachedStage) -> CachedStage:
    return cached_stage


async def hide_errors(call: OutboundContext, proceed: Proceed) -> Any:
    try:
        return await proceed()
    except KeyError:
        return -1


async def add_a_hundred(call: OutboundContext, proceed: Proceed) -> Any:
    return 100 + await proceed()


async def test_what_it_shows_in_place_of_an_error_is_shown_again_without_a_link(stage: CachedStage) -> None:
    await stage.open_online_client()
    stage.hub.add_outbound_middleware(hide_errors)
    stage.service.fail_with["a"] = KeyError("a")
    replica = await stage.replica("a")
    assert replica.value == -1
    stage.service.change("a", 1)
    await settle()
    assert replica.is_invalidated
    await stage.cut()
    assert (await stage.replica("a")).value == -1


async def test_what_it_shows_in_place_of_an_error_takes_the_place_of_a_cached_value(stage: CachedStage) -> None:
    await stage.remember(a=1)
    stage.service.fail_with["a"] = KeyError("a")
    stage.service.change("a", 2)
    await stage.open_online_client()
    stage.hub.add_outbound_middleware(hide_errors)
    assert (await stage.replica("a")).value == 1
    await settle()
    assert (await stage.replica("a")).value == -1
    assert stage.keys == []


async def test_it_changes_what_the_server_has_said_once_also_if_that_is_a_match(stage: CachedStage) -> None:
    stage.values["a"] = 1
    await stage.open_online_client()
    stage.hub.add_outbound_middleware(add_a_hundred)
    replica = await stage.replica("a")
    assert replica.value == 101
    await stage.restart_server()
    await stage.clock.advance(10)
    assert replica.is_invalidated
    assert (await stage.replica("a")).value == 101


async def test_what_it_makes_of_a_match_takes_the_place_of_the_cached_value(stage: CachedStage) -> None:
    await stage.remember(a=1)
    await stage.open_online_client()
    stage.hub.add_outbound_middleware(add_a_hundred)
    assert (await stage.replica("a")).value == 1
    await settle()
    replica = await stage.replica("a")
    assert replica.value == 101
    stage.service.change("a", 2)
    await settle()
    assert replica.is_invalidated


@pytest.mark.parametrize("added", [0, 100])
@pytest.mark.parametrize("what", ["is cancelled", "goes on", "is waited for"])
async def test_of_several_calls_that_counts_whose_outcome_was_returned(
    stage: CachedStage, what: str, added: int
) -> None:
    stage.values["a"] = 1
    gate = stage.service.gates["a"] = asyncio.Event()
    calls: list[asyncio.Future[Any]] = []

    async def hedge(call: OutboundContext, proceed: Proceed) -> Any:
        calls.append(asyncio.ensure_future(proceed()))
        await settle()
        gate.set()
        for _ in range(3):
            await asyncio.sleep(0)
        calls.append(asyncio.ensure_future(proceed()))
        done, others = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        assert len(others) == 1
        if what == "is cancelled":
            others.pop().cancel()
        elif what == "is waited for":
            await asyncio.gather(*others)
        return added + done.pop().result()

    await stage.open_online_client()
    stage.hub.add_outbound_middleware(hedge)
    replica = await stage.replica("a")
    await settle()
    assert replica.value == 1 + added
    assert stage.open_calls == (1, 1)

    stage.service.change("a", 2)
    await settle()
    assert replica.is_invalidated
    assert stage.open_calls == (0, 0)


async def test_a_value_is_tied_to_the_call_that_has_brought_it(stage: CachedStage) -> None:
    calls: list[asyncio.Future[Any]] = []

    async def ask_twice(call: OutboundContext, proceed: Proceed) -> Any:
        stage.service.fail_with["a"] = KeyError("a")
        gate = stage.service.gates["a"] = asyncio.Event()
        calls.append(asyncio.ensure_future(proceed()))
        await settle()
        gate.set()
        await asyncio.sleep(0)
        calls.append(asyncio.ensure_future(proceed()))
        stage.service.fail_with.clear()
        stage.service.change("a", 1)
        errors = await asyncio.gather(*calls, return_exceptions=True)
        assert isinstance(errors[0], KeyError)
        return errors[1]

    await stage.open_online_client()
    stage.hub.add_outbound_middleware(ask_twice)
    replica = await stage.replica("a")
    await settle()
    assert replica.value == 1
    stage.service.change("a", 2)
    await settle()
    assert replica.is_invalidated
    assert stage.open_calls == (0, 0)


@pytest.mark.parametrize("what", ["is answered", "is sent again", "is cancelled"])
async def test_what_it_shows_in_place_of_an_answer_to_come_is_true_until_then(stage: CachedStage, what: str) -> None:
    stage.values["a"] = 1
    gate = stage.service.gates["a"] = asyncio.Event()
    calls: list[asyncio.Future[Any]] = []

    async def be_impatient(call: OutboundContext, proceed: Proceed) -> Any:
        calls.append(asyncio.ensure_future(proceed()))
        await settle()
        return calls[-1].result() if calls[-1].done() else -1

    await stage.open_online_client()
    stage.hub.add_outbound_middleware(be_impatient)
    replica = await stage.replica("a")
    assert replica.value == -1

    if what == "is cancelled":
        calls[0].cancel()
    elif what == "is sent again":
        await stage.restart_server()
        await stage.clock.advance(10)
    gate.set()
    await settle()

    assert replica.is_invalidated
    assert (await stage.replica("a")).value == 1
    assert stage.open_calls == (1, 1)
    assert calls[0].cancelled() == (what == "is cancelled")


async def test_a_link_that_breaks_while_it_does_something_else_shows_the_value_of_before(stage: CachedStage) -> None:
    gate = asyncio.Event()
    gate.set()

    async def wait(call: OutboundContext, proceed: Proceed) -> Any:
        await gate.wait()
        return await proceed()

    stage.values["a"] = 1
    await stage.open_online_client()
    stage.hub.add_outbound_middleware(wait)
    await stage.replica("a")
    gate.clear()
    stage.service.change("a", 2)
    await settle()
    call = asyncio.create_task(stage.replica("a"))
    await settle()
    await stage.cut()

    gate.set()
    await settle()

    assert call.done()
    assert (await call).value == 1
    await stage.reconnect()
    assert (await stage.replica("a")).value == 2
    assert stage.open_calls == (1, 1)
