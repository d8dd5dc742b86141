"""Encrypted connections: whom a client trusts, and whom a server lets in."""

import asyncio
import ssl
from ssl import SSLContext

import pytest
import trustme

from refusion import FusionHub
from refusion.rpc import RpcConnectError, RpcConnectionKind, RpcHub

from .world import Worker, WorkerService

pytestmark = pytest.mark.parametrize("transport", ["websockets", "picows"])

AUTHORITY = trustme.CA()


def server_context() -> SSLContext:
    context = SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert("127.0.0.1", "localhost").configure_cert(context)
    return context


def client_context(authority: trustme.CA = AUTHORITY) -> SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


async def test_calls_in_both_directions_are_encrypted(transport: str) -> None:
    async with (
        FusionHub(transport=transport) as server,
        FusionHub(transport=transport, ssl=client_context()) as client,
    ):
        server.add_service(Worker, WorkerService())
        client.add_service(Worker, WorkerService())
        listener = await server.serve(ssl=server_context())
        assert listener.url.startswith("wss://127.0.0.1:")
        worker = client.client(Worker, listener.url)
        assert await asyncio.gather(*[worker.add(i, i) for i in range(200)]) == [2 * i for i in range(200)]
        assert len(await worker.zeros(3_000_000)) == 3_000_000
        assert await worker.size(bytes(3_000_000)) == 3_000_000
        back = server.client(Worker, server.server_peers[0])
        assert len(await back.zeros(3_000_000)) == 3_000_000


async def test_a_client_connects_again(transport: str) -> None:
    async with RpcHub(transport=transport) as server, RpcHub(transport=transport, ssl=client_context()) as client:
        server.add_service(Worker, WorkerService())
        listener = await server.serve(ssl=server_context())
        peer = client.peer(listener.url)
        worker = client.client(Worker, peer)
        assert await worker.add(1, 2) == 3
        peer.disconnect()
        await peer.wait_state(RpcConnectionKind.DISCONNECTED)
        peer.reconnect()
        assert await worker.add(3, 4) == 7


@pytest.mark.parametrize("knows_another", [False, True])
async def test_a_server_that_isnt_trusted_isnt_connected_to(transport: str, knows_another: bool) -> None:
    trust = client_context(trustme.CA()) if knows_another else None
    async with RpcHub(transport=transport) as server, RpcHub(transport=transport, ssl=trust) as client:
        listener = await server.serve(ssl=server_context())
        state = await client.peer(listener.url).wait_state(RpcConnectionKind.DISCONNECTED)
        assert isinstance(state.error, RpcConnectError)
        assert "certificate verify failed" in str(state.error).lower().replace("_", " ")
        assert not server.server_peers


async def test_a_server_may_want_to_know_its_clients(transport: str) -> None:
    context = server_context()
    context.verify_mode = ssl.CERT_REQUIRED
    AUTHORITY.configure_trust(context)
    known = client_context()
    AUTHORITY.issue_cert("client.example").configure_cert(known)
    async with (
        RpcHub(transport=transport) as server,
        RpcHub(transport=transport, ssl=known) as friend,
        RpcHub(transport=transport, ssl=client_context()) as stranger,
    ):
        server.add_service(Worker, WorkerService())
        listener = await server.serve(ssl=context)
        assert await friend.client(Worker, listener.url).add(1, 2) == 3
        state = await stranger.peer(listener.url).wait_state(RpcConnectionKind.DISCONNECTED)
        assert isinstance(state.error, RpcConnectError)


async def test_the_context_of_a_hub_doesnt_matter_to_plain_connections(transport: str) -> None:
    async with RpcHub(transport=transport) as server, RpcHub(transport=transport, ssl=client_context()) as client:
        server.add_service(Worker, WorkerService())
        listener = await server.serve()
        assert listener.url.startswith("ws://")
        assert await client.client(Worker, listener.url).add(1, 2) == 3


async def test_a_plain_client_at_an_encrypted_server_is_told_that_it_cant_connect(transport: str) -> None:
    async with RpcHub(transport=transport) as server, RpcHub(transport=transport) as client:
        listener = await server.serve(ssl=server_context())
        state = await client.peer(listener.url.replace("wss:", "ws:")).wait_state(RpcConnectionKind.DISCONNECTED)
        assert isinstance(state.error, RpcConnectError)
