"""A server for the reference's own end-to-end script: `python -m tests.interop.host --port 8080`.

It prints the URL that it serves at. A client may ask it to restart: then it begins anew at the same port, as another
hub that has forgotten everything.
"""

import argparse
import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

import uvicorn

from refusion import FusionHub
from refusion.rpc.formats import format_keys
from refusion.rpc.transports.asgi import RpcEndpoint

from .contracts import BasicApi, ControlApi, CounterApi, MatrixComputeApi, MatrixRpcApi
from .services import BasicService, ControlService, CounterService, MatrixComputeService, MatrixRpcService

HOST: Final = "127.0.0.1"
ASGI: Final = "asgi"
RESTART_PAUSE: Final = 0.2
"""How long nobody listens during a restart, in seconds."""


_say = partial(print, flush=True)


async def serve(port: int, *, format: str, transport: str | None, slowness: float) -> None:
    """Serve until the process is stopped."""
    while True:
        port = await _serve_once(port, format=format, transport=transport, slowness=slowness)
        _say("restarting")
        await asyncio.sleep(RESTART_PAUSE)


async def _serve_once(port: int, *, format: str, transport: str | None, slowness: float) -> int:
    """Serve until a client asks for a restart; returns the port that it was served at."""
    restart = asyncio.Event()
    async with FusionHub(format=format, transport=None if transport == ASGI else transport) as hub:
        hub.add_service(BasicApi, BasicService())
        hub.add_service(CounterApi, CounterService())
        hub.add_service(ControlApi, ControlService(restart.set))
        hub.add_service(MatrixComputeApi, MatrixComputeService(slowness))
        hub.add_service(MatrixRpcApi, MatrixRpcService(slowness))
        async with _under_uvicorn(hub, port) if transport == ASGI else _standalone(hub, port) as (port, url):
            _say(f"serving at {url}")
            await restart.wait()
            return port


@asynccontextmanager
async def _standalone(hub: FusionHub, port: int) -> AsyncIterator[tuple[int, str]]:
    server = await hub.serve(HOST, port)
    yield server.port, server.url


@asynccontextmanager
async def _under_uvicorn(hub: FusionHub, port: int) -> AsyncIterator[tuple[int, str]]:
    config = uvicorn.Config(RpcEndpoint(hub), host=HOST, port=port, log_level="warning", ws_per_message_deflate=False)
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield port, f"ws://{HOST}:{port}/rpc/ws"
    finally:
        server.should_exit = True
        await task


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.interop.host", description="Serve the test services.")
    parser.add_argument("--port", type=int, default=0, help="the port to listen at; 0 (default) takes a free one")
    parser.add_argument(
        "--format",
        choices=format_keys(),
        default="msgpack6c",
        help="the format of clients that don't ask for one (default msgpack6c)",
    )
    parser.add_argument(
        "--transport",
        choices=("websockets", "picows", ASGI),
        help=f"{ASGI} is RpcEndpoint under uvicorn; the default is that of RpcHub",
    )
    parser.add_argument(
        "--slowness", type=float, default=1.0, help="how many times as long the matrix services take (default 1)"
    )
    options = parser.parse_args()
    try:
        asyncio.run(serve(options.port, format=options.format, transport=options.transport, slowness=options.slowness))
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
