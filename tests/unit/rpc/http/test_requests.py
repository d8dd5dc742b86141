"""Requests that aren't calls, or not ones that can be answered: each is refused with what is wrong with it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from refusion.rpc.http import RpcHttpEndpoint

from .shop import ShopService, WatchedHub, ask, post, serve_shop


@pytest.mark.parametrize("verb", ["GET", "HEAD", "PUT", "DELETE", "PATCH"])
async def test_only_post_calls_a_method(client: httpx.AsyncClient, service: ShopService, verb: str) -> None:
    response = await client.request(verb, "/rpc/http/Shop/Close")
    assert response.status_code == 405
    assert response.headers["allow"] == "POST, OPTIONS"
    assert (response.content == b"") == (verb == "HEAD")
    assert service.log == []


async def test_options_tell_what_can_be_done(client: httpx.AsyncClient) -> None:
    response = await client.options("/rpc/http/Shop/Add")
    assert (response.status_code, response.headers["allow"]) == (204, "POST, OPTIONS")
    assert response.headers["accept-post"] == "application/json"
    assert "access-control-allow-origin" not in response.headers
    response = await client.options("/rpc/http/openapi.json")
    assert (response.status_code, response.headers["allow"]) == (204, "GET, HEAD, OPTIONS")
    assert (await client.options("/rpc/http/Shop/Sell")).status_code == 404


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/json-patch+json",
        "application/json, text/plain",
        "application/json; charset=latin-1",
        "application/json; charset=utf-16",
    ],
)
async def test_what_a_form_of_another_site_could_send_is_refused_even_without_a_body(
    client: httpx.AsyncClient, service: ShopService, content_type: str | None
) -> None:
    headers = {} if content_type is None else {"content-type": content_type}
    response = await client.post("/rpc/http/Shop/Close", headers=headers)
    assert response.status_code == 415
    assert service.log == []


@pytest.mark.parametrize(
    "content_type",
    ["application/json;charset=UTF-8", 'Application/JSON; charset="utf-8"', "application/json; x=1; charset=utf8"],
)
async def test_json_may_be_declared_in_many_ways(client: httpx.AsyncClient, content_type: str) -> None:
    response = await client.post("/rpc/http/Shop/Add", content=b"[1]", headers={"content-type": content_type})
    assert response.json() == 11


async def test_an_encoded_body_is_refused(client: httpx.AsyncClient) -> None:
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    response = await client.post("/rpc/http/Shop/Add", content=b"[1]", headers=headers)
    assert (response.status_code, "gzip" in response.json()["detail"]) == (415, True)
    headers["content-encoding"] = "identity"
    assert (await client.post("/rpc/http/Shop/Add", content=b"[1]", headers=headers)).json() == 11


@pytest.mark.parametrize("is_chunked", [False, True])
async def test_a_body_may_be_as_large_as_the_limit_and_no_larger(client: httpx.AsyncClient, is_chunked: bool) -> None:
    def body(size: int) -> Any:
        async def parts() -> AsyncIterator[bytes]:
            yield b'["'
            for start in range(0, size - 4, 1_000):
                yield b"x" * min(1_000, size - 4 - start)
            yield b'"]'

        return parts() if is_chunked else b'["' + b"x" * (size - 4) + b'"]'

    headers = {"content-type": "application/json"}
    response = await client.post("/rpc/http/Shop/Find:2", content=body(100_000), headers=headers)
    assert len(response.json()) == 100_000 - 4 + len("like ")
    response = await client.post("/rpc/http/Shop/Find:2", content=body(100_001), headers=headers)
    assert (response.status_code, "100,000" in response.json()["detail"]) == (413, True)
    assert response.headers["connection"] == "close"
    assert (await post(client, "Shop/Add", [1])).json() == 11


async def test_no_more_of_a_body_is_read_than_may_be_there(endpoint: RpcHttpEndpoint) -> None:
    received = 0

    async def receive() -> Any:
        nonlocal received
        received += 1
        return {"type": "http.request", "body": b"x" * 60_000, "more_body": True}

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/rpc/http/Shop/Add",
        "headers": [(b"content-type", b"application/json")],
    }
    await endpoint(scope, receive, send)
    assert (sent[0]["status"], received) == (413, 2)
    scope["headers"] = [(b"content-type", b"application/json"), (b"content-length", b"100001")]
    await endpoint(scope, receive, send)
    assert (sent[2]["status"], received) == (413, 2)


@pytest.mark.parametrize(
    "body",
    [b"{", b"[1,]", b"nonsense", b'{"a": 1} 2', b'{"a": NaN}', b"\xff", b'{"a": "\xff"}', b"\xef\xbb\xbf{}"]
    + [b'{"a": ' + b"[" * 100_00 + b"]" * 100_00 + b"}", b'{"a": "\x1f"}'],
)
async def test_what_isnt_json_is_a_bad_request(endpoint: RpcHttpEndpoint, body: bytes) -> None:
    assert (await ask(endpoint, "/rpc/http/Shop/Anything", body)).status == 400


@pytest.mark.parametrize(
    ("path", "body", "argument", "told"),
    [
        ("Add", b"{}", "a", "argument 'a' of Shop.add is missing"),
        ("Add", b"", "a", "argument 'a' of Shop.add is missing"),
        ("Add", b'{"a": "x"}', "a", "argument 'a' of Shop.add: Expected `int`, got `str`"),
        ("Add", b'{"a": 1, "A": 2}', "a", "argument 'a' of Shop.add is given twice"),
        ("Add", b'{"a": 1, "c": 2}', None, "Shop.add has no parameter 'c' (it has: a, b)"),
        ("Add", b"[1, 2, 3]", None, "Shop.add takes 2 arguments and 3 were given"),
        ("Add", b"[1, null]", "b", "argument 'b' of Shop.add: Expected `int`, got `null`"),
        ("Add", b"1", None, "the body must be a JSON object by parameter name, or a JSON array of values"),
        ("Add", b"1e999", None, "the body can't be read: Number out of range"),
        ("Close", b'{"x": 1}', None, "Shop.close has no parameter 'x' (it has: none)"),
        ("Anything", b"[1e999]", "data", "argument 'data' of Shop.anything: Number out of range"),
    ],
)
async def test_what_doesnt_fit_is_told_with_the_argument(
    endpoint: RpcHttpEndpoint, hub: WatchedHub, path: str, body: bytes, argument: str | None, told: str
) -> None:
    answer = await ask(endpoint, f"/rpc/http/Shop/{path}", body)
    assert (answer.status, answer.json["detail"], answer.json.get("argument")) == (422, told, argument)
    assert hub.contexts == []


async def test_what_doesnt_fit_inside_of_an_argument_is_told_with_its_path(endpoint: RpcHttpEndpoint) -> None:
    body = b'{"order": {"items": [{"Name": "a"}, {"Name": "b", "Size": "tiny"}]}}'
    answer = await ask(endpoint, "/rpc/http/Shop/PlaceOrder", body)
    assert (answer.status, answer.json["argument"]) == (422, "order")
    assert "argument 'order' of Shop.place_order: Invalid enum value 'tiny'" in answer.json["detail"]
    assert "items[1].Size" in answer.json["detail"]


async def test_an_integer_may_be_written_as_javascript_writes_it(endpoint: RpcHttpEndpoint) -> None:
    assert (await ask(endpoint, "/rpc/http/Shop/Add", b"[1.0, 2e2]")).json == 201


async def test_a_long_name_isnt_told_back_in_full(endpoint: RpcHttpEndpoint) -> None:
    answer = await ask(endpoint, "/rpc/http/Shop/Add", b'{"' + b"x" * 50_000 + b'": 1}')
    assert answer.status == 422
    assert len(answer.body) < 1_000


async def test_a_spelling_that_two_parameters_share_is_nobodys() -> None:
    class Odd:
        async def join(self, a_b: str, aB: str, from_: str = "") -> str:
            return f"{a_b}{aB}{from_}"

    async with WatchedHub() as hub:
        hub.add_service(Odd, Odd())
        app = RpcHttpEndpoint(hub)
        answer = await ask(app, "/rpc/http/Odd/Join", b'{"aB": "1", "a_b": "2", "from": "3"}')
        assert answer.json == "213"
        assert (await ask(app, "/rpc/http/Odd/Join", b'{"AB": "1", "a_b": "2"}')).status == 422


_texts = st.sampled_from(
    [
        b"{",
        b"}",
        b"[",
        b"]",
        b'"a"',
        b'"b"',
        b":",
        b",",
        b"1",
        b"-",
        b"e9",
        b'"',
        b"\\",
        b"null",
        b"\x1f",
        b"\xff",
        b" ",
    ]
)
_bodies = st.one_of(st.binary(max_size=64), st.lists(_texts, max_size=16).map(b"".join))


@given(body=_bodies, method=st.sampled_from(["Add", "PlaceOrder", "Anything", "LastOrder", "GetPrice"]))
@example(body=b'["\\ud800"]', method="Anything")
@example(body=b'{"\\ud800": 1}', method="Anything")
@settings(max_examples=400, deadline=None)
def test_no_body_makes_the_server_fail(body: bytes, method: str) -> None:
    async def call() -> None:
        async with WatchedHub() as hub:
            serve_shop(hub)
            answer = await ask(RpcHttpEndpoint(hub), f"/rpc/http/Shop/{method}", body)
            assert answer.status in (200, 204, 400, 422)
            assert (answer.status in (200, 204)) == bool(hub.contexts)

    asyncio.run(call())


@given(path=st.text(max_size=40), verb=st.sampled_from(["GET", "POST", "OPTIONS", "HEAD"]))
@settings(max_examples=200, deadline=None)
def test_no_path_makes_the_server_fail(path: str, verb: str) -> None:
    async def call() -> None:
        async with WatchedHub() as hub:
            serve_shop(hub)
            answer = await ask(RpcHttpEndpoint(hub), f"/rpc/http/{path}", verb=verb)
            assert answer.status in (200, 204, 404, 405, 400, 422)

    asyncio.run(call())


@pytest.mark.parametrize("wrong", [{"path": "rpc"}, {"max_body_bytes": 0}])
def test_an_endpoint_cant_have_such_options(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be"):
        RpcHttpEndpoint(WatchedHub(), **wrong)
