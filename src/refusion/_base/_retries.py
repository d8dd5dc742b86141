"""Growing, jittered pauses between tries."""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["RetryDelays"]


@dataclass(frozen=True, slots=True)
class RetryDelays:
    """A delay sequence: the n-th is `min * multiplier ** (n - 1)`, at most `max`, give or take `jitter`."""

    min: float
    """The first delay, in seconds."""

    max: float
    """No delay is longer, jitter aside."""

    multiplier: float = math.sqrt(2)
    """How much longer each delay is than the one before."""

    jitter: float = 0.1
    """The random part: 0.1 is up to ten percent more or less."""

    def __post_init__(self) -> None:
        if not 0 <= self.min <= self.max:
            raise ValueError(f"retry delays need 0 <= min <= max, got min={self.min}, max={self.max}")

    def delay(self, n: int, random: Callable[[], float] = random.random) -> float:
        """Return the delay before the `n`-th retry in seconds; zero when `n` is zero or less."""
        if n <= 0:
            return 0.0
        # The exponent is capped because the power of a long series of failures would overflow.
        delay = min(self.max, self.min * self.multiplier ** min(n - 1, 200))
        return delay * (1 + self.jitter * (2 * random() - 1))
