"""The pages about replicas, caches and gateways: their snippets run as they are, one after another."""

import ast
import functools
import inspect
from contextlib import AsyncExitStack
from pathlib import Path
from types import CodeType
from typing import Any

import pytest

import refusion
from refusion import ComputedState, FixedDelayer, FusionHub, collect, compute_method
from refusion.rpc.transports.memory import MemoryNetwork
from refusion.testing import VirtualClock, settle
from tests.unit.pages import snippets

from .cached_stage import CachedStage
from .caches.test_caches import CacheContract, NewCache


class StockApi:
    @compute_method
    async def get_price(self, symbol: str) -> float:
        raise NotImplementedError


class StockService(StockApi):
    @compute_method
    async def get_price(self, symbol: str) -> float:
        return 189.5


async def run(snippet: str, names: dict[str, Any]) -> None:
    code = compile(snippet, "snippet", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    assert isinstance(code, CodeType)
    outcome = eval(code, names)
    if inspect.isawaitable(outcome):
        await outcome


@pytest.mark.parametrize("page", ["replicas.md", "client-cache.md", "gateways.md"])
async def test_the_snippets_of_a_page_run_one_after_another(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    new_hub = functools.partial(FusionHub, transport=MemoryNetwork())
    monkeypatch.setattr(refusion, "FusionHub", new_hub)
    names: dict[str, Any] = {"StockApi": StockApi, "StockService": StockService, "is_known": bool}
    async with AsyncExitStack() as hubs:
        origin = await hubs.enter_async_context(new_hub())
        origin.add_service(StockApi, StockService())
        await origin.serve(port=8080)
        for snippet in snippets(page):
            # What each does to its hub is no concern of the next one.
            names["hub"] = await hubs.enter_async_context(new_hub())
            await run(snippet, names)
    collect()


async def test_a_line_is_drawn_once_more_when_what_it_shows_is_confirmed(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    (snippet,) = [snippet for snippet in snippets("client-cache.md") if "class Line" in snippet]
    await run(snippet, names)
    with VirtualClock() as clock:
        stage = CachedStage(clock)
        await stage.start_server()
        await stage.remember(a=1)
        await stage.cut()
        client = stage.open_client()

        async def text() -> str:
            return f"a is {await client.get('a')}"

        async with ComputedState(text, update_delayer=FixedDelayer(0)) as state:
            names["Line"](state)
            await clock.advance(60)
            assert capsys.readouterr().out == "a is 1 (as of before)\n"
            await stage.reconnect()
            assert capsys.readouterr().out == "a is 1\n"
            stage.service.change("a", 2)
            await settle()
            assert capsys.readouterr().out == "a is 2\n"
        await stage.aclose()
    collect()


class Redis:
    """A server with values and hashes, as much of it as the page uses."""

    def __init__(self) -> None:
        self._values: dict[str, bytes] = {}
        self._hashes: dict[str, dict[bytes, bytes]] = {}

    async def get(self, name: str) -> bytes | None:
        return self._values.get(name)

    async def set(self, name: str, value: str) -> None:
        self._values[name] = value.encode()

    async def delete(self, name: str) -> None:
        self._hashes.pop(name, None)

    async def hget(self, name: str, key: bytes) -> bytes | None:
        return self._hashes.get(name, {}).get(key)

    async def hset(self, name: str, key: bytes, value: bytes) -> None:
        self._hashes.setdefault(name, {})[key] = value

    async def hdel(self, name: str, key: bytes) -> None:
        self._hashes.get(name, {}).pop(key, None)


class TestRedisCache(CacheContract):
    def make(self, folder: Path) -> NewCache:
        names: dict[str, Any] = {}
        (snippet,) = [snippet for snippet in snippets("client-cache.md") if "class RedisCache" in snippet]
        exec(snippet, names)
        redis = Redis()
        return lambda: names["RedisCache"](redis, "cache")
