"""Many clients of the edge: `python -m samples.gateway.clients ws://127.0.0.1:8082`.

Each has a hub and a connection of its own, as if it were a process of its own, and looks at all prices again and again.
"""

import argparse
import asyncio
import sys
import time
from contextlib import suppress

from refusion import FusionHub
from refusion.rpc import RpcConnectionKind

from .contract import SYMBOLS, PriceApi

COUNT = 20
_PAUSE = 0.02


class Clients:
    """Keeps count of what all of them have read, and tells what one of them sees."""

    def __init__(self, url: str, *, is_plain: bool) -> None:
        self._url = url
        self._is_plain = is_plain
        self._reads = 0
        self._remote_calls = 0
        self._changes: dict[int, int] = {}
        self._outages = 0
        self._started_at = time.monotonic()

    async def run(self, seconds: float) -> bool:
        """Look for a while; returns whether prices have changed both before and after the edge was lost."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await asyncio.gather(*[self._look(is_shown=number == 0) for number in range(COUNT)])
        await self._sum_up()
        return 0 in self._changes and len(self._changes) > 1

    async def _look(self, *, is_shown: bool) -> None:
        async with FusionHub() as hub:
            prices = hub.client(PriceApi, self._url)
            reporting = asyncio.create_task(self._report_link(hub)) if is_shown else None
            seen: dict[str, float] = {}
            try:
                while True:
                    now = {symbol: await prices.get_price(symbol) for symbol in SYMBOLS}
                    self._reads += len(now)
                    if is_shown and now != seen:
                        self._changes[self._outages] = self._changes.get(self._outages, 0) + 1
                        self._show(now, seen)
                    seen = now
                    await asyncio.sleep(_PAUSE)
            finally:
                self._remote_calls += hub.peer(self._url).call_count
                if reporting is not None:
                    reporting.cancel()

    async def _report_link(self, hub: FusionHub) -> None:
        peer = hub.peer(self._url)
        await peer.wait_connected()
        self._say("connected to the edge")
        while True:
            await peer.wait_state(RpcConnectionKind.DISCONNECTED)
            self._outages += 1
            self._say("the edge is lost; what is shown is the last that was true")
            await peer.wait_connected()
            self._say("the edge is back; what may have changed is asked for anew")

    def _show(self, now: dict[str, float], seen: dict[str, float]) -> None:
        changed = [symbol for symbol in now if now[symbol] != seen.get(symbol)]
        if self._is_plain:
            self._say("  ".join(f"{symbol} {now[symbol]:.2f}" for symbol in changed))
        else:
            texts = (
                f"\x1b[1m{symbol} {now[symbol]:.2f}\x1b[0m" if symbol in changed else f"{symbol} {now[symbol]:.2f}"
                for symbol in now
            )
            print("\r" + "   ".join(texts), end="", flush=True)

    def _say(self, text: str) -> None:
        start = "" if self._is_plain else "\r\x1b[K"
        print(f"{start}[{time.monotonic() - self._started_at:5.1f} s] {text}", flush=True)

    async def _sum_up(self) -> None:
        async with FusionHub() as hub:
            upstream = await hub.client(PriceApi, self._url).count_calls()
        print()
        print(f"clients                     {COUNT:8,}")
        print(f"prices read by them         {self._reads:8,}")
        print(f"  calls to the edge         {self._remote_calls:8,}")
        print(f"  calls to the origin       {upstream:8,}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m samples.gateway.clients", description="Look at prices.")
    parser.add_argument("url", help="where the edge listens, as ws://127.0.0.1:8082")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long to look (default 10)")
    parser.add_argument("--plain", action="store_true", help="print lines instead of one that changes")
    options = parser.parse_args()
    clients = Clients(options.url, is_plain=options.plain or not sys.stdout.isatty())
    try:
        return 0 if asyncio.run(clients.run(options.seconds)) else 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
