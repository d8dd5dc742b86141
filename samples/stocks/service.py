"""The stock service: replays history, and says which prices have changed."""

import asyncio
from datetime import date

from refusion import compute_method, registry

from .contract import Holding, StockApi

__all__ = ["StockService"]


class StockService(StockApi):
    """Replays a price history, one month after another, again and again."""

    def __init__(self, history: list[tuple[date, dict[str, float]]]) -> None:
        self._history = history
        self._prices: dict[str, float] = dict(history[0][1])

    @compute_method
    async def list_symbols(self) -> tuple[str, ...]:
        return tuple(sorted(self._prices))

    @compute_method
    async def get_price(self, symbol: str) -> float:
        if symbol not in self._prices:
            raise LookupError(f"{symbol} isn't traded")
        return self._prices[symbol]

    @compute_method
    async def portfolio_value(self, holdings: tuple[Holding, ...]) -> float:
        prices = await asyncio.gather(*[self.get_price(holding.symbol) for holding in holdings])
        return sum(price * holding.shares for price, holding in zip(prices, holdings, strict=True))

    async def count_computations(self) -> int:
        return registry().counters.registered

    async def replay(self, pace: float) -> None:
        """Move one month on every `pace` seconds."""
        month = 0
        while True:
            await asyncio.sleep(pace)
            month = (month + 1) % len(self._history)
            self.set_prices(self._history[month][1])

    def set_prices(self, prices: dict[str, float]) -> None:
        """Make these the current prices."""
        old, self._prices = self._prices, dict(prices)
        if old.keys() != prices.keys():
            self.list_symbols.invalidate()
        for symbol in old.keys() | prices.keys():
            if old.get(symbol) != prices.get(symbol):
                self.get_price.invalidate(symbol)
