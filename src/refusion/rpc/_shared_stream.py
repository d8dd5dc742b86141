"""The producer's end of a stream: takes items from the source and sends them, as consumer and link allow."""

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Final, final

import msgspec

from refusion._base._clock import current_clock
from refusion._base._logging import logger

from ._errors import RpcArgumentError, RpcError, RpcLimitExceeded, RpcStreamLost
from ._stream_items import batch_codec, item_codec
from ._stream_source import Pull, close_source, own_iterator
from ._stream_types import carries_streams
from .formats import ArgumentCodec
from .protocol._exception_info import ExceptionInfo, info_from_error
from .protocol._stream_producer import AckOutcome, SendEnd, SendItems, StreamProducer
from .protocol._stream_reference import MAX_BATCH_SIZE, MAX_POSITION, StreamReference
from .protocol._system_calls import BATCH, END, ITEM

if TYPE_CHECKING:
    from ._stream import RpcStream
    from ._stream_table import StreamTable

__all__ = ["SharedStream"]

_BATCH_BYTES: Final = 64 * 1024
"""What a batch should come to at most, going by the size of the items before; large items go one by one."""

_TURN: Final = 256
"""How many items in a row a source may have ready before others get their turn of the event loop."""


@final
class SharedStream:
    """A stream that this side shares with one peer.

    It is in the peer's table until the consumer is done with it, or is gone. A task of the peer takes items
    from the source: none before the consumer has asked for the first, none while the link takes nothing, and
    never more than the window ahead of what was acknowledged.
    """

    def __init__(
        self, table: "StreamTable", stream: "RpcStream[Any]", reference: StreamReference, item_type: Any
    ) -> None:
        self.reference: Final = reference
        self.stream: Final = stream
        self.heard_at: float = current_clock().now()
        """When the other side has last shown that it knows of the stream."""
        self.table: Final = table
        """Whose it is."""
        self._peer = table.peer
        self._item_type = item_type
        # Items of any type may have streams in them, too.
        self._has_streams = item_type is Any or carries_streams(item_type)
        self._item_codec = item_codec(self._peer.format, item_type)
        self._batch_codec = batch_codec(self._peer.format, item_type)
        # What may be left out of a stream that is sent on is up to its giver, who knows which items stand alone.
        may_skip = reference.is_real_time and not stream.is_remote
        self._machine: StreamProducer[Any] = StreamProducer(
            msgspec.structs.replace(reference, is_real_time=may_skip),
            batch_size=stream._batch_size,
            buffer_size=stream._buffer_size,
            can_skip_to=stream._can_skip_to,
        )
        self._max_batch = MAX_BATCH_SIZE
        self._is_dropped = False
        self._is_flush_scheduled = False
        self._pump: asyncio.Task[None] | None = None
        self._is_pump_stopped = False
        self._waiter: asyncio.Future[None] | None = None
        self._has_waited = False
        self._ready_in_a_row = 0

    @property
    def kept_count(self) -> int:
        """How many items are held here."""
        return self._machine.kept_count

    # The consumer

    def acknowledged(self, index: int, host_id: str) -> None:
        """Take `$sys.Ack`."""
        if index == MAX_POSITION:
            self.consumer_done(host_id)
            return
        self.heard_at = current_clock().now()
        match self._machine.acknowledged(index, host_id):
            case AckOutcome.ACCEPTED:
                if self._pump is None:
                    self._start_pump()
                self._go_on()
            case AckOutcome.REJECTED:
                self.table.reject(self)
            case AckOutcome.INVALID:
                self._send_end(index, RuntimeError("RpcStream position is invalid."))
                self.table.drop(self)

    def consumer_done(self, host_id: str) -> None:
        """Take `$sys.AckEnd`."""
        if host_id == self.reference.host_id and self._machine.is_started:
            self.table.drop(self)
        else:
            self.table.reject(self)

    # The link

    def link_lost(self) -> None:
        """Send nothing until the consumer has asked again."""
        self._machine.link_lost()

    def writable(self) -> None:
        """Be told that the link takes messages again."""
        self._flush()
        self._wake()

    # The end

    def drop(self) -> None:
        """Stop, and close the source; the table has forgotten the stream already."""
        if self._is_dropped:
            return
        self._is_dropped = True
        if self.stream._remote is not None:
            # It was sent on; its giver is told also if nothing was read.
            self.stream._remote.close()
        if self._pump is None:
            # Nobody has asked for an item; a generator that was never begun is still to be closed.
            iterator = own_iterator(self.stream._source)
            if iterator is not None:
                self._pump = self._spawn(close_source(iterator))
        else:
            self._stop_pump()

    async def aclose(self) -> None:
        """End the stream from this side, and wait until its source is closed."""
        self.table.reject(self)
        pump = self._pump
        if pump is not None and pump is not asyncio.current_task():
            await asyncio.wait([pump])

    # Sending

    def _go_on(self) -> None:
        # With the end of the turn: acknowledgements that came together are answered once.
        if not self._is_flush_scheduled:
            self._is_flush_scheduled = True
            self._peer.loop.call_soon(self._flush_and_wake)

    def _flush_and_wake(self) -> None:
        self._is_flush_scheduled = False
        self._flush()
        self._wake()

    def _flush(self) -> None:
        """Send what is due, as far as the link takes it."""
        while not self._is_dropped and self.table.is_writable:
            command = self._machine.next_send(self._max_batch)
            if command is None:
                return
            if isinstance(command, SendEnd):
                self._send_end(command.end, command.error)
            else:
                self._send_items(command)
        if not self._is_dropped:
            self.table.wait_writable(self)

    def _send_items(self, command: SendItems[Any]) -> None:
        first, items = command
        if len(items) > 1:
            try:
                data = self._encode(self._batch_codec, first, items)
            except (RpcArgumentError, RpcLimitExceeded):
                # Together they are too large, or one of them can't be sent: as many as can be, one by one.
                pass
            else:
                self._max_batch = max(1, _BATCH_BYTES * len(items) // len(data))
                if len(data) <= 2 * _BATCH_BYTES:
                    self.table.post_data(BATCH, self.reference.local_id, data)
                else:
                    # Larger than those before; the next ones are taken in the right number at once.
                    self._machine.unsend(first)
                return
        for position, item in enumerate(items, first):
            if not self.table.is_writable:
                self._machine.unsend(position)
                return
            if not self._send_item(position, item):
                return

    def _send_item(self, index: int, item: Any) -> bool:
        try:
            data = self._encode(self._item_codec, index, item)
        except (RpcArgumentError, RpcLimitExceeded) as error:
            self._machine.cut_off(index, error)
            self._stop_pump()
            return False
        self._max_batch = max(1, _BATCH_BYTES // len(data))
        self.table.post_data(ITEM, self.reference.local_id, data)
        return True

    def _encode(self, codec: ArgumentCodec, index: int, value: Any) -> bytes:
        if self._has_streams:
            return self.table.encode(codec, (int, self._item_type), (index, value))
        return codec.encode((index, value), self._peer.max_argument_bytes)

    def _send_end(self, index: int, error: BaseException | None) -> None:
        if isinstance(error, RpcStreamLost):
            # The source was a stream of somebody else: that it is lost is the same for who reads this one.
            self.table.reject(self)
            return
        types = (int, ExceptionInfo)
        info = ExceptionInfo() if error is None else _info_of(self._peer.hub.filter_error(error))
        try:
            self.table.post(END, self.reference.local_id, types, (index, info))
        except RpcError as problem:
            # Its text is too long, or no text at all; the consumer has to hear something.
            logger.error("the error that has ended %r can't be sent", self.stream, exc_info=error)
            told = RpcError(f"the stream has ended with an error that can't be sent: {problem}")
            self.table.post(END, self.reference.local_id, types, (index, info_from_error(told)))

    # Taking from the source

    def _start_pump(self) -> None:
        self._pump = self._spawn(self._take_all())

    def _spawn(self, work: Any) -> asyncio.Task[None]:
        # On behalf of nobody here, as a handler.
        context = self._peer.call_context.copy()
        return self._peer.spawn(work, name=f"rpc stream {self.reference.local_id}", context=context)

    async def _take_all(self) -> None:
        machine = self._machine
        iterator: AsyncIterator[Any] | None = None
        try:
            iterator = aiter(self.stream)
            await self._take_from(iterator)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError) and (self._is_pump_stopped or self._peer.is_closing):
                raise
            machine.source_ended(error)
        else:
            machine.source_ended()
        finally:
            await close_source(iterator)
        self._flush()

    async def _take_from(self, iterator: AsyncIterator[Any]) -> None:
        machine = self._machine
        pull = Pull(iterator, self._source_waits)
        while not machine.is_source_over and not self._is_dropped:
            count = self._room()
            if count <= 0:
                self._flush()
                if self._room() <= 0:
                    await self._wait()
                continue
            self._has_waited = False
            for _ in range(count):
                try:
                    item = await pull
                except StopAsyncIteration:
                    return
                machine.took(item)
                if self._has_waited:
                    break
            self._ready_in_a_row += count
            if self._ready_in_a_row >= _TURN:
                self._source_waits()
                await asyncio.sleep(0)

    def _room(self) -> int:
        """Return how many items to take before there is something to send, if they are there at once."""
        if not self.table.is_writable:
            return 0
        batch = min(self._max_batch, self.stream._batch_size)
        return min(self._machine.room, batch - self._machine.ready_count)

    def _source_waits(self) -> None:
        self._has_waited = True
        self._ready_in_a_row = 0
        self._flush()

    async def _wait(self) -> None:
        if not self.table.is_writable:
            self.table.wait_writable(self)
        self._waiter = self._peer.loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _stop_pump(self) -> None:
        if self._pump is not None and not self._pump.done():
            self._is_pump_stopped = True
            self._pump.cancel()


def _info_of(error: BaseException) -> ExceptionInfo:
    info = info_from_error(error)
    # Without a type it would say that there is no error.
    return info if info.type_ref else info_from_error(RpcError(info.message))
