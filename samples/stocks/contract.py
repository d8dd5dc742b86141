"""What the stock service offers. Both sides import this, and nothing else of each other."""

from msgspec import Struct

from refusion import compute_method


class Holding(Struct, frozen=True):
    """A number of shares of one company."""

    symbol: str
    shares: int


class StockApi:
    """Prices that change while you look."""

    @compute_method
    async def list_symbols(self) -> tuple[str, ...]:
        """Return the symbols that are traded now."""
        raise NotImplementedError

    @compute_method
    async def get_price(self, symbol: str) -> float:
        """Return the current price of a share; raises `LookupError` for a symbol that isn't traded."""
        raise NotImplementedError

    @compute_method
    async def portfolio_value(self, holdings: tuple[Holding, ...]) -> float:
        """Return what the holdings are worth now."""
        raise NotImplementedError

    async def count_computations(self) -> int:
        """Return how many values this server process has computed."""
        raise NotImplementedError
