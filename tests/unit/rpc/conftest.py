"""Each test has its own network, in virtual time."""

from collections.abc import AsyncIterator, Iterator

import pytest

from refusion.testing import VirtualClock

from .stream_world import StreamWorld
from .world import World


@pytest.fixture
def clock() -> Iterator[VirtualClock]:
    with VirtualClock() as clock:
        yield clock


@pytest.fixture
async def world(clock: VirtualClock) -> AsyncIterator[World]:
    async with World(clock) as world:
        yield world


@pytest.fixture
async def streams(clock: VirtualClock) -> AsyncIterator[StreamWorld]:
    async with StreamWorld(clock) as world:
        yield world
