"""Which web pages may connect."""

from collections.abc import Iterator
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from refusion.rpc import (
    OriginValidator,
    RpcHub,
    allow_all,
    allow_origins,
    same_origin,
    same_origin_with_cookies,
)
from refusion.rpc.transports import ConnectionRequest
from refusion.rpc.transports.asgi import RpcEndpoint


def request(**headers: str) -> ConnectionRequest:
    return ConnectionRequest("/rpc/ws", {}, headers)


@pytest.mark.parametrize(
    ("origin", "host", "is_same"),
    [
        ("https://app.example.com", "app.example.com", True),
        ("https://APP.example.com", "app.Example.com", True),
        ("https://app.example.com", "app.example.com:443", True),
        ("http://app.example.com:80", "app.example.com", True),
        ("http://localhost:3000", "localhost:3000", True),
        ("http://[::1]:3000", "[::1]:3000", True),
        ("http://[::1]", "[::1]", True),
        ("https://app.example.com", "example.com", False),
        ("https://app.example.com:8443", "app.example.com", False),
        ("https://app.example.com.evil.org", "app.example.com", False),
        ("null", "app.example.com", False),
        ("file://", "app.example.com", False),
        ("", "", False),
        ("https://app.example.com", "", False),
    ],
)
def test_a_page_of_the_same_host_and_port_is_of_the_same_origin(origin: str, host: str, is_same: bool) -> None:
    assert same_origin(request(origin=origin, host=host)) is is_same


def test_a_client_that_isnt_a_browser_may_connect() -> None:
    for validator in (same_origin, same_origin_with_cookies, allow_origins("https://a.example"), allow_all):
        assert validator(request(host="app.example.com"))


def test_a_page_that_brings_cookies_has_to_be_of_the_same_origin() -> None:
    foreign = {"origin": "https://evil.org", "host": "app.example.com"}
    assert same_origin_with_cookies(request(**foreign))
    assert not same_origin_with_cookies(request(**foreign, cookie="session=1"))
    own = {"origin": "https://app.example.com", "host": "app.example.com"}
    assert same_origin_with_cookies(request(**own, cookie="session=1"))


def test_a_list_of_origins_lets_those_in_and_no_others() -> None:
    validator = allow_origins("https://app.example.com", "http://localhost:3000/")
    assert validator(request(origin="https://app.example.com"))
    assert validator(request(origin="https://app.example.com:443"))
    assert validator(request(origin="http://localhost:3000"))
    assert not validator(request(origin="http://app.example.com"))
    assert not validator(request(origin="https://app.example.com/path"))
    assert not validator(request(origin="https://user@app.example.com"))
    assert not validator(request(origin="null"))


@pytest.mark.parametrize("origin", ["app.example.com", "https://", "https://a.example/path", "*", "ftp://a.example"])
def test_what_isnt_an_origin_cant_be_allowed(origin: str) -> None:
    with pytest.raises(ValueError, match="isn't an origin"):
        allow_origins(origin)


@pytest.fixture(params=["websockets", "picows"])
def hub(request: pytest.FixtureRequest) -> Iterator[RpcHub]:
    return RpcHub(transport=request.param)


async def status_of(url: str, **headers: str) -> int:
    try:
        async with connect(f"{url}?clientId=a&f=msgpack6c", additional_headers=headers, compression=None):
            return 101
    except InvalidStatus as error:
        return error.response.status_code


@pytest.mark.parametrize(
    ("origins", "statuses"),
    [
        (None, (101, 101, 403)),
        (allow_all, (101, 101, 101)),
        (same_origin, (101, 403, 403)),
        (allow_origins("https://evil.org"), (101, 101, 101)),
    ],
)
async def test_a_server_refuses_the_upgrade_with_403(
    hub: RpcHub, origins: OriginValidator | None, statuses: tuple[int, ...]
) -> None:
    options: dict[str, Any] = {} if origins is None else {"origins": origins}
    async with hub:
        server = await hub.serve(**options)
        assert (
            await status_of(server.url),
            await status_of(server.url, Origin="https://evil.org"),
            await status_of(server.url, Origin="https://evil.org", Cookie="session=1"),
        ) == statuses
        assert len(hub.server_peers) <= 1


async def test_an_endpoint_tells_the_status_where_the_server_lets_it() -> None:
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "websocket",
        "path": "/rpc/ws",
        "query_string": b"f=msgpack6c",
        "headers": [],
        "extensions": {"websocket.http.response": {}},
    }
    async with RpcHub() as hub:
        await RpcEndpoint(hub)(scope, receive, send)
    assert sent[0]["status"] == 400
    assert sent[1]["body"] == b"The clientId parameter is missing.\n"


async def test_an_endpoint_refuses_pages_with_cookies_from_elsewhere_by_default() -> None:
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"} if not sent else {"type": "websocket.disconnect", "code": 1000}

    async def send(message: Any) -> None:
        sent.append(message)

    def scope(*headers: tuple[bytes, bytes]) -> dict[str, Any]:
        query = b"clientId=a&f=msgpack6c"
        return {"type": "websocket", "path": "/rpc/ws", "query_string": query, "headers": [(b"host", b"a.b"), *headers]}

    async with RpcHub() as hub:
        cookie, origin = (b"cookie", b"session=1"), (b"origin", b"https://evil.org")
        await RpcEndpoint(hub)(scope(cookie, origin), receive, send)
        assert sent == [{"type": "websocket.close", "code": 1006, "reason": "Pages of this origin may not connect."}]
        assert hub.server_peers == ()
        sent.clear()
        await RpcEndpoint(hub, origins=allow_all)(scope(cookie, origin), receive, send)
        assert sent[0] == {"type": "websocket.accept"}
