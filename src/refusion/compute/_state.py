"""The three states of a computed."""

from enum import Enum
from typing import Final

__all__ = ["COMPUTING", "CONSISTENT", "INVALIDATED", "ConsistencyState"]


class ConsistencyState(Enum):
    """Where a computed is in its life; it only ever moves down this list."""

    COMPUTING = "computing"
    """Its body runs; there is no output yet."""

    CONSISTENT = "consistent"
    """The output is true, as far as anybody has said."""

    INVALIDATED = "invalidated"
    """The output is stale; it stays readable, and never becomes true again."""


# Looked up once: these are compared on every call.
COMPUTING: Final = ConsistencyState.COMPUTING
CONSISTENT: Final = ConsistencyState.CONSISTENT
INVALIDATED: Final = ConsistencyState.INVALIDATED
