"""A TypeScript server, and clients of it."""

import uuid
from collections.abc import AsyncIterator, Iterator

import pytest

from refusion import FusionHub
from refusion.rpc import RpcClientPeer

from .contracts import BasicApi, CounterApi
from .links import LIMITS
from .runs import Process, running, typescript_server


@pytest.fixture(scope="module")
def server() -> Iterator[Process]:
    with running(typescript_server()) as process:
        yield process
    # Nothing that a client does may look like a fault to the server.
    assert "rror" not in process.output


@pytest.fixture
async def hub(transport: str, format: str) -> AsyncIterator[FusionHub]:
    async with FusionHub(transport=transport, format=format, limits=LIMITS) as hub:
        yield hub


@pytest.fixture
async def peer(hub: FusionHub, server: Process) -> RpcClientPeer:
    """One that looks new to the server after each reconnect."""
    peer = hub.peer(server.url)
    await peer.wait_connected()
    return peer


@pytest.fixture
async def lasting_peer(hub: FusionHub, server: Process) -> RpcClientPeer:
    """One that the server knows again after a reconnect."""
    return hub.peer(f"{server.url}?peers=client")


@pytest.fixture
async def basic(hub: FusionHub, peer: RpcClientPeer) -> BasicApi:
    return hub.client(BasicApi, peer)


@pytest.fixture
async def counters(hub: FusionHub, peer: RpcClientPeer) -> CounterApi:
    return hub.client(CounterApi, peer)


@pytest.fixture
def key() -> str:
    """A counter of one test."""
    return str(uuid.uuid4())
