"""A service with methods of every sort, and ways to reach it with plain HTTP."""

import asyncio
import enum
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx
import msgspec
import uvicorn

from refusion import FusionHub, compute_method
from refusion.rpc import ErrorFilter, InboundContext, RpcHub, RpcNoWait, rpc_method, rpc_service

GUARD = 20


class Size(enum.Enum):
    SMALL = "small"
    LARGE = "large"


class Item(msgspec.Struct, rename="pascal"):
    """One line of an order."""

    name: str
    count: int = 1
    size: Size = Size.SMALL


@dataclass
class Order:
    items: list[Item]
    ordered_at: datetime | None = None


@rpc_service(name="IShop")
class Shop:
    """Sells things.

    By mail, too.
    """

    @compute_method
    async def get_price(self, name: str) -> float:
        """Return what something costs.

        In gold, without taxes.
        """
        raise NotImplementedError

    async def place_order(self, order: Order, *, is_gift: bool = False, gift_note: str | None = None) -> Order:
        raise NotImplementedError

    async def add(self, a: int, b: int = 10) -> int:
        raise NotImplementedError

    async def close(self) -> None:
        raise NotImplementedError

    async def last_order(self) -> Order | None:
        raise NotImplementedError

    async def tell(self, text: str) -> RpcNoWait:
        raise NotImplementedError

    async def wait(self, key: str) -> str:
        raise NotImplementedError

    async def fail(self, number: int) -> None:
        raise NotImplementedError

    async def find(self, name: str) -> str:
        raise NotImplementedError

    @rpc_method(name="Find")
    async def find_exact(self, name: str, size: Size) -> str:
        raise NotImplementedError

    async def anything(self, data: Any) -> Any:
        raise NotImplementedError


class ShopService(Shop):
    def __init__(self) -> None:
        self.log: list[str] = []
        self.errors: list[BaseException] = []
        self.on_call: Callable[[], Any] = lambda: None
        self.results: list[Any] = []
        self.gates: dict[str, asyncio.Event] = {}

    def gate(self, key: str) -> asyncio.Event:
        return self.gates.setdefault(key, asyncio.Event())

    async def logged(self, text: str) -> None:
        while text not in self.log:
            await asyncio.sleep(0)

    @compute_method
    async def get_price(self, name: str) -> float:
        self.log.append(f"get_price({name})")
        return float(len(name))

    async def place_order(self, order: Order, *, is_gift: bool = False, gift_note: str | None = None) -> Order:
        self.log.append(f"place_order({len(order.items)}, {is_gift}, {gift_note})")
        return order

    async def add(self, a: int, b: int = 10) -> int:
        return a + b

    async def close(self) -> None:
        self.log.append("close()")
        self.on_call()

    async def last_order(self) -> Order | None:
        return None

    async def tell(self, text: str) -> RpcNoWait:
        self.log.append(f"told {text}")
        await self.gate(text).wait()
        self.log.append(f"heard {text}")
        if self.errors:
            raise self.errors[0]
        return RpcNoWait()

    async def wait(self, key: str) -> str:
        self.log.append(f"wait({key})")
        try:
            await self.gate(key).wait()
        except asyncio.CancelledError:
            self.log.append(f"cancelled {key}")
            raise
        return f"{key} done"

    async def fail(self, number: int) -> None:
        raise self.errors[number]

    async def find(self, name: str) -> str:
        return f"like {name}"

    async def find_exact(self, name: str, size: Size) -> str:
        return f"{size.value} {name}"

    async def anything(self, data: Any) -> Any:
        return self.results.pop() if self.results else data


class WatchedHub(FusionHub):
    """Knows what was invoked, and tells of errors what a test wants told."""

    def __init__(self) -> None:
        super().__init__()
        self.contexts: list[InboundContext] = []
        self.shown: dict[type[BaseException], BaseException] = {}
        self.error_filter: ErrorFilter = lambda error: self.shown.get(type(error), error)

    async def invoke(self, context: InboundContext) -> Any:
        self.contexts.append(context)
        return await super().invoke(context)

    def filter_error(self, error: BaseException) -> BaseException:
        return self.error_filter(error)


def check_response(response: httpx.Response) -> None:
    """Check what holds for every answer that is sent in one piece."""
    assert response.headers["cache-control"] == "no-store"
    if response.headers.get("content-type") != "application/x-ndjson":
        assert ("content-length" in response.headers) == (response.status_code != 204)
    if response.status_code >= 400:
        assert response.headers["content-type"] == "application/problem+json"


async def _check(response: httpx.Response) -> None:
    check_response(response)


@asynccontextmanager
async def under_uvicorn(app: Any, *, root_path: str = "", is_checked: bool = True) -> AsyncIterator[httpx.AsyncClient]:
    """Give a client of an application that runs in a real server."""
    config = uvicorn.Config(
        app, host="127.0.0.1", port=0, log_level="critical", root_path=root_path, timeout_graceful_shutdown=2
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0)
    port = server.servers[0].sockets[0].getsockname()[1]
    hooks: dict[str, list[Any]] = {"response": [_check]} if is_checked else {}
    try:
        async with asyncio.timeout(GUARD), _client(f"http://127.0.0.1:{port}", hooks) as client:
            yield client
    finally:
        server.should_exit = True
        await task


def _client(url: str, hooks: dict[str, list[Any]]) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=url, event_hooks=hooks, timeout=GUARD, trust_env=False)


@dataclass
class Answer:
    """What an application has sent for one request."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


async def ask(
    app: Any,
    path: str,
    body: bytes = b"",
    *,
    verb: str = "POST",
    content_type: str | None = "application/json",
    root_path: str = "",
) -> Answer:
    """Send one request to an application, without a server."""
    headers = [] if content_type is None else [(b"content-type", content_type.encode())]
    scope = {
        "type": "http",
        "method": verb,
        "path": path,
        "root_path": root_path,
        "query_string": b"",
        "headers": headers,
    }
    sent: list[Any] = []
    parts = iter([{"type": "http.request", "body": body}])

    async def receive() -> Any:
        try:
            return next(parts)
        except StopIteration:
            await asyncio.Future()

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    start, *bodies = sent
    pairs = {name.decode(): value.decode() for name, value in start["headers"]}
    return Answer(start["status"], pairs, b"".join([message["body"] for message in bodies]))


def post(client: httpx.AsyncClient, path: str, body: Any = None) -> Any:
    """Call a method."""
    return client.post(f"/rpc/http/{path}", json={} if body is None else body)


def serve_shop(hub: RpcHub) -> ShopService:
    service = ShopService()
    hub.add_service(Shop, service)
    return service
