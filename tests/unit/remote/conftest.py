"""The stages that most tests of this layer play on."""

from collections.abc import AsyncIterator

import pytest

from refusion.testing import VirtualClock

from .cached_stage import CachedStage
from .stage import RemoteStage


@pytest.fixture
async def remote_stage() -> AsyncIterator[RemoteStage]:
    """A server with a client that is connected."""
    with VirtualClock() as clock:
        stage = RemoteStage(clock)
        await stage.start()
        yield stage
        await stage.aclose()


@pytest.fixture
async def cached_stage() -> AsyncIterator[CachedStage]:
    """A server, and a cache for clients to come."""
    with VirtualClock() as clock:
        stage = CachedStage(clock)
        await stage.start_server()
        yield stage
        await stage.aclose()
