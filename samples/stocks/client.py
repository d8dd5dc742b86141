"""The watching process: `python -m samples.stocks.client ws://127.0.0.1:8080`.

It never asks whether something has changed, and has no code for lost connections: the state below is
recomputed because the prices that it has used were invalidated, by the server or by its restart.
"""

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress

from refusion import ComputedState, FixedDelayer, FusionHub
from refusion.rpc import RpcClientPeer, RpcConnectionKind

from .board import Board, Screen
from .contract import Holding, StockApi

PORTFOLIO = (Holding("AAPL", 100), Holding("IBM", 50), Holding("MSFT", 80))


class Watcher:
    """Follows the prices of a server, and keeps count."""

    def __init__(self, url: str, screen: Screen) -> None:
        self._url = url
        self._screen = screen
        self._reads = 0
        self._outages = 0
        self._changes_by_outages: dict[int, int] = {}

    async def run(self, seconds: float) -> bool:
        """Watch for a while; returns whether changes came both before and after an outage."""
        async with FusionHub() as hub:
            peer = hub.peer(self._url)
            stocks = hub.client(StockApi, peer)

            async def read_board() -> Board:
                symbols = await stocks.list_symbols()
                prices = await asyncio.gather(*[stocks.get_price(symbol) for symbol in symbols])
                portfolio = await stocks.portfolio_value(PORTFOLIO)
                self._reads += 2 + len(symbols)
                return Board(dict(zip(symbols, prices, strict=True)), portfolio)

            async with ComputedState(read_board, update_delayer=FixedDelayer(0.05)) as board:
                following = asyncio.create_task(self._follow_board(board))
                reporting = asyncio.create_task(self._report_link(peer))
                # Somebody who looks more often than there is something new: reads that cost nothing.
                looking = asyncio.create_task(self._look_often(read_board))
                with suppress(TimeoutError):
                    async with asyncio.timeout(seconds):
                        await asyncio.gather(following, reporting, looking)
            await self._sum_up(stocks, peer)
        before = self._changes_by_outages.get(0, 0)
        after = sum(changes for outages, changes in self._changes_by_outages.items() if outages > 0)
        return before > 0 and after > 0

    async def _follow_board(self, board: ComputedState[Board]) -> None:
        while True:
            computed = await board.when_updated()
            if computed.has_value:
                changed = self._screen.show(computed.value)
                self._changes_by_outages[self._outages] = self._changes_by_outages.get(self._outages, 0) + changed

    async def _look_often(self, read_board: Callable[[], Awaitable[Board]]) -> None:
        while True:
            await read_board()
            await asyncio.sleep(0.02)

    async def _report_link(self, peer: RpcClientPeer) -> None:
        await peer.wait_connected()
        self._screen.say("connected")
        while True:
            await peer.wait_state(RpcConnectionKind.DISCONNECTED)
            self._outages += 1
            self._screen.say("connection lost; what is on the screen is the last that was true")
            await peer.wait_connected()
            self._screen.say("connected again; all that may have changed is asked for anew")

    async def _sum_up(self, stocks: StockApi, peer: RpcClientPeer) -> None:
        remote_calls = peer.call_count
        computed_there: int | None = None
        if peer.is_connected:
            computed_there = await stocks.count_computations()
        print()
        print(f"changes seen       {sum(self._changes_by_outages.values()):8,}")
        print(f"values read        {self._reads:8,}")
        print(f"  remote calls     {remote_calls:8,}")
        print(f"  local hits       {max(0, self._reads - remote_calls):8,}")
        computed_text = "?" if computed_there is None else format(computed_there, ",")
        print(f"recomputations     {computed_text:>8}   (in the server, since it was started last)")
        print(f"reconnects         {self._outages:8,}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m samples.stocks.client", description="Watch stock prices.")
    parser.add_argument("url", help="where the server listens, as ws://127.0.0.1:8080")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long to watch (default 20)")
    parser.add_argument("--plain", action="store_true", help="print lines instead of drawing a table")
    options = parser.parse_args()
    screen = Screen(is_plain=options.plain or not sys.stdout.isatty())
    try:
        return 0 if asyncio.run(Watcher(options.url, screen).run(options.seconds)) else 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
