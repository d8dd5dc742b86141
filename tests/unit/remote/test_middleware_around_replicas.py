"""Middleware that comes between a client with a cache and its server."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from refusion import collect
from refusion.rpc import OutboundContext, Proceed
from refusion.testing import VirtualClock, settle

from .cached_stage import CachedStage


@pytest.fixture
async def stage() -> AsyncIterator[CachedStage]:
    with VirtualClock() as clock:
        stage = CachedStage(clock)
        await stage.start_server()
        yield stage
        await stage.aclose()
        collect()


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
