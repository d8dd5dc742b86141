"""The consumer's side of a stream, without I/O: messages go in, items and acknowledgements come out.

What a message about the items from index i on leads to:

| what is true                                    | outcome                                         |
|-------------------------------------------------|-------------------------------------------------|
| i is the next index expected                    | the items are taken                             |
| i is above it: there is a gap                   | a reset to the expected index, once for a gap;  |
|                                                 | an error if the stream may not be resumed       |
| i is below it: they were here before            | nothing                                         |
| they are more than a message may have, or more  | an error: no producer that keeps to the window  |
| than two windows beyond what was consumed       | comes that far                                  |
"""

from collections import deque
from collections.abc import Sequence
from typing import Final, Generic, NamedTuple, TypeVar, final

from refusion.rpc._errors import RpcProtocolError, RpcStreamLost

from ._stream_reference import MAX_BATCH_SIZE, NO_HOST, StreamReference

__all__ = ["SendAck", "SendAckEnd", "StreamConsumer"]

T = TypeVar("T")


class SendAck(NamedTuple):
    """Send `$sys.Ack`: all items below this index are here, or, without a host, consumed."""

    end: int
    host_id: str


class SendAckEnd(NamedTuple):
    """Send `$sys.AckEnd`: no more items are wanted."""

    host_id: str


_Commands = list[SendAck | SendAckEnd]


@final
class StreamConsumer(Generic[T]):
    """The state of a stream that the other side shares.

    The driver reports messages, links and what the reader does, and sends what each of these returns. An item
    is consumed when the reader asks for the one behind it.

    At most `ack_advance` items wait to be consumed; after a reconnect, when the producer counts from what was
    received, at most twice as many.
    """

    def __init__(self, reference: StreamReference) -> None:
        self.reference: Final = reference
        self.is_over: bool = False
        """Whether nothing is expected of the producer any more; items may still wait for the reader."""
        self.error: Exception | None = None
        """What comes behind the last item."""
        # A period beyond the window would never be reached.
        self._ack_period = min(reference.ack_period, reference.ack_advance)
        self._items: deque[T] = deque()
        self._expected = 0
        self._taken = 0
        self._consumed = 0
        self._acknowledged = 0
        self._is_reset_due = False
        self._gap: int | None = None

    @property
    def waiting_count(self) -> int:
        """How many items wait for the reader."""
        return len(self._items)

    # The reader

    def start(self) -> _Commands:
        """Ask for the first item."""
        return [SendAck(0, self.reference.host_id)]

    def wanted(self) -> _Commands:
        """Be told that the reader asks for an item, and so is done with the one before."""
        self._consumed = self._taken
        if self.is_over:
            return []
        if self._is_reset_due:
            return self._reset()
        if self._consumed - self._acknowledged < self._ack_period:
            return []
        self._acknowledged = self._consumed - self._consumed % self._ack_period
        return [SendAck(self._acknowledged, NO_HOST)]

    def take(self) -> T:
        """Return the next item; there must be one."""
        self._taken += 1
        return self._items.popleft()

    def close(self) -> _Commands:
        """Be told that the reader wants nothing more: what waits is dropped."""
        self._items.clear()
        self.error = None
        return self._end()

    # The producer

    def received(self, index: int, items: Sequence[T]) -> _Commands:
        """Take items."""
        if self.is_over:
            return []
        if len(items) > MAX_BATCH_SIZE:
            return self.fail(
                RpcProtocolError(f"a message had {len(items):,} items of a stream and {MAX_BATCH_SIZE:,} is the limit")
            )
        if index != self._expected:
            return self._misplaced(index)
        end = index + len(items)
        limit = self._consumed + 2 * self.reference.ack_advance + self.reference.ack_period
        if end > limit:
            return self.fail(
                RpcProtocolError(
                    f"a stream was sent up to item {end:,} when {self._consumed:,} were consumed; "
                    f"its window is {self.reference.ack_advance:,}"
                )
            )
        self._items.extend(items)
        self._expected = end
        self._gap = None
        return []

    def ended(self, index: int, error: Exception | None) -> _Commands:
        """Take word that there are `index` items, and then maybe an error."""
        if self.is_over:
            return []
        if index != self._expected:
            return self._misplaced(index)
        self.error = error
        return self._end()

    def disconnected(self) -> None:
        """Take word that the producer has no such stream; that needs no answer."""
        self._fail(RpcStreamLost("the other side doesn't have the stream any more"))

    def fail(self, error: Exception) -> _Commands:
        """End the stream with an error behind what was received, and let the producer know."""
        if self.is_over:
            return []
        self.error = error
        return self._end()

    # The link

    def link_lost(self) -> None:
        """Be told that what was under way won't come, or not until it is asked for again."""
        if not self.reference.allow_reconnect:
            self._fail(RpcStreamLost("the connection broke, and the stream doesn't outlive its connection"))

    def link_ready(self, remote_peer_id: str) -> _Commands:
        """Be told of a new connection with a peer that still knows everything."""
        if self.is_over:
            return []
        if self.reference.host_id != remote_peer_id:
            return self.fail(RpcStreamLost("the connection broke, and the stream isn't one of the peer's own"))
        self._gap = None
        return self._reset()

    def peer_lost(self, error: Exception) -> None:
        """Be told that the other side is gone, or has forgotten everything."""
        self._fail(error)

    # Details

    def _misplaced(self, index: int) -> _Commands:
        if index < self._expected:
            return []
        if not self.reference.allow_reconnect:
            return self.fail(
                RpcStreamLost(f"item {self._expected:,} of the stream is missing, and it can't be had again")
            )
        # What was under way behind the gap still comes, in order; when an index doesn't go up, then items were
        # sent again since, and lost again.
        is_known = self._gap is not None and index > self._gap
        self._gap = index
        return [] if is_known else self._reset()

    def _reset(self) -> _Commands:
        # The producer counts its window from here, so with a full window waiting already there could come two.
        self._is_reset_due = self._expected - self._consumed > self.reference.ack_advance
        if self._is_reset_due:
            return []
        return [SendAck(self._expected, self.reference.host_id)]

    def _end(self) -> _Commands:
        if self.is_over:
            return []
        self.is_over = True
        return [SendAckEnd(self.reference.host_id)]

    def _fail(self, error: Exception) -> None:
        if not self.is_over:
            self.is_over = True
            self.error = error
