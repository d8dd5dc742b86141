"""The same over real sockets."""

import asyncio
import socket

import pytest

from refusion.rpc import RpcHub, RpcLimits, RpcUnsupportedFormat
from refusion.rpc.transports import Rejection, TransportLimits
from refusion.testing import settle

from .test_transports import sockets_to
from .world import Worker, WorkerService

pytestmark = pytest.mark.parametrize("transport", ["websockets", "picows"])


async def test_calls_in_every_direction_and_format(transport: str) -> None:
    service = WorkerService()
    async with RpcHub(transport=transport) as server:
        server.add_service(Worker, service)
        listener = await server.serve()
        for format in ("msgpack6c", "msgpack6", "json5np"):
            async with RpcHub(transport=transport, format=format) as client:
                worker = client.client(Worker, f"ws://127.0.0.1:{listener.port}")
                results = await asyncio.gather(*[worker.add(i, i) for i in range(200)])
                assert results == [2 * i for i in range(200)]
                assert len(await worker.zeros(3_000_000)) == 3_000_000
                with pytest.raises(ValueError, match="no"):
                    await worker.fail("no")


async def test_a_call_survives_a_broken_connection_and_is_run_once(transport: str) -> None:
    service = WorkerService()
    async with RpcHub(transport=transport) as server, RpcHub(transport=transport) as client:
        server.add_service(Worker, service)
        listener = await server.serve()
        peer = client.peer(listener.url)
        call = asyncio.ensure_future(client.client(Worker, peer).wait("a"))
        await peer.wait_connected()
        while not service.log:
            await asyncio.sleep(0)

        changed = asyncio.ensure_future(peer.wait_state_change())
        await settle(1)
        peer.disconnect()
        await changed
        peer.reconnect()
        await peer.wait_connected()
        # An answer that finds no link is forgotten, so the server has to have it, too.
        while not server.server_peers[0].is_connected:
            await asyncio.sleep(0)
        service.let_go("a")

        assert await call == "a done"
        assert service.log == ["wait(a)"]


async def test_a_call_survives_a_restart_of_the_server(transport: str) -> None:
    service = WorkerService()
    async with RpcHub(transport=transport) as client:
        async with RpcHub(transport=transport) as server:
            server.add_service(Worker, service)
            listener = await server.serve()
            port = listener.port
            call = asyncio.ensure_future(client.client(Worker, listener.url).wait("a"))
            while not service.log:
                await asyncio.sleep(0)
            await server.aclose(drain_timeout=0)
        async with RpcHub(transport=transport) as server:
            server.add_service(Worker, service)
            await server.serve(port=port)
            service.let_go("a")
            assert await call == "a done"


async def test_a_client_starts_before_its_server(transport: str) -> None:
    async with RpcHub(transport=transport) as finder:
        listener = await finder.serve()
        port = listener.port
        await listener.aclose()
    async with RpcHub(transport=transport) as client, RpcHub(transport=transport) as server:
        call = asyncio.ensure_future(client.client(Worker, f"ws://127.0.0.1:{port}").add(1, 2))
        await settle()
        server.add_service(Worker, WorkerService())
        await server.serve(port=port)
        assert await call == 3


async def test_much_data_in_both_directions_at_once_comes_through(transport: str) -> None:
    async with RpcHub(transport=transport) as server, RpcHub(transport=transport) as client:
        server.add_service(Worker, WorkerService())
        worker = client.client(Worker, (await server.serve()).url)
        calls = [worker.size(bytes(300_000)) for _ in range(40)]
        answers = [worker.zeros(300_000) for _ in range(40)]
        results = await asyncio.gather(*calls, *answers)
        assert results[:40] == [300_000] * 40
        assert [len(result) for result in results[40:] if isinstance(result, bytes)] == [300_000] * 40


async def test_a_hub_that_is_closed_while_it_connects_leaves_no_socket(transport: str) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1]
        before = sockets_to(port)
        async with RpcHub(transport=transport) as client:
            client.peer(f"ws://127.0.0.1:{port}")
            accepted, _ = await asyncio.to_thread(silent.accept)
        assert [sock for sock in sockets_to(port) if sock not in before] == []
        accepted.close()


async def test_an_unknown_format_is_told_to_the_client(transport: str) -> None:
    async with RpcHub(transport=transport) as client:
        refusal = Rejection("Unsupported RPC serialization format: 'msgpack6c'", close_code=4001)
        listener = await client.network.listen("127.0.0.1", 0, lambda request: refusal, TransportLimits())
        with pytest.raises(RpcUnsupportedFormat):
            await client.client(Worker, listener.url).add(1, 2)
        await listener.aclose()


def test_limits_have_real_defaults(transport: str) -> None:
    assert RpcHub(transport=transport).limits == RpcLimits()
