"""A gateway: `python -m samples.gateway.gateway ws://127.0.0.1:8080 --port 8081`. It serves what it is a client of."""

import argparse
import asyncio

from refusion import FusionHub

from .contract import PriceApi


async def serve(upstream_url: str, port: int) -> None:
    """Pass on calls until the process is stopped."""
    async with FusionHub() as hub:
        hub.add_service(PriceApi, hub.client(PriceApi, upstream_url))
        server = await hub.serve("127.0.0.1", port)
        print(server.url, flush=True)
        await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m samples.gateway.gateway", description="Pass calls on.")
    parser.add_argument("upstream", help="what it is a gateway to, as ws://127.0.0.1:8080")
    parser.add_argument("--port", type=int, default=0, help="the port to listen at (default: a free one)")
    options = parser.parse_args()
    try:
        asyncio.run(serve(options.upstream, options.port))
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
