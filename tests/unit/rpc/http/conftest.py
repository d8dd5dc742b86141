"""A shop in a real server, and a client of it."""

from collections.abc import AsyncIterator

import httpx
import pytest

from refusion.rpc.http import RpcHttpEndpoint

from .shop import ShopService, WatchedHub, serve_shop, under_uvicorn


@pytest.fixture
async def hub() -> AsyncIterator[WatchedHub]:
    async with WatchedHub() as hub:
        yield hub


@pytest.fixture
def service(hub: WatchedHub) -> ShopService:
    return serve_shop(hub)


@pytest.fixture
def endpoint(hub: WatchedHub, service: ShopService) -> RpcHttpEndpoint:
    return RpcHttpEndpoint(hub, title="Shop", version="1.2", max_body_bytes=100_000)


@pytest.fixture
async def client(endpoint: RpcHttpEndpoint) -> AsyncIterator[httpx.AsyncClient]:
    async with under_uvicorn(endpoint) as client:
        yield client
