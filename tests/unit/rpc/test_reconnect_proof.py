"""Who comes back under a client's id has to prove that it is that client."""

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from refusion.rpc import RpcConnectError, RpcConnectionKind, RpcHub, RpcLimits
from refusion.rpc.protocol import RpcMessage, reconnect_proof
from refusion.rpc.protocol._system_calls import KEEP_ALIVE
from refusion.rpc.transports import TransportLimits
from refusion.rpc.transports.memory import Direction, Fault
from refusion.testing import VirtualClock, settle

from .world import RawPeer, World


def watch_urls(world: World) -> list[dict[str, list[str]]]:
    """Return a list that gets the query of each connection attempt from now on."""
    queries: list[dict[str, list[str]]] = []
    connect = world.network.connect

    async def watched(url: str, receiver: Any, limits: TransportLimits, ssl: Any = None) -> Any:
        queries.append(parse_qs(urlsplit(url).query))
        return await connect(url, receiver, limits, ssl)

    world.network.connect = watched  # type: ignore[method-assign]
    return queries


async def test_a_client_proves_with_each_attempt_that_it_was_connected_before(world: World) -> None:
    await world.worker.add(1, 2)
    queries = watch_urls(world)
    for _ in range(2):
        await world.cut()
        await world.clock.advance(5)
    assert await world.worker.add(1, 2) == 3

    assert [query["c"] for query in queries] == [["1"], ["2"]]
    secret = world.server_peer.secret
    assert [query["p"][0] for query in queries] == [
        reconnect_proof(secret, world.peer.client_id, counter) for counter in ("1", "2")
    ]


async def test_an_attempt_that_fails_uses_up_its_counter(world: World) -> None:
    await world.worker.add(1, 2)
    queries = watch_urls(world)
    world.network.is_refusing = True
    await world.cut()
    await world.clock.advance(1)
    world.network.is_refusing = False
    await world.clock.advance(5)

    assert await world.worker.add(1, 2) == 3
    assert [int(query["c"][0]) for query in queries] == list(range(1, len(queries) + 1))
    assert len(queries) > 2


async def test_a_new_server_gives_a_new_secret_and_the_client_goes_on(world: World) -> None:
    await world.worker.add(1, 2)
    old = world.server_peer.secret
    await world.restart_server()
    await world.clock.advance(5)
    assert await world.worker.add(1, 2) == 3
    assert world.server_peer.secret != old

    await world.cut()
    await world.clock.advance(5)
    assert await world.worker.add(1, 2) == 3


async def raw_client(world: World, query: str = "") -> RawPeer:
    raw = RawPeer()
    await world.network.connect(f"{world.url}?clientId=raw&f=msgpack6{query}", raw, TransportLimits())
    await raw.introduce()
    # Saying something else shows that it has got the server's handshake.
    await raw.send(RpcMessage(KEEP_ALIVE, 0, 0, raw.format.arguments((list[int],)).encode(([],))))
    return raw


async def test_who_proves_it_once_has_to_prove_it_each_time_and_each_counter_is_good_once(world: World) -> None:
    first = await raw_client(world)
    secret = first.handshake.secret
    assert secret is not None

    await raw_client(world)  # not asked for yet
    await raw_client(world, f"&c=7&p={reconnect_proof(secret, 'raw', '7')}")
    for query in (
        "",
        f"&c=7&p={reconnect_proof(secret, 'raw', '7')}",
        f"&c=6&p={reconnect_proof(secret, 'raw', '6')}",
        f"&c=8&p={reconnect_proof(secret, 'raw', '9')}",
        f"&c=8&p={reconnect_proof(secret, 'another', '8')}",
        "&c=8",
        f"&p={reconnect_proof(secret, 'raw', '8')}",
        f"&c=08&p={reconnect_proof(secret, 'raw', '08')}",
        f"&c=9223372036854775808&p={reconnect_proof(secret, 'raw', '9223372036854775808')}",
        "&c=8&p=%00%ff",
        "&c=%D9%A8&p=x",
    ):
        with pytest.raises(RpcConnectError, match="isn't proved to be the client"):
            await raw_client(world, query)
    await raw_client(world, f"&c=8&p={reconnect_proof(secret, 'raw', '8')}")


async def test_a_hub_may_require_the_proof_from_the_second_connection_on(clock: VirtualClock) -> None:
    async with (
        World(clock) as world,
        RpcHub(transport=world.network, require_reconnect_proof=True, limits=RpcLimits(drain_timeout=0.0)) as hub,
    ):
        listener = await hub.serve()
        world.listener = listener
        first = await raw_client(world)
        secret = first.handshake.secret
        assert secret is not None
        with pytest.raises(RpcConnectError):
            await raw_client(world)
        await raw_client(world, f"&c=1&p={reconnect_proof(secret, 'raw', '1')}")


async def test_a_client_that_never_got_through_needs_no_proof(clock: VirtualClock) -> None:
    async with (
        World(clock) as world,
        RpcHub(transport=world.network, require_reconnect_proof=True, limits=RpcLimits(drain_timeout=0.0)) as hub,
    ):
        world.listener = await hub.serve()
        silent = RawPeer()
        await world.network.connect(f"{world.url}?clientId=raw&f=msgpack6", silent, TransportLimits())
        await settle()
        await raw_client(world)


async def test_a_client_that_missed_the_secret_of_a_restarted_server_gets_through(world: World) -> None:
    await world.worker.add(1, 2)
    call = world.start(world.worker.wait("a"))
    await settle()
    world.fault_once(Direction.TO_CLIENT, Fault.LOSE)
    await world.restart_server()
    await world.clock.advance(1)
    await world.cut()
    await world.clock.advance(5)
    world.service.let_go("a")
    assert await call == "a done"


async def test_a_client_that_isnt_believed_comes_as_a_new_one_with_its_calls(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    call = world.start(world.worker.wait("a"))
    await settle()
    await world.clock.advance(15)
    old_id = world.peer.client_id
    world.peer._remote_secret = "forgotten"
    await world.cut()
    # One refusal may be that of a proxy.
    assert world.peer.client_id == old_id
    await world.clock.advance(5)
    world.service.let_go("a")
    assert await call == "a done"
    assert world.peer.client_id != old_id
    assert "comes as a new one" in caplog.text


@pytest.mark.parametrize("transport", ["websockets", "picows"])
async def test_a_refused_attempt_tells_the_status(transport: str) -> None:
    async with RpcHub(transport=transport) as server, RpcHub(transport=transport) as client:
        url = (await server.serve(origins=lambda request: False)).url
        peer = client.peer(url)
        state = await peer.wait_state(RpcConnectionKind.DISCONNECTED)
        assert isinstance(state.error, RpcConnectError)
        assert state.error.status == 403


async def test_who_hasnt_proved_anything_isnt_told_the_secret(world: World) -> None:
    first = await raw_client(world)
    assert first.handshake.secret is not None
    second = await raw_client(world)
    assert second.handshake.remote_peer_id == first.handshake.remote_peer_id
    assert second.handshake.secret is None


async def test_who_comes_as_a_client_that_has_said_nothing_is_another_one(world: World) -> None:
    quiet = RawPeer()
    await world.network.connect(f"{world.url}?clientId=raw&f=msgpack6", quiet, TransportLimits())
    await quiet.introduce()
    other = await raw_client(world)
    assert other.handshake.remote_peer_id != quiet.handshake.remote_peer_id
    assert other.handshake.secret not in (None, quiet.handshake.secret)
    # The first one has its proof no longer.
    secret = quiet.handshake.secret
    assert secret is not None
    with pytest.raises(RpcConnectError):
        await raw_client(world, f"&c=1&p={reconnect_proof(secret, 'raw', '1')}")


async def test_strangers_take_a_bounded_number_of_places(clock: VirtualClock) -> None:
    async with World(clock, limits=RpcLimits(max_server_peers=3, drain_timeout=0.0)) as world:
        await world.worker.add(1, 2)
        raws = []
        for index in range(5):
            raw = RawPeer()
            await world.network.connect(f"{world.url}?clientId=c{index}&f=msgpack6", raw, TransportLimits())
            await raw.introduce()
            assert raw.transport is not None
            raw.transport.abort()
            await world.clock.advance(1)
            raws.append(raw)
        assert {peer.client_id for peer in world.server.server_peers} == {world.peer.client_id, "c3", "c4"}
        for index in (3, 4):
            await world.network.connect(f"{world.url}?clientId=c{index}&f=msgpack6", RawPeer(), TransportLimits())
        with pytest.raises(RpcConnectError, match="too many clients"):
            await world.network.connect(f"{world.url}?clientId=more&f=msgpack6", RawPeer(), TransportLimits())
        assert await world.worker.add(1, 2) == 3


@pytest.mark.parametrize("client_id", ["", "x" * 129])
async def test_a_client_id_that_cant_be_one_isnt_let_in(world: World, client_id: str) -> None:
    with pytest.raises(RpcConnectError, match="clientId parameter is"):
        await world.network.connect(f"{world.url}?clientId={client_id}&f=msgpack6", RawPeer(), TransportLimits())


async def test_a_client_id_cant_forge_lines_of_the_log(world: World) -> None:
    raw = RawPeer()
    await world.network.connect(f"{world.url}?clientId=a%0ACRITICAL&f=msgpack6", raw, TransportLimits())
    assert "\n" not in repr(world.server.server_peers)


async def test_whoever_takes_the_id_of_another_client_without_proof_disturbs_nobody(world: World) -> None:
    await world.worker.add(1, 2)
    await world.cut()
    await world.clock.advance(5)
    await world.worker.add(1, 2)
    thief = RawPeer()
    with pytest.raises(RpcConnectError):
        url = f"{world.url}?clientId={world.peer.client_id}&f=msgpack6c"
        await world.network.connect(url, thief, TransportLimits())
    assert world.peer.is_connected
    assert await world.worker.add(1, 2) == 3
