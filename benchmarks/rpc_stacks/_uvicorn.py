"""Running an ASGI application under uvicorn, at a free port."""

import asyncio
from typing import Any

import uvicorn

__all__ = ["serve_asgi"]

_tasks: set[asyncio.Task[None]] = set()


async def serve_asgi(app: Any) -> int:
    """Serve an application until the process ends, and return the port."""
    config = uvicorn.Config(
        app,
        host="127.0.0.1",
        port=0,
        log_level="error",
        access_log=False,
        lifespan="off",
        ws_per_message_deflate=False,
        timeout_keep_alive=300,
    )
    server = uvicorn.Server(config)
    _tasks.add(asyncio.create_task(server.serve()))
    while not server.started:
        await asyncio.sleep(0.01)
    port: int = server.servers[0].sockets[0].getsockname()[1]
    return port
