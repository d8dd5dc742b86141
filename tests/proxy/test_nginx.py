"""Everything works with a real nginx on the way, and comes back when nginx does."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest

from refusion import FusionHub
from refusion._base._retries import RetryDelays
from refusion.rpc import RpcClientPeer, RpcConnectionKind, RpcDisconnected, RpcLimits, RpcServerPeer, RpcStream

from .nginx import Nginx, missing
from .services import SERVERS, Board, BoardService, serving

if reason := missing():
    pytest.skip(reason, allow_module_level=True)

pytestmark = pytest.mark.timeout(30)

LIMITS = RpcLimits(reconnect_delays=RetryDelays(0.02, 0.2), drain_timeout=0.0)


@pytest.fixture(params=SERVERS)
def kind(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    return kind


@pytest.fixture
def service() -> BoardService:
    return BoardService()


@pytest.fixture
async def server(kind: str, service: BoardService) -> AsyncIterator[tuple[FusionHub, int]]:
    async with serving(kind, service, LIMITS) as served:
        yield served


@pytest.fixture
def nginx(tmp_path: Path, server: tuple[FusionHub, int]) -> Iterator[Nginx]:
    nginx = Nginx(tmp_path, server[1])
    nginx.start()
    try:
        yield nginx
    finally:
        nginx.kill()


@pytest.fixture
async def client(kind: str) -> AsyncIterator[FusionHub]:
    async with FusionHub(transport="websockets" if kind == "uvicorn" else kind, limits=LIMITS) as hub:
        yield hub


@pytest.fixture
async def peer(client: FusionHub, nginx: Nginx) -> RpcClientPeer:
    return client.peer(nginx.url)


@pytest.fixture
async def board(client: FusionHub, peer: RpcClientPeer) -> Board:
    return client.client(Board, peer)


async def test_calls_of_any_size_go_through(board: Board) -> None:
    for size in (0, 1, 100, 70_000, 5_000_000, 16_000_000):
        data = bytes(range(256)) * (size // 256 + 1)
        assert await board.echo(data[:size]) == data[:size]
    assert await asyncio.gather(*[board.echo(b"%d" % number) for number in range(500)]) == [
        b"%d" % number for number in range(500)
    ]


async def test_a_change_is_told_to_the_client(board: Board) -> None:
    computed = await board.get.capture("a")
    assert computed.value == 0
    await board.set("a", 5)
    await computed.wait_invalidated()
    assert await board.get("a") == 5


async def test_streams_go_both_ways(board: Board) -> None:
    assert [number async for number in await board.count(2_000)] == list(range(2_000))
    assert await board.total(RpcStream(range(2_000))) == sum(range(2_000))


async def test_the_server_calls_back(server: tuple[FusionHub, int], client: FusionHub, board: Board) -> None:
    client.add_service(Board, BoardService())
    await board.get("a")
    (back,) = server[0].server_peers
    assert await server[0].client(Board, back).echo(b"back") == b"back"


async def test_a_reload_cuts_connections_and_loses_nothing(
    board: Board, service: BoardService, peer: RpcClientPeer, server: tuple[FusionHub, int], nginx: Nginx
) -> None:
    computed = await board.get.capture("a")
    call = asyncio.ensure_future(board.wait("x"))
    while not service.waits:
        await asyncio.sleep(0)
    server_peer = server[0].server_peers[0]

    nginx.reload()
    await peer.wait_state(RpcConnectionKind.DISCONNECTED)
    await peer.wait_connected()
    await connected(server_peer)

    assert server[0].server_peers == (server_peer,)
    service.gate.set()
    assert await call == "x done"
    assert service.waits == ["x"]
    assert computed.is_consistent
    service.values["a"] = 7
    service.get.invalidate("a")
    await computed.wait_invalidated()
    assert await board.get("a") == 7


async def test_what_changes_while_nginx_is_gone_is_told_when_it_is_back(
    board: Board, service: BoardService, peer: RpcClientPeer, server: tuple[FusionHub, int], nginx: Nginx
) -> None:
    computed = await board.get.capture("a")
    call = asyncio.ensure_future(board.wait("x"))
    while not service.waits:
        await asyncio.sleep(0)

    nginx.kill()
    await peer.wait_state(RpcConnectionKind.DISCONNECTED)
    service.values["a"] = 7
    service.get.invalidate("a")
    late = asyncio.ensure_future(board.echo(b"late"))
    await asyncio.sleep(0)
    assert computed.is_consistent
    nginx.start()

    await computed.wait_invalidated()
    assert await board.get("a") == 7
    assert await late == b"late"
    service.gate.set()
    assert await call == "x done"
    assert service.waits == ["x"]


async def connected(peer: RpcServerPeer) -> None:
    while not peer.is_connected:
        await asyncio.sleep(0.01)


READ_TIMEOUT = 1.0


@pytest.mark.parametrize("period", [0.3, 100.0], ids=["often", "hardly ever"])
async def test_keep_alives_keep_a_silent_link_within_the_timeout_of_the_proxy(
    kind: str, tmp_path: Path, period: float
) -> None:
    limits = RpcLimits(
        reconnect_delays=RetryDelays(0.02, 0.2),
        keep_alive_period=period,
        keep_alive_timeout=1_000.0,
        drain_timeout=0.0,
    )
    async with serving(kind, BoardService(), limits) as (_, port):
        nginx = Nginx(tmp_path, port, read_timeout=READ_TIMEOUT)
        nginx.start()
        try:
            async with FusionHub(limits=limits) as client:
                peer = client.peer(nginx.url)
                await peer.wait_connected()
                broken = asyncio.ensure_future(peer.wait_state(RpcConnectionKind.DISCONNECTED))
                # Nothing but the time of the proxy itself can show this.
                await asyncio.wait([broken], timeout=3 * READ_TIMEOUT)
                assert broken.done() == (period > READ_TIMEOUT)
                if broken.done():
                    assert isinstance(broken.result().error, RpcDisconnected)
                broken.cancel()
        finally:
            nginx.kill()


@pytest.mark.parametrize("kind", ["websockets", "uvicorn"])
async def test_a_client_comes_back_to_the_same_one_of_several_servers(
    kind: str, server: tuple[FusionHub, int], tmp_path: Path
) -> None:
    async with serving(kind, BoardService(), LIMITS) as (other, port), AsyncExitStack() as stack:
        nginx = Nginx(tmp_path, server[1], port)
        nginx.start()
        stack.callback(nginx.kill)
        count = 0
        while count < 6 or not (server[0].server_peers and other.server_peers):
            count += 1
            client = await stack.enter_async_context(FusionHub(limits=LIMITS))
            peer = client.peer(nginx.url)
            board = client.client(Board, peer)
            assert await board.echo(b"1") == b"1"
            hub_id = peer.remote_hub_id
            for _ in range(3):
                peer.disconnect()
                await peer.wait_state(RpcConnectionKind.DISCONNECTED)
                await peer.wait_connected()
                assert peer.remote_hub_id == hub_id
        assert len(server[0].server_peers) + len(other.server_peers) == count


@pytest.mark.parametrize("kind", ["uvicorn"])
async def test_plain_http_goes_the_same_way(board: Board, service: BoardService, nginx: Nginx) -> None:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{nginx.port}/rpc/http", trust_env=False) as http:
        service.values["a"] = 3
        assert (await http.post("/Board/Get", json=["a"])).json() == 3
        large = "A" * 16_000_000
        response = await http.post("/Board/Echo", json={"data": large})
        assert (response.status_code, response.json() == large) == (200, True)
        response = await http.post("/Board/Echo", json={"data": "A" * 17_000_000})
        assert response.status_code == 413
        response = await http.post("/Board/Missing", json=[])
        assert (response.status_code, response.json()["known"][0]) == (404, "Get")
        document = (await http.get("/openapi.json")).json()
        assert document["servers"] == [{"url": "/rpc/http"}]
    assert await board.get("a") == 3


@pytest.mark.parametrize("kind", ["uvicorn"])
async def test_a_stream_over_plain_http_comes_line_by_line(service: BoardService, nginx: Nginx) -> None:
    go_on = asyncio.Event()

    async def numbers() -> AsyncIterator[int]:
        yield 1
        await go_on.wait()
        yield 2

    service.count = lambda to: answer(RpcStream(numbers()))  # type: ignore[method-assign]
    async with (
        httpx.AsyncClient(trust_env=False) as http,
        http.stream("POST", f"http://127.0.0.1:{nginx.port}/rpc/http/Board/Count", json=[2]) as response,
    ):
        assert response.status_code == 200
        lines = response.aiter_lines()
        assert await anext(lines) == "1"
        go_on.set()
        assert await anext(lines) == "2"


async def answer(stream: RpcStream[int]) -> RpcStream[int]:
    return stream
