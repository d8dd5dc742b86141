"""The origin: `python -m samples.gateway.origin --port 8080`. It has the prices, and knows nothing of gateways."""

import argparse
import asyncio
import random
from typing import Any

from refusion import FusionHub, compute_method
from refusion.rpc import InboundContext, Proceed

from .contract import SYMBOLS, PriceApi

__all__ = ["PriceService"]


class PriceService(PriceApi):
    """Prices that go up and down at random."""

    def __init__(self) -> None:
        self._prices: dict[str, float] = dict.fromkeys(SYMBOLS, 100.0)
        self._calls = 0

    @compute_method
    async def get_price(self, symbol: str) -> float:
        return self._prices[symbol]

    async def count_calls(self) -> int:
        return self._calls

    async def count(self, call: InboundContext, proceed: Proceed) -> Any:
        """Count a call of a price; middleware."""
        self._calls += call.method.name == "get_price"
        return await proceed()

    async def trade(self, pace: float) -> None:
        """Change one price every `pace` seconds."""
        while True:
            await asyncio.sleep(pace)
            symbol = random.choice(SYMBOLS)
            self._prices[symbol] = round(self._prices[symbol] * random.uniform(0.98, 1.02), 2)
            self.get_price.invalidate(symbol)


async def serve(port: int, pace: float) -> None:
    """Serve prices until the process is stopped."""
    service = PriceService()
    async with FusionHub() as hub:
        hub.add_inbound_middleware(service.count)
        hub.add_service(PriceApi, service)
        server = await hub.serve("127.0.0.1", port)
        print(server.url, flush=True)
        await service.trade(pace)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m samples.gateway.origin", description="Serve prices.")
    parser.add_argument("--port", type=int, default=0, help="the port to listen at (default: a free one)")
    parser.add_argument("--pace", type=float, default=0.25, help="seconds between two changes (default 0.25)")
    options = parser.parse_args()
    try:
        asyncio.run(serve(options.port, options.pace))
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
