"""The server process: `python -m samples.stocks.server --port 8080`."""

import argparse
import asyncio

from refusion import FusionHub

from .contract import StockApi
from .history import load_history
from .service import StockService


async def serve(port: int, pace: float) -> None:
    """Serve stock prices until the process is stopped."""
    service = StockService(load_history())
    async with FusionHub() as hub:
        hub.add_service(StockApi, service)
        server = await hub.serve("127.0.0.1", port)
        print(f"serving at {server.url}", flush=True)
        await service.replay(pace)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m samples.stocks.server", description="Serve stock prices.")
    parser.add_argument("--port", type=int, default=8080, help="the port to listen at (default 8080)")
    parser.add_argument("--pace", type=float, default=0.5, help="seconds for a month of history (default 0.5)")
    options = parser.parse_args()
    try:
        asyncio.run(serve(options.port, options.pace))
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
