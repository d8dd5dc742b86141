"""The client's process: readers with a write now and then, over any of the ways."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec

from refusion import FusionHub
from refusion.remote import SqliteCache
from refusion.rpc import RpcHub

from ._users import USERS, ComputedUserApi, PlainUserApi, User

__all__ = ["WAYS", "ColdStart", "Way", "open_way"]


@dataclass
class Way:
    """How users are read and changed."""

    get: Callable[[int], Awaitable[Any]]
    touch: Callable[[int], Awaitable[Any]]

    async def load(self, readers: int, write_share: float, seconds: float) -> tuple[float, int]:
        """Let readers read random users, one after the other; returns the seconds, and how many operations."""
        done = 0
        started_at = time.perf_counter()
        deadline = started_at + seconds

        async def work(number: int) -> None:
            nonlocal done
            source = random.Random(number)
            while time.perf_counter() < deadline:
                # The clock, and others, have their turn once in a while: hits suspend nothing.
                for _ in range(20):
                    user_id = source.randrange(USERS)
                    if source.random() < write_share:
                        await self.touch(user_id)
                    else:
                        await self.get(user_id)
                    done += 1
                await asyncio.sleep(0)

        await asyncio.gather(*[work(number) for number in range(readers)])
        return time.perf_counter() - started_at, done


WAYS: Final = {
    "rest-plain": "httpx, FastAPI, database",
    "rest-computed": "httpx, FastAPI, compute service",
    "rpc-plain": "plain call, database",
    "rpc-computed": "plain call, compute service",
    "replica": "replica, compute service",
}


def open_way(name: str, http: str, rpc: str) -> Way:
    """Connect in one of the ways."""
    transport, _, kind = name.partition("-")
    if transport == "rest":
        return _rest(f"{http}/{kind}/users")
    hub = FusionHub() if name == "replica" else RpcHub()
    users = hub.client(PlainUserApi if kind == "plain" else ComputedUserApi, rpc)
    return Way(users.get, users.touch)


def _rest(url: str) -> Way:
    limits = httpx.Limits(max_connections=100, max_keepalive_connections=100)
    client = httpx.AsyncClient(base_url=url, limits=limits)

    async def get(user_id: int) -> User:
        response = await client.get(f"/{user_id}")
        return msgspec.json.decode(response.content, type=User)

    async def touch(user_id: int) -> None:
        (await client.post(f"/{user_id}/touch")).raise_for_status()

    return Way(get, touch)


class ColdStart:
    """A client that starts, and needs a number of values for its first page."""

    def __init__(self, url: str, path: Path, count: int) -> None:
        self._url = url
        self._path = path
        self._count = count

    async def run(self, *, has_cache: bool) -> tuple[float, float]:
        """Return the seconds until everything is shown, and until everything is known to be true."""
        cache = SqliteCache(self._path) if has_cache else None
        started_at = time.perf_counter()
        async with FusionHub(cache=cache) as hub:
            users = hub.client(ComputedUserApi, self._url)
            await asyncio.gather(*[users.get(number) for number in range(self._count)])
            shown_at = time.perf_counter()
            await hub.synchronized()
            return shown_at - started_at, time.perf_counter() - started_at
