"""What the watching client shows."""

import sys
import time
from dataclasses import dataclass

__all__ = ["Board", "Screen"]


@dataclass(frozen=True)
class Board:
    """Prices and a portfolio at one moment."""

    prices: dict[str, float]
    portfolio: float


class Screen:
    """Draws a board: as a table that stays in its place, or line by line."""

    def __init__(self, *, is_plain: bool) -> None:
        self._is_plain = is_plain
        self._started_at = time.monotonic()
        self._shown: Board | None = None
        self._height = 0

    def show(self, board: Board) -> int:
        """Show a board; returns how many of its values have changed."""
        old = self._shown
        changes = [
            (symbol, price, price - old.prices.get(symbol, price) if old else 0.0)
            for symbol, price in board.prices.items()
            if old is None or old.prices.get(symbol) != price
        ]
        self._shown = board
        if self._is_plain:
            if changes:
                text = "  ".join(f"{symbol} {price:8.2f}{_arrow(change)}" for symbol, price, change in changes)
                self.say(f"{text}  | portfolio {board.portfolio:12,.2f}")
        else:
            self._draw(board, {symbol: change for symbol, _, change in changes})
        return len(changes)

    def say(self, text: str) -> None:
        """Print a line that stays."""
        if self._height:
            sys.stdout.write(f"\x1b[{self._height}F\x1b[J")
            self._height = 0
        print(f"[{time.monotonic() - self._started_at:5.1f} s] {text}", flush=True)
        if not self._is_plain and self._shown is not None:
            self._draw(self._shown, {})

    def _draw(self, board: Board, changes: dict[str, float]) -> None:
        lines = [
            "┌────────┬────────────┬────────────┐",
            "│ symbol │      price │     change │",
            "├────────┼────────────┼────────────┤",
        ]
        for symbol, price in board.prices.items():
            change = changes.get(symbol)
            text = f"{change:+10.2f}{_arrow(change)}" if change else " " * 11
            lines.append(f"│ {symbol:<6} │ {price:10.2f} │{text} │")
        lines.append("├────────┴────────────┼────────────┤")
        lines.append(f"│ portfolio           │ {board.portfolio:10,.0f} │")
        lines.append("└─────────────────────┴────────────┘")
        if self._height:
            sys.stdout.write(f"\x1b[{self._height}F\x1b[J")
        print("\n".join(lines), flush=True)
        self._height = len(lines)


def _arrow(change: float) -> str:
    return "▲" if change > 0 else "▼" if change < 0 else " "
