"""A server for the reference's own end-to-end script: `python -m tests.interop.host --port 8080`.

It prints the URL that it serves at. A client may ask it to restart: then it begins anew at the same port, as another
hub that has forgotten everything.
"""

import argparse
import asyncio

from refusion import FusionHub
from refusion.rpc.formats import format_keys

from .contracts import BasicApi, ControlApi, CounterApi, MatrixComputeApi, MatrixRpcApi
from .services import BasicService, ControlService, CounterService, MatrixComputeService, MatrixRpcService

RESTART_PAUSE = 0.2
"""How long nobody listens during a restart, in seconds."""


async def serve(port: int, *, format: str, transport: str | None) -> None:
    """Serve until the process is stopped."""
    while True:
        port = await _serve_once(port, format=format, transport=transport)
        print("restarting", flush=True)
        await asyncio.sleep(RESTART_PAUSE)


async def _serve_once(port: int, *, format: str, transport: str | None) -> int:
    """Serve until a client asks for a restart; returns the port that it was served at."""
    restart = asyncio.Event()
    async with FusionHub(format=format, transport=transport) as hub:
        hub.add_service(BasicApi, BasicService())
        hub.add_service(CounterApi, CounterService())
        hub.add_service(ControlApi, ControlService(restart.set))
        hub.add_service(MatrixComputeApi, MatrixComputeService())
        hub.add_service(MatrixRpcApi, MatrixRpcService())
        server = await hub.serve("127.0.0.1", port)
        print(f"serving at {server.url}", flush=True)
        await restart.wait()
        return server.port


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.interop.host", description="Serve the test services.")
    parser.add_argument("--port", type=int, default=0, help="the port to listen at; 0 (default) takes a free one")
    parser.add_argument(
        "--format",
        choices=format_keys(),
        default="msgpack6c",
        help="the format of clients that don't ask for one (default msgpack6c)",
    )
    parser.add_argument("--transport", choices=("websockets", "picows"), help="the default is that of RpcHub")
    options = parser.parse_args()
    try:
        asyncio.run(serve(options.port, format=options.format, transport=options.transport))
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
