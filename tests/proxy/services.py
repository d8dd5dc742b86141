"""What is called through the proxy, and the two ways to serve it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn

from refusion import FusionHub, compute_method
from refusion.rpc import RpcLimits, RpcStream
from refusion.rpc.transports.asgi import RpcEndpoint

__all__ = ["SERVERS", "Board", "BoardService", "serving"]

SERVERS = ("websockets", "picows", "uvicorn")


class Board:
    @compute_method
    async def get(self, key: str) -> int:
        raise NotImplementedError

    async def set(self, key: str, value: int) -> None:
        raise NotImplementedError

    async def echo(self, data: bytes) -> bytes:
        raise NotImplementedError

    async def wait(self, key: str) -> str:
        raise NotImplementedError

    async def count(self, to: int) -> RpcStream[int]:
        raise NotImplementedError

    async def total(self, numbers: RpcStream[int]) -> int:
        raise NotImplementedError


class BoardService(Board):
    def __init__(self) -> None:
        self.values: dict[str, int] = {}
        self.waits: list[str] = []
        self.gate = asyncio.Event()

    @compute_method
    async def get(self, key: str) -> int:
        return self.values.get(key, 0)

    async def set(self, key: str, value: int) -> None:
        self.values[key] = value
        self.get.invalidate(key)

    async def echo(self, data: bytes) -> bytes:
        return data

    async def wait(self, key: str) -> str:
        self.waits.append(key)
        await self.gate.wait()
        return f"{key} done"

    async def count(self, to: int) -> RpcStream[int]:
        return RpcStream(range(to))

    async def total(self, numbers: RpcStream[int]) -> int:
        return sum([number async for number in numbers])


@asynccontextmanager
async def serving(kind: str, service: BoardService, limits: RpcLimits) -> AsyncIterator[tuple[FusionHub, int]]:
    """Serve; gives the hub and its port."""
    transport = "websockets" if kind == "uvicorn" else kind
    async with FusionHub(transport=transport, limits=limits) as hub:
        hub.add_service(Board, service)
        if kind != "uvicorn":
            yield hub, (await hub.serve()).port
            return
        config = uvicorn.Config(
            RpcEndpoint(hub), port=0, log_level="critical", ws_per_message_deflate=False, timeout_graceful_shutdown=2
        )
        server = uvicorn.Server(config)
        task = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0)
        try:
            yield hub, server.servers[0].sockets[0].getsockname()[1]
        finally:
            await hub.aclose()
            server.should_exit = True
            await task
