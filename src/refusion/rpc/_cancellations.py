"""Telling the other side which calls nobody waits for any more, also across a broken link."""

from collections import OrderedDict
from typing import TYPE_CHECKING, Final, final

from refusion._base._clock import current_clock

from .protocol._handshake import PeerChange
from .protocol._message import RpcMessage
from .protocol._system_calls import CANCEL

if TYPE_CHECKING:
    from ._peer import RpcPeer

__all__ = ["Cancellations"]

_MAX_REMEMBERED: Final = 65_536
"""How many are remembered at most; of more the oldest aren't said again."""


@final
class Cancellations:
    """Says that calls have ended here, and says it again on the next connection if it may have been lost.

    Otherwise a handler would go on for nobody, and a server would keep on telling of a value that nobody has. It is
    remembered until a link that has lost it would have been dropped for its silence.
    """

    def __init__(self, peer: "RpcPeer") -> None:
        self._peer = peer
        self._retention = peer.limits.keep_alive_timeout + peer.limits.keep_alive_period
        # The time of each, the oldest first; an empty deque would be larger.
        self._recent: OrderedDict[int, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._recent)

    def say(self, call_id: int) -> None:
        """Cancel a call that was sent."""
        self._recent[call_id] = current_clock().now()
        if len(self._recent) > _MAX_REMEMBERED:
            self._recent.popitem(last=False)
        self._peer.post(RpcMessage(CANCEL, call_id))

    def link_ready(self, change: PeerChange) -> None:
        """Be told of a new connection."""
        again, self._recent = self._recent, OrderedDict()
        if change is PeerChange.UNCHANGED:
            for call_id in again:
                self.say(call_id)

    def period_passed(self) -> None:
        """Be told that a keep-alive period has passed with a link."""
        oldest = current_clock().now() - self._retention
        recent = self._recent
        while recent and next(iter(recent.values())) < oldest:
            recent.popitem(last=False)

    def clear(self) -> None:
        """Forget all of them."""
        self._recent.clear()
