"""The producer's side of a stream, without I/O: acknowledgements and items go in, what to send comes out.

Items have indexes from 0. Those that weren't acknowledged are kept, so that the consumer can have them again
after a broken link. The window bounds how far the producer is ahead:

    start            next                  start + window
      | sent, kept    | to be sent           | not before the next acknowledgement

What an acknowledgement of "all below n" leads to; it is a reset if it names a host:

| what is true                                      | outcome                              |
|---------------------------------------------------|--------------------------------------|
| a reset names another host                        | rejected                             |
| it isn't started, and this isn't a reset to 0     | rejected                             |
| a reset, and it may not outlive its connection    | rejected                             |
| n is below what is kept, or above what was sent   | invalid; if plain and below: ignored |
| else                                              | what is below n is dropped; after a  |
|                                                   | reset it is sent again from n on     |
"""

from collections.abc import Callable
from enum import Enum
from typing import Final, Generic, NamedTuple, TypeVar, final

from ._stream_reference import DEFAULT_BATCH_SIZE, NO_HOST, StreamReference

__all__ = ["AckOutcome", "SendEnd", "SendItems", "StreamProducer"]

T = TypeVar("T")


class AckOutcome(Enum):
    """What the sender of an acknowledgement gets to hear."""

    ACCEPTED = "accepted"
    """Nothing but items."""

    REJECTED = "rejected"
    """That there is no such stream, and then there isn't."""

    INVALID = "invalid"
    """That the stream ends at that position, with an error."""


class SendItems(NamedTuple, Generic[T]):
    """Send these items, the first of which has this index: one as `$sys.I`, several as `$sys.B`."""

    first: int
    items: list[T]


class SendEnd(NamedTuple):
    """Send `$sys.End`: there are this many items, and then maybe an error."""

    end: int
    error: BaseException | None


@final
class StreamProducer(Generic[T]):
    """The state of a stream that this side shares.

    The driver reports acknowledgements, items of the source and lost links; it asks for `room` before it takes
    items from the source, and `next_send` for what is due, as long as the link takes it.

    Args:
        reference: What the other side knows of the stream.
        batch_size: How many items a message may have.
        buffer_size: How many items to hold that aren't acknowledged, when that is more than the window.
        can_skip_to: In real-time mode, whether an item makes sense without those before it.
    """

    def __init__(
        self,
        reference: StreamReference,
        *,
        batch_size: int = DEFAULT_BATCH_SIZE,
        buffer_size: int = 0,
        can_skip_to: Callable[[T], bool] | None = None,
    ) -> None:
        self.reference: Final = reference
        self.is_started: bool = False
        """Whether the consumer has asked for items."""
        self.is_suspended: bool = False
        """Whether the link was lost, and the consumer hasn't said on a new one where to go on."""
        self._batch_size = batch_size
        # Two more in real-time mode: an item that waits behind a full window, and a newer one that may replace it.
        self._capacity = max(buffer_size, reference.ack_advance) + 2 * reference.is_real_time
        self._can_skip_to = can_skip_to
        self._items: dict[int, T] = {}
        self._start = 0
        self._next = 0
        self._sent_end = 0
        self._items_end = 0
        self._is_source_over = False
        self._error: BaseException | None = None
        self._is_end_sent = False
        self._is_lagging = False
        self._is_skipping = False
        self._skip_target = -1

    @property
    def is_source_over(self) -> bool:
        """Whether nothing more comes from the source, or may come."""
        return self._is_source_over

    @property
    def kept_count(self) -> int:
        """How many items are held: neither acknowledged nor left out."""
        return len(self._items)

    @property
    def room(self) -> int:
        """How many items may be taken from the source now."""
        if not self.is_started or self.is_suspended or self._is_source_over:
            return 0
        room = self._capacity - len(self._items)
        if room <= 0 and self._is_lagging and self._can_skip and self._skip_target > self._next:
            return 1
        return room

    @property
    def ready_count(self) -> int:
        """How many items the window lets through now."""
        if not self.is_started or self.is_suspended:
            return 0
        return max(0, min(self._items_end, self._window_end) - self._next)

    # The consumer

    def acknowledged(self, index: int, host_id: str) -> AckOutcome:
        """Take an acknowledgement of all items below `index`."""
        is_reset = host_id != NO_HOST
        if is_reset and host_id != self.reference.host_id:
            return AckOutcome.REJECTED
        if not self.is_started:
            if not is_reset or index != 0:
                return AckOutcome.REJECTED
            self.is_started = True
        elif is_reset and not self.reference.allow_reconnect:
            return AckOutcome.REJECTED
        if index < self._start and index >= 0 and not is_reset:
            # An older one, late.
            return AckOutcome.ACCEPTED
        if not self._start <= index <= self._sent_end:
            return AckOutcome.INVALID
        if is_reset:
            self._go_back(index)
        self._drop_below(index)
        return AckOutcome.ACCEPTED

    def link_lost(self) -> None:
        """Send nothing until the consumer says on a new connection where to go on."""
        self.is_suspended = True

    # The source

    def took(self, item: T) -> None:
        """Take the next item of the source.

        Raises:
            Exception: What `can_skip_to` raises.
        """
        if self.reference.is_real_time:
            is_target = self._can_skip_to is None or self._can_skip_to(item)
            if self._is_skipping and not is_target:
                return
            self._is_skipping = False
            if len(self._items) >= self._capacity:
                self._skip()
            if is_target:
                self._skip_target = self._items_end
        self._items[self._items_end] = item
        self._items_end += 1

    def source_ended(self, error: BaseException | None = None) -> None:
        """Be told that the source has no more items; only the first time counts."""
        if not self._is_source_over:
            self._is_source_over = True
            self._error = error

    def cut_off(self, index: int, error: BaseException) -> None:
        """End the stream before an item that can't be sent."""
        for position in range(index, self._items_end):
            self._items.pop(position, None)
        self._items_end = self._next = index
        if self._skip_target >= index:
            self._skip_target = -1
        self._is_source_over = True
        self._error = error

    def unsend(self, index: int) -> None:
        """Take back what was handed out for sending from `index` on."""
        self._next = index

    # What to send

    def next_send(self, max_items: int | None = None) -> SendItems[T] | SendEnd | None:
        """Return what is to be sent now, if anything, and count it as sent."""
        ready = self.ready_count
        if ready > 0:
            if self._is_lagging and self._can_skip:
                self._skip()
                ready = self.ready_count
            self._is_lagging = False
            count = min(ready, self._batch_size, max_items or ready)
            first = self._next
            self._next += count
            self._sent_end = max(self._sent_end, self._next)
            return SendItems(first, [self._items[index] for index in range(first, self._next)])
        if self._next < self._items_end:
            self._is_lagging = True
        elif self._is_source_over and self.is_started and not self.is_suspended and not self._is_end_sent:
            self._is_end_sent = True
            return SendEnd(self._items_end, self._error)
        return None

    # Details

    @property
    def _window_end(self) -> int:
        return self._start + self.reference.ack_advance

    @property
    def _can_skip(self) -> bool:
        # Not before the consumer has consumed something: until then nothing tells that it lags.
        return self.reference.is_real_time and self._start > 0

    def _go_back(self, index: int) -> None:
        self.is_suspended = False
        self._is_end_sent = False
        if self.reference.is_real_time and not self._is_source_over:
            # What is held is old by now; the consumer gets what is new, from an item on that stands alone.
            self._items.clear()
            self._start = self._items_end = index
            self._is_skipping, self._is_lagging = True, False
            self._skip_target = -1
        self._next = index

    def _drop_below(self, index: int) -> None:
        for position in range(self._start, index):
            self._items.pop(position, None)
        self._start = index
        self._next = max(self._next, index)
        self._items_end = max(self._items_end, index)

    def _skip(self) -> None:
        """Leave out what wasn't sent before the last item that stands alone; what stays moves up."""
        gap = self._skip_target - self._next
        if gap <= 0:
            return
        for index in range(self._next, self._items_end):
            item = self._items.pop(index)
            if index >= self._skip_target:
                self._items[index - gap] = item
        self._items_end -= gap
        self._skip_target = self._next
