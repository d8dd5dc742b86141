"""Streams: as a result they come line by line, as long as somebody reads them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import msgspec
import pytest
from openapi_spec_validator import validate

from refusion.rpc import RpcHub, RpcStream
from refusion.rpc.http import RpcHttpEndpoint
from refusion.testing import settle

from .shop import ask, under_uvicorn


class Page(msgspec.Struct):
    title: str
    lines: RpcStream[str]


class Tree(msgspec.Struct):
    """Refers to itself."""

    children: "list[Tree]" = []
    pages: tuple[dict[str, Page | None], int] | None = None


class Family(msgspec.Struct):
    """Refers to itself, and has no streams."""

    members: "list[Family]" = []


class Item(msgspec.Struct):
    number: int
    text: str = "a\nb"


class Feed:
    async def items(self, count: int) -> RpcStream[Item]:
        raise NotImplementedError

    async def raw(self) -> RpcStream[msgspec.Raw]:
        raise NotImplementedError

    async def page(self) -> Page:
        raise NotImplementedError

    async def upload(self, name: str, lines: RpcStream[str] | None = None) -> int:
        raise NotImplementedError

    async def upload_pages(self, pages: list[Page]) -> int:
        raise NotImplementedError

    async def upload_tree(self, tree: Tree) -> int:
        raise NotImplementedError

    async def size(self, text: str, family: Family | None = None) -> int:
        raise NotImplementedError


class FeedService(Feed):
    def __init__(self) -> None:
        self.sent = 0
        self.closed = asyncio.Event()
        self.fault: Callable[[int], Any] = lambda number: None
        self.text = "a\nb"

    async def items(self, count: int) -> RpcStream[Item]:
        # Kept, so that nobody but the endpoint closes it.
        self.stream = RpcStream(self._items(count))
        return self.stream

    async def _items(self, count: int) -> AsyncIterator[Item]:
        try:
            for number in range(count):
                self.fault(number)
                self.sent = number + 1
                yield Item(number, self.text)
                await asyncio.sleep(0)
        finally:
            self.closed.set()

    async def raw(self) -> RpcStream[msgspec.Raw]:
        async def source() -> AsyncIterator[msgspec.Raw]:
            yield msgspec.Raw(b'{\n  "a": 1\n}')

        return RpcStream(source())

    async def page(self) -> Page:
        raise AssertionError

    async def upload(self, name: str, lines: RpcStream[str] | None = None) -> int:
        raise AssertionError

    async def upload_pages(self, pages: list[Page]) -> int:
        raise AssertionError

    async def upload_tree(self, tree: Tree) -> int:
        raise AssertionError

    async def size(self, text: str, family: Family | None = None) -> int:
        return len(text)


@pytest.fixture
def service() -> FeedService:
    return FeedService()


@pytest.fixture
async def app(service: FeedService) -> AsyncIterator[RpcHttpEndpoint]:
    async with RpcHub() as hub:
        hub.add_service(Feed, service)
        yield RpcHttpEndpoint(hub)


@pytest.fixture
async def client(app: RpcHttpEndpoint) -> AsyncIterator[httpx.AsyncClient]:
    async with under_uvicorn(app) as client:
        yield client


async def test_items_come_one_a_line(client: httpx.AsyncClient) -> None:
    async with client.stream("POST", "/rpc/http/Feed/Items", json=[3]) as response:
        assert response.status_code == 200
        assert response.headers["content-type"] == "application/x-ndjson"
        lines = [line async for line in response.aiter_lines()]
    assert lines == [f'{{"number":{number},"text":"a\\nb"}}' for number in range(3)]
    assert (await client.post("/rpc/http/Feed/Raw", json=[])).text == '{"a":1}\n'


async def test_a_stream_without_items_is_an_answer_without_lines(client: httpx.AsyncClient) -> None:
    response = await client.post("/rpc/http/Feed/Items", json=[0])
    assert (response.status_code, response.content) == (200, b"")


async def test_a_client_that_doesnt_read_holds_the_stream_up(app: RpcHttpEndpoint, service: FeedService) -> None:
    taken = asyncio.Semaphore(0)
    lines: list[bytes] = []

    async def send(message: Any) -> None:
        if message.get("body"):
            await taken.acquire()
            lines.append(message["body"])

    body = iter([{"type": "http.request", "body": b"[100]"}])

    async def receive() -> Any:
        return next(body, None) or await asyncio.Future()

    headers = [(b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": "/rpc/http/Feed/Items", "headers": headers}
    call = asyncio.ensure_future(app(scope, receive, send))
    for number in range(5):
        await settle()
        assert (service.sent, len(lines)) == (number + 1, number)
        taken.release()
    await settle()
    # It waits for the client, so nothing is cancelled inside of the source.
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert service.closed.is_set()


async def test_a_client_that_goes_away_ends_the_stream(client: httpx.AsyncClient, service: FeedService) -> None:
    async with client.stream("POST", "/rpc/http/Feed/Items", json=[10**9]) as response:
        await anext(response.aiter_lines())
    await service.closed.wait()


async def test_an_error_before_the_first_item_has_its_status(client: httpx.AsyncClient, service: FeedService) -> None:
    def fail(number: int) -> None:
        raise PermissionError("not yours")

    service.fault = fail
    response = await client.post("/rpc/http/Feed/Items", json=[3])
    assert (response.status_code, response.json()["detail"]) == (403, "not yours")


async def test_a_stream_that_breaks_off_doesnt_look_complete(client: httpx.AsyncClient, service: FeedService) -> None:
    def fail(number: int) -> None:
        if number == 2:
            raise PermissionError("not yours")

    service.fault = fail
    async with client.stream("POST", "/rpc/http/Feed/Items", json=[3]) as response:
        lines = response.aiter_lines()
        assert [await anext(lines), await anext(lines)]
        with pytest.raises(httpx.RemoteProtocolError):
            await anext(lines)


@pytest.mark.parametrize(
    ("method", "told"),
    [
        ("Upload", "argument 'lines' of Feed.upload has a stream in it"),
        ("UploadPages", "argument 'pages' of Feed.upload_pages has a stream in it"),
        ("UploadTree", "argument 'tree' of Feed.upload_tree has a stream in it"),
        ("Page", "the result of Feed.page has a stream in it"),
    ],
)
async def test_streams_elsewhere_are_refused(app: RpcHttpEndpoint, method: str, told: str) -> None:
    answer = await ask(app, f"/rpc/http/Feed/{method}", b'["a"]')
    assert (answer.status, answer.json["detail"]) == (422, f"{told}; call it over WebSocket")
    assert (await ask(app, "/rpc/http/Feed/Size", b'["abc"]')).json == 3


async def test_the_document_has_what_can_be_called(app: RpcHttpEndpoint) -> None:
    document = app.openapi()
    validate(document)  # type: ignore[arg-type]
    assert list(document["paths"]) == ["/Feed/Items", "/Feed/Raw", "/Feed/Size"]
    response = document["paths"]["/Feed/Items"]["post"]["responses"]["200"]
    assert response["content"] == {"application/x-ndjson": {"schema": {"$ref": "#/components/schemas/Item"}}}
