"""Calls over plain HTTP, to a real server: the names in URLs, arguments, results, and who runs for how long."""

import asyncio
import logging
from contextvars import ContextVar
from typing import Any

import httpx
import pytest

from refusion import invalidate
from refusion.rpc.http import RpcHttpEndpoint
from refusion.testing import settle

from .shop import ShopService, WatchedHub, ask, post, under_uvicorn

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.parametrize("service_name", ["IShop", "Shop"])
@pytest.mark.parametrize("method", ["PlaceOrder", "PlaceOrder:4", "place_order"])
async def test_services_and_methods_have_their_wire_names_and_their_python_names(
    client: httpx.AsyncClient, service_name: str, method: str
) -> None:
    response = await post(client, f"{service_name}/{method}", {"order": {"items": []}})
    assert (response.status_code, response.json()["items"]) == (200, [])
    assert response.headers["content-type"] == "application/json"


async def test_a_name_of_several_methods_is_refused_with_their_names(client: httpx.AsyncClient) -> None:
    response = await post(client, "Shop/Find", ["pen"])
    assert response.status_code == 400
    assert response.json()["known"] == ["Find:2", "Find:3"]
    assert (await post(client, "Shop/Find:2", ["pen"])).json() == "like pen"
    assert (await post(client, "Shop/Find:3", ["pen", "large"])).json() == "large pen"
    assert (await post(client, "Shop/find_exact", ["pen", "large"])).json() == "large pen"


async def test_what_isnt_there_is_told_with_what_is(client: httpx.AsyncClient) -> None:
    for path in ("Bakery/Bake", "", "a/b/c"):
        response = await post(client, path)
        assert (response.status_code, response.json()["known"]) == (404, ["IShop"])
    for path in ("Shop/Sell", "Shop", "Shop/"):
        response = await post(client, path)
        assert response.status_code == 404
        known = response.json()["known"]
        assert {"GetPrice", "PlaceOrder", "Find:2", "Find:3"} <= set(known)
        assert all(name in response.json()["detail"] for name in known)
    assert (await client.post("/elsewhere")).status_code == 404


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"order": {"items": []}}, "place_order(0, False, None)"),
        ({"order": {"items": [{"Name": "pen"}]}, "is_gift": True}, "place_order(1, True, None)"),
        ({"order": {"items": []}, "isGift": True, "giftNote": "hi"}, "place_order(0, True, hi)"),
        ({"Order": {"items": []}, "IsGift": True, "GiftNote": "hi"}, "place_order(0, True, hi)"),
        ([{"items": []}], "place_order(0, False, None)"),
        ([{"items": []}, True, "hi"], "place_order(0, True, hi)"),
    ],
)
async def test_arguments_come_by_name_or_by_position_and_defaults_apply(
    client: httpx.AsyncClient, service: ShopService, body: Any, expected: str
) -> None:
    assert (await post(client, "Shop/PlaceOrder", body)).status_code == 200
    assert service.log == [expected]


async def test_a_method_without_parameters_needs_no_body(client: httpx.AsyncClient) -> None:
    for content in (b"", b"{}", b"[]", b" \n"):
        headers = {"content-type": "application/json"}
        response = await client.post("/rpc/http/Shop/LastOrder", content=content, headers=headers)
        assert (response.status_code, response.content) == (200, b"null")


async def test_no_result_is_204_and_no_waiting_is_202(client: httpx.AsyncClient, service: ShopService) -> None:
    response = await post(client, "Shop/Close")
    assert (response.status_code, response.content) == (204, b"")
    response = await post(client, "Shop/Tell", {"text": "a"})
    assert (response.status_code, response.content) == (202, b"")
    assert "heard a" not in service.log
    service.gate("a").set()
    await service.logged("heard a")


async def test_a_call_that_nobody_waits_for_outlives_its_client_and_its_error_is_logged(
    client: httpx.AsyncClient, service: ShopService, caplog: pytest.LogCaptureFixture
) -> None:
    service.errors = [asyncio.CancelledError("by itself")]
    async with client.stream("POST", "/rpc/http/Shop/Tell", json=["a"]) as response:
        assert response.status_code == 202
    await client.aclose()
    service.gate("a").set()
    await service.logged("heard a")
    while not caplog.records:
        await asyncio.sleep(0)
    assert "Shop.tell failed, and nobody waits for it" in caplog.text


async def test_a_server_that_gives_up_cancels_even_what_nobody_waits_for(
    endpoint: RpcHttpEndpoint, service: ShopService, caplog: pytest.LogCaptureFixture
) -> None:
    call = asyncio.ensure_future(ask(endpoint, "/rpc/http/Shop/Tell", b'["a"]'))
    await service.logged("told a")
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    service.gate("a").set()
    await settle()
    assert "heard a" not in service.log
    assert caplog.records == []


async def test_a_compute_method_is_answered_from_the_cache_while_it_is_true(
    client: httpx.AsyncClient, service: ShopService
) -> None:
    for _ in range(3):
        assert (await post(client, "Shop/GetPrice", ["pen"])).json() == 3.0
    assert service.log == ["get_price(pen)"]
    invalidate(service.get_price, "pen")
    await post(client, "Shop/GetPrice", ["pen"])
    assert service.log == ["get_price(pen)"] * 2


async def test_the_hub_invokes_with_headers_and_the_request(client: httpx.AsyncClient, hub: WatchedHub) -> None:
    headers = {"Authorization": "Bearer x", "traceparent": TRACE, "tracestate": "a=1,b=2", "#": "no", "~p": "no"}
    await client.post("/rpc/http/Shop/Add?tenant=t1", json=[1, 2], headers=headers)
    (context,) = hub.contexts
    assert context.method.full_name == "Shop.add"
    assert list(context.arguments) == [1, 2]
    assert context.peer is None
    given = dict(context.headers)
    assert (given["authorization"], given["~p"], given["~s"]) == ("Bearer x", TRACE, "a=1,b=2")
    assert "#" not in given
    request = context.request
    assert request is not None
    assert (request.path, request.query, request.remote) == ("/rpc/http/Shop/Add", {"tenant": "t1"}, "127.0.0.1")
    assert request.headers["authorization"] == "Bearer x"


@pytest.mark.parametrize(
    ("parent", "state", "expected"),
    [
        (TRACE, "", {"~p": TRACE}),
        (TRACE, "x" * 512, {"~p": TRACE, "~s": "x" * 512}),
        (TRACE, "x" * 513, {"~p": TRACE}),
        (TRACE + "-more", "a=1", {}),
        ("nonsense", "a=1", {}),
    ],
)
async def test_a_trace_goes_along_if_peers_could_read_it(
    client: httpx.AsyncClient, hub: WatchedHub, parent: str, state: str, expected: dict[str, str]
) -> None:
    await client.post("/rpc/http/Shop/Add", json=[1], headers={"traceparent": parent, "tracestate": state})
    (context,) = hub.contexts
    assert {name: value for name, value in context.headers if name.startswith("~")} == expected


async def test_a_client_that_goes_away_cancels_the_handler(client: httpx.AsyncClient, service: ShopService) -> None:
    call = asyncio.ensure_future(post(client, "Shop/Wait", ["a"]))
    await service.logged("wait(a)")
    call.cancel()
    await service.logged("cancelled a")
    with pytest.raises(asyncio.CancelledError):
        await call


async def test_a_server_that_gives_up_cancels_the_handler_and_waits_for_it(
    endpoint: RpcHttpEndpoint, service: ShopService
) -> None:
    call = asyncio.ensure_future(ask(endpoint, "/rpc/http/Shop/Wait", b'["a"]'))
    await service.logged("wait(a)")
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert service.log == ["wait(a)", "cancelled a"]


async def test_a_client_that_goes_away_before_it_has_sent_everything_calls_nothing(
    endpoint: RpcHttpEndpoint, hub: WatchedHub
) -> None:
    parts = iter([{"type": "http.request", "body": b"[1", "more_body": True}, {"type": "http.disconnect"}])

    async def receive() -> Any:
        return next(parts)

    async def send(message: Any) -> None:
        raise AssertionError(message)

    headers = [(b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": "/rpc/http/Shop/Add", "headers": headers}
    await endpoint(scope, receive, send)
    assert hub.contexts == []


async def test_the_handler_sees_the_context_variables_of_what_the_endpoint_is_called_by(
    endpoint: RpcHttpEndpoint, service: ShopService
) -> None:
    tenant: ContextVar[str] = ContextVar("tenant")
    seen: list[str] = []
    service.on_call = lambda: seen.append(tenant.get())

    async def middleware(scope: Any, receive: Any, send: Any) -> None:
        tenant.set("t1")
        await endpoint(scope, receive, send)

    async with under_uvicorn(middleware) as client:
        assert (await post(client, "Shop/Close")).status_code == 204
    assert seen == ["t1"]


async def test_many_calls_run_at_once(client: httpx.AsyncClient, service: ShopService) -> None:
    calls = [asyncio.ensure_future(post(client, "Shop/Wait", [f"{i}"])) for i in range(20)]
    for i in reversed(range(20)):
        await service.logged(f"wait({i})")
        service.gate(f"{i}").set()
    assert [response.json() for response in await asyncio.gather(*calls)] == [f"{i} done" for i in range(20)]


async def test_a_service_that_is_added_later_is_found(client: httpx.AsyncClient, hub: WatchedHub) -> None:
    class Late:
        async def hello(self) -> str:
            raise NotImplementedError

    class LateService(Late):
        async def hello(self) -> str:
            return "hi"

    assert (await post(client, "Late/Hello")).status_code == 404
    hub.add_service(Late, LateService())
    assert (await post(client, "Late/Hello")).json() == "hi"


async def test_contracts_of_the_same_name_are_told_apart_by_their_services(endpoint: RpcHttpEndpoint) -> None:
    from refusion.rpc import RpcHub, rpc_service

    def declare(name: str) -> type[Any]:
        @rpc_service(name=name)
        class Clock:
            async def now(self) -> str:
                return name

        return Clock

    async with RpcHub() as hub:
        for name in ("A", "B"):
            contract = declare(name)
            hub.add_service(contract, contract())
        app = RpcHttpEndpoint(hub)
        assert (await ask(app, "/rpc/http/B/Now")).json == "B"
        answer = await ask(app, "/rpc/http/Clock/Now")
        assert (answer.status, answer.json["known"]) == (400, ["A", "B"])


async def test_a_closed_hub_takes_no_calls(client: httpx.AsyncClient, hub: WatchedHub, service: ShopService) -> None:
    running = asyncio.ensure_future(post(client, "Shop/Wait", ["a"]))
    await service.logged("wait(a)")
    await hub.aclose(drain_timeout=0)
    assert (await post(client, "Shop/Add", [1])).status_code == 503
    service.gate("a").set()
    assert (await running).json() == "a done"


async def test_a_handler_that_cancels_itself_is_no_lost_client(
    client: httpx.AsyncClient, service: ShopService, caplog: pytest.LogCaptureFixture
) -> None:
    service.errors = [asyncio.CancelledError()]
    response = await post(client, "Shop/Fail", [0])
    assert response.status_code == 503
    assert "was cancelled by the server" in response.json()["detail"]
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
