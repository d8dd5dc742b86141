"""Telling the log of messages that were dropped, without letting whoever sends them fill it."""

import math
from typing import TYPE_CHECKING, Final, final

from refusion._base._clock import current_clock
from refusion._base._logging import logger

from ._errors import RpcError

if TYPE_CHECKING:
    from ._peer import RpcPeer

__all__ = ["DroppedMessages"]

_REPORT_PERIOD: Final = 1.0
"""Seconds between two lines in the log."""


@final
class DroppedMessages:
    """Writes one line for any number of them; there is one for all peers of a hub."""

    def __init__(self) -> None:
        self._count = 0
        self._reports_at = -math.inf

    def report(self, peer: "RpcPeer", error: RpcError) -> None:
        """Note that a message of a peer was dropped, and why."""
        self._count += 1
        now = current_clock().now()
        if now < self._reports_at:
            return
        others = f", and {self._count - 1:,} others before" if self._count > 1 else ""
        logger.warning("%r: a message was dropped: %s%s", peer, error, others)
        self._count = 0
        self._reports_at = now + _REPORT_PERIOD
