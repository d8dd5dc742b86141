"""aiohttp on both sides: a call is a POST with JSON."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
from aiohttp import web

from . import _cases
from ._http_client import HttpClient
from ._stack import Client, Stack

__all__ = ["create"]

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder().decode


async def _echo(value: Any) -> Any:
    return value


def _handler(function: Callable[..., Awaitable[Any]]) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handle(request: web.Request) -> web.Response:
        result = await function(*_decode(await request.read()))
        return web.Response(body=_encode(result), content_type="application/json")

    return handle


async def _count(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    async for number in _cases.count(*_decode(await request.read())):
        await response.write(_encode(number) + b"\n")
    return response


class _Aiohttp(Stack):
    about = "POST with JSON (msgspec's), a connection per call in flight, kept alive; a stream is lines; dicts"

    async def serve(self) -> str:
        app = web.Application(client_max_size=1 << 24)
        for name, function in (("add", _cases.add), ("add_later", _cases.add_later), ("item", _echo), ("items", _echo)):
            app.router.add_post(f"/{name}", _handler(function))
        app.router.add_post("/count", _count)
        self._runner = web.AppRunner(app, access_log=None, keepalive_timeout=300)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def connect(self, url: str) -> Client:
        return HttpClient(url)


def create(name: str) -> Stack:
    return _Aiohttp()
