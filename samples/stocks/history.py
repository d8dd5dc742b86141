"""A real price history: the stocks table of the `vega_datasets` package."""

import csv
from datetime import date, datetime
from importlib.util import find_spec
from pathlib import Path

__all__ = ["load_history"]


def load_history() -> list[tuple[date, dict[str, float]]]:
    """Return the monthly prices from 2000 to 2010, by symbol, in the order of time."""
    spec = find_spec("vega_datasets")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(
            "the stock sample needs the vega_datasets package for its prices: `make demo` installs it"
        )
    # Found, not imported: only the table is wanted, not the data-frame library that the package loads.
    path = Path(spec.origin).parent / "_data" / "stocks.csv"
    months: dict[date, dict[str, float]] = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            month = datetime.strptime(row["date"], "%b %d %Y").date()  # noqa: DTZ007  # a plain date
            months.setdefault(month, {})[row["symbol"]] = float(row["price"])
    return sorted(months.items())
