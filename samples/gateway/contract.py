"""What the origin offers, and each gateway passes on."""

from refusion import compute_method

__all__ = ["SYMBOLS", "PriceApi"]

SYMBOLS = ("AAPL", "AMZN", "IBM", "MSFT")


class PriceApi:
    """Prices that change while you look."""

    @compute_method
    async def get_price(self, symbol: str) -> float:
        """Return the current price of a share."""
        raise NotImplementedError

    async def count_calls(self) -> int:
        """Return how many prices were asked for in the origin's process, by whoever is next to it."""
        raise NotImplementedError
