"""A TypeScript server that calls its Python client back."""

import asyncio

import pytest

from refusion import FusionHub
from refusion.rpc import InboundContext, Proceed, RpcClientPeer

from .contracts import BasicApi, CallerApi, CounterApi
from .links import EVERYWHERE, cut, eventually, need_typescript_server
from .services import BasicService, CounterService

need_typescript_server()
pytestmark = EVERYWHERE


@pytest.fixture
def mine(hub: FusionHub) -> CounterService:
    """Counters of the client, which the server reads."""
    mine = CounterService()
    hub.add_service(BasicApi, BasicService())
    hub.add_service(CounterApi, mine)
    return mine


@pytest.fixture
def asked(hub: FusionHub) -> list[str]:
    """What the client was asked, by method."""
    asked: list[str] = []

    async def log(call: InboundContext, proceed: Proceed) -> object:
        asked.append(call.method.name)
        return await proceed()

    hub.add_inbound_middleware(log)
    return asked


@pytest.fixture
def caller(hub: FusionHub, mine: CounterService, peer: RpcClientPeer) -> CallerApi:
    return hub.client(CallerApi, peer)


async def test_the_server_calls_its_client(caller: CallerApi) -> None:
    assert await caller.ask_back("Fusion") == "Hello, Fusion!"
    assert await caller.fail_back("no") == "System.InvalidOperationException: no"


async def test_many_calls_back_at_once_are_told_apart(caller: CallerApi) -> None:
    names = [str(number) for number in range(200)]
    assert await asyncio.gather(*[caller.ask_back(name) for name in names]) == [f"Hello, {name}!" for name in names]


async def test_the_server_keeps_what_its_client_has_computed(
    caller: CallerApi, mine: CounterService, asked: list[str], key: str
) -> None:
    assert [await caller.read_back(key) for _ in range(3)] == [0, 0, 0]
    assert asked == ["get_counter"]
    for number in (1, 2):
        await mine.increment(key)
        # TypeScript invalidates a turn after it has heard of it.
        await eventually(lambda: caller.read_back(key), number)
    assert asked == ["get_counter"] * 3


async def test_after_a_reconnect_the_server_calls_the_client_again(
    peer: RpcClientPeer, caller: CallerApi, mine: CounterService, key: str
) -> None:
    assert await caller.read_back(key) == 0
    await cut(peer)
    await mine.increment(key)
    assert await caller.read_back(key) == 1
    await mine.increment(key)
    await eventually(lambda: caller.read_back(key), 2)
    assert await caller.ask_back("Fusion") == "Hello, Fusion!"


async def test_a_stream_of_the_client_is_read_by_the_server(caller: CallerApi, mine: CounterService) -> None:
    assert await caller.sum_back(0) == 0
    assert await caller.sum_back(1000) == sum(range(1000))
    assert await mine.get_open_stream_count() == 0


async def test_a_server_that_leaves_a_stream_early_ends_it_here(caller: CallerApi, mine: CounterService) -> None:
    assert await caller.take_back(3) == [0, 1, 2]
    await eventually(mine.get_open_stream_count, 0)


async def test_the_server_gives_a_stream_to_its_client(caller: CallerApi) -> None:
    assert await caller.stream_to_back(1000) == sum(range(1000))


async def test_a_call_back_outlives_an_outage(
    hub: FusionHub, mine: CounterService, lasting_peer: RpcClientPeer, asked: list[str]
) -> None:
    caller = hub.client(CallerApi, lasting_peer)
    call = asyncio.ensure_future(caller.echo_back("still here", 300))
    while "slow_echo" not in asked:
        await asyncio.sleep(0.001)
    await cut(lasting_peer)
    assert await call == "still here"
    assert asked == ["slow_echo"]


async def test_a_call_back_that_is_cut_off_is_made_again(
    peer: RpcClientPeer, caller: CallerApi, asked: list[str]
) -> None:
    # The server knows nothing any more of the call that it has answered with; it is made again, and calls back again.
    call = asyncio.ensure_future(caller.echo_back("still here", 300))
    while "slow_echo" not in asked:
        await asyncio.sleep(0.001)
    await cut(peer)
    assert await call == "still here"
    assert asked == ["slow_echo", "slow_echo"]
