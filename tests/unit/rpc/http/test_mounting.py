"""The endpoint as a part of applications of other frameworks, and beside WebSockets."""

from typing import Any

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import Mount

from refusion import FusionHub
from refusion.rpc.http import RpcHttpEndpoint
from refusion.rpc.transports.asgi import RpcEndpoint

from .shop import Shop, ShopService, WatchedHub, ask, under_uvicorn


def starlette(path: str, app: Any) -> Any:
    return Starlette(routes=[Mount(path, app)])


def fastapi(path: str, app: Any) -> Any:
    outer = FastAPI()
    outer.mount(path, app)
    return outer


@pytest.mark.parametrize("framework", [starlette, fastapi])
@pytest.mark.parametrize("root_path", ["", "/behind/proxy"])
@pytest.mark.parametrize(
    ("mount", "path", "url"),
    [
        ("/", "/rpc/http", "/rpc/http"),
        ("/api", "/rpc/http", "/api/rpc/http"),
        ("/api/rpc", "/rpc/http", "/api/rpc/http"),
        ("/rpc", "/rpc/http", "/rpc/http"),
        ("/rpc/http", "/rpc/http", "/rpc/http"),
        ("/calls", "/", "/calls"),
    ],
)
async def test_it_may_be_mounted_anywhere_and_knows_where_it_is(
    hub: WatchedHub, service: ShopService, framework: Any, root_path: str, mount: str, path: str, url: str
) -> None:
    app = framework(mount, RpcHttpEndpoint(hub, path))
    async with under_uvicorn(app, root_path=root_path, is_checked=False) as client:
        response = await client.post(f"{url}/Shop/Add", json={"a": 1})
        assert (response.status_code, response.json()) == (200, 11)
        document = (await client.get(f"{url}/openapi.json")).json()
        assert document["servers"] == [{"url": root_path + url}]
        assert (await client.post(f"{url}x/Shop/Add", json={"a": 1})).status_code == 404


@pytest.mark.parametrize(
    ("root", "path"),
    [
        ("", "/rpc/http/Shop/Add"),
        ("", "/rpc/http/Shop/Add/"),
        ("/api", "/api/rpc/http/Shop/Add"),
        ("/api", "/rpc/http/Shop/Add"),
        ("/api/", "/api/rpc/http/Shop/Add"),
    ],
)
async def test_the_mount_may_be_in_the_path_or_not(hub: WatchedHub, service: ShopService, root: str, path: str) -> None:
    answer = await ask(RpcHttpEndpoint(hub), path, b"[1]", root_path=root)
    assert (answer.status, answer.body) == (200, b"11")


@pytest.mark.parametrize("framework", [starlette, fastapi])
async def test_one_mount_serves_websockets_and_plain_http(
    hub: WatchedHub, service: ShopService, framework: Any
) -> None:
    async with under_uvicorn(framework("/api", RpcEndpoint(hub)), is_checked=False) as client, FusionHub() as other:
        shop = other.client(Shop, f"ws://127.0.0.1:{client.base_url.port}/api/rpc/ws")
        assert await shop.get_price("pen") == 3.0
        assert (await client.post("/api/rpc/http/Shop/GetPrice", json=["pen"])).json() == 3.0
        # Both have asked the same service.
        assert service.log == ["get_price(pen)"]
        response = await client.get("/api/rpc/ws")
        assert (response.status_code, response.headers["upgrade"]) == (426, "websocket")


async def test_an_endpoint_for_websockets_has_an_http_endpoint_of_ones_own_or_none(
    hub: WatchedHub, service: ShopService
) -> None:
    own = RpcHttpEndpoint(hub, "/calls", title="Mine")
    app = RpcEndpoint(hub, http=own)
    assert (await ask(app, "/calls/Shop/Add", b"[1]")).body == b"11"
    assert (await ask(app, "/calls/openapi.json", verb="GET")).json["info"]["title"] == "Mine"
    assert (await ask(app, "/rpc/http/Shop/Add", b"[1]")).status == 426
    assert (await ask(RpcEndpoint(hub, http=False), "/rpc/http/Shop/Add", b"[1]")).status == 426


async def test_it_runs_by_itself_and_takes_no_websockets(hub: WatchedHub) -> None:
    endpoint = RpcHttpEndpoint(hub)
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    events = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])

    async def receive() -> Any:
        return next(events)

    await endpoint({"type": "lifespan"}, receive, send)
    assert [message["type"] for message in sent] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    sent.clear()
    await endpoint({"type": "websocket"}, receive, send)
    assert [message["type"] for message in sent] == ["websocket.close"]
    with pytest.raises(ValueError, match="type 'smtp'"):
        await endpoint({"type": "smtp"}, receive, send)
