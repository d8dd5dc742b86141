"""Clients: what looks like a contract, and calls it elsewhere."""

import inspect
from functools import cached_property

import pytest

from refusion.rpc import RpcContractError, RpcHub
from refusion.testing import settle

from .world import Worker, WorkerService, World


class Api:
    LIMIT = 5

    def __init__(self) -> None:
        self.value = 1

    async def get(self, key: str = "x") -> str:
        """Return it."""
        raise NotImplementedError

    def local(self) -> int:
        return 1

    @property
    def size(self) -> int:
        return 1

    @cached_property
    def weight(self) -> int:
        return 1

    async def _private(self) -> None:
        pass


async def test_a_client_is_an_instance_of_the_contract_with_its_signatures(world: World) -> None:
    api = world.client.client(Api, world.peer)
    assert isinstance(api, Api)
    assert inspect.iscoroutinefunction(api.get)
    assert str(inspect.signature(api.get)) == "(key: str = 'x') -> str"
    assert api.get.__doc__ == "Return it."
    assert api.LIMIT == 5
    assert repr(api) == f"<client of Api at <RpcClientPeer {world.url}>>"


async def test_a_synchronous_method_of_the_contract_isnt_run_here_but_refused(world: World) -> None:
    with pytest.raises(RpcContractError, match=r"Api.local: it isn't `async def`, so it can't be called remotely"):
        world.client.client(Api, world.peer).local()


@pytest.mark.parametrize("name", ["size", "weight", "value", "nothing"])
async def test_what_isnt_an_operation_isnt_there(world: World, name: str) -> None:
    api = world.client.client(Api, world.peer)
    with pytest.raises(AttributeError, match=f"has no {name!r}: a client has the public async methods of Api only"):
        getattr(api, name)
    assert not hasattr(api, name)


async def test_one_url_is_one_peer(world: World) -> None:
    assert world.client.peer(world.url) is world.peer
    assert await world.client.client(Worker, world.url).add(1, 2) == 3
    assert world.network.connection_count == 1


async def test_without_a_peer_the_only_one_is_meant(world: World) -> None:
    assert await world.client.client(Worker).add(1, 2) == 3
    with pytest.raises(ValueError, match="say whom to call"):
        RpcHub().client(Worker)


async def test_a_peer_has_a_websocket_url(world: World) -> None:
    with pytest.raises(ValueError, match="ws:// or wss://"):
        world.client.peer("http://localhost")


async def test_a_client_of_one_hub_can_be_the_service_of_another(world: World) -> None:
    gateway = await world.open_hub()
    gateway.add_service(Worker, world.worker)
    listener = await gateway.serve()
    outside = await world.open_hub()

    assert await outside.client(Worker, listener.url).add(1, 2) == 3
    with pytest.raises(ValueError, match="through both"):
        await outside.client(Worker, listener.url).fail("through both")


async def test_a_client_that_was_closed_tells_so_and_the_hub_makes_another(world: World) -> None:
    assert await world.worker.add(1, 2) == 3
    await world.peer.aclose()
    await world.peer.aclose()
    with pytest.raises(ConnectionError, match="is closed; make a new client"):
        await world.worker.add(1, 2)
    assert await world.client.client(Worker, world.url).add(1, 2) == 3


async def test_the_number_of_calls_is_counted(world: World) -> None:
    await world.worker.add(1, 2)
    await world.worker.add(1, 2)
    assert world.peer.call_count == 2


async def test_a_service_may_be_used_here_as_well(world: World) -> None:
    service = world.server.service(Worker)
    assert isinstance(service, WorkerService)


async def test_what_is_said_about_a_connection_tells_nothing_of_the_query_of_its_url(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    peer = world.client.peer(f"{world.url}?token=secret")
    await peer.wait_connected()
    await settle()
    world.network.is_refusing = True
    await world.cut()
    states = [peer.connection_state]
    await world.clock.advance(2)
    states.append(peer.connection_state)
    for text in (caplog.text, repr(peer), *[str(state.error) for state in states]):
        assert "secret" not in text
        assert "clientId" not in text
    assert f"can't connect to {world.url}: nobody listens there" in str(states[1].error)
