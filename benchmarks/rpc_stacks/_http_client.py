"""Calls as HTTP requests: `POST /case` with the arguments as JSON, answered with JSON."""

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from typing import Any, Final

import aiohttp
import msgspec

from ._stack import Client

__all__ = ["HttpClient"]

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder().decode
_HEADERS: Final = {"Content-Type": "application/json"}


class HttpClient(Client):
    """An aiohttp session with as many connections as there are calls in flight."""

    def __init__(self, url: str) -> None:
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=240)
        self._session = aiohttp.ClientSession(url, connector=connector)

    def method(self, case: str) -> Callable[..., Awaitable[Any]]:
        post, path = self._session.post, f"/{case}"

        async def call(*args: Any) -> Any:
            async with post(path, data=_encode(args), headers=_HEADERS) as response:
                return _decode(await response.read())

        return call

    async def count(self, n: int) -> AsyncIterable[int]:
        return self._numbers_below(n)

    async def _numbers_below(self, n: int) -> AsyncIterator[int]:
        async with self._session.post("/count", data=_encode([n]), headers=_HEADERS) as response:
            async for line in response.content:
                yield _decode(line)
