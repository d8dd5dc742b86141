"""The consumer's end of a stream: what a peer's messages about it do to who reads it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, final

from ._errors import RpcArgumentError, RpcStreamLost, RpcStreamUsed
from ._stream_items import batch_codec, item_codec
from .protocol._message import RpcMessage
from .protocol._stream_consumer import SendAck, StreamConsumer
from .protocol._stream_reference import StreamReference
from .protocol._system_calls import ACK, ACK_END, ITEM

if TYPE_CHECKING:
    from ._stream_table import StreamTable

__all__ = ["RemoteStream", "RpcStreamReader"]

T = TypeVar("T")


@final
class RemoteStream(Generic[T]):
    """A stream that the other side shares, as one reference to it was received.

    It is in the peer's table from the first item asked for until the end is known here.
    """

    def __init__(self, table: "StreamTable", reference: StreamReference, item_type: Any) -> None:
        self.reference: Final = reference
        self.is_used: bool = False
        """Whether somebody reads it, or has."""
        self.machine: Final[StreamConsumer[T]] = StreamConsumer(reference)
        self._table: Final = table
        self._remote_peer_id = table.remote_peer_id
        self._item_type = item_type
        self._waiter: asyncio.Future[None] | None = None
        self._is_started = False

    def __repr__(self) -> str:
        return f"{self.reference.local_id} of {self._table.peer!r}"

    # The reader

    async def next(self) -> T:
        """Return the next item; cancelling loses none.

        Raises:
            StopAsyncIteration: Behind the last item, and when the stream was closed here.
            Exception: What has ended the stream on the other side, once.
        """
        if self._waiter is not None:
            raise RpcStreamUsed(f"two tasks ask for items of stream {self} at once")
        machine = self.machine
        if not self._is_started:
            self._start()
        else:
            self.post(machine.wanted())
        while not machine.waiting_count:
            if machine.is_over:
                error, machine.error = machine.error, None
                if error is not None:
                    raise error
                raise StopAsyncIteration
            self._waiter = self._table.peer.loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return machine.take()

    def close(self) -> None:
        """Want nothing more; the other side is told."""
        if not self._is_of_this_peer:
            self.machine.peer_lost(_restarted())
        elif self._table.is_read_otherwise(self):
            # It is the business of that reader.
            self.machine.peer_lost(self._used_otherwise())
        self._finish(self.machine.close())

    def close_soon(self) -> None:
        """Close from any thread, at any time."""
        loop = self._table.peer.loop
        with suppress(RuntimeError):
            # A closed loop has nobody left to tell.
            loop.call_soon_threadsafe(self.close)

    # The other side

    def received(self, message: RpcMessage) -> None:
        """Take `$sys.I` or `$sys.B`."""
        is_item = message.method == ITEM
        codec = (item_codec if is_item else batch_codec)(self._table.peer.format, self._item_type)
        try:
            index, items = self._table.decode(codec, message.args)
        except RpcArgumentError as error:
            # Asking for it again would bring the same.
            self._finish(self.machine.fail(RpcArgumentError(f"an item of a stream doesn't fit: {error.problem}")))
            return
        self._finish(self.machine.received(index, (items,) if is_item else items))

    def ended(self, index: int, error: Exception | None) -> None:
        """Take `$sys.End`."""
        self._finish(self.machine.ended(index, error))

    def disconnected(self) -> None:
        """Take word that the other side has no such stream."""
        self.machine.disconnected()
        self._finish([])

    def link_lost(self) -> None:
        """Be told that the connection is gone."""
        self.machine.link_lost()
        self._finish([])

    def link_ready(self, remote_peer_id: str) -> None:
        """Be told of a new connection with the same peer."""
        self._finish(self.machine.link_ready(remote_peer_id))

    def peer_lost(self, error: Exception) -> None:
        """Be told that there is nobody any more who has the stream."""
        self.machine.peer_lost(error)
        self._finish([])

    def post(self, commands: Any) -> None:
        """Send what the state machine says."""
        for command in commands:
            if isinstance(command, SendAck):
                values: tuple[Any, ...] = (command.end, command.host_id)
                self._table.post(ACK, self.reference.local_id, (int, str), values)
            elif self._table.can_post:
                self._table.post(ACK_END, self.reference.local_id, (str,), (command.host_id,))
            else:
                self._table.remember_end(self)

    # Details

    @property
    def _is_of_this_peer(self) -> bool:
        # If not, then its number may stand for another stream by now.
        return self._remote_peer_id == self._table.remote_peer_id

    def _start(self) -> None:
        self._is_started = True
        table = self._table
        if table.peer.is_closing:
            self.machine.peer_lost(table.peer.closed_error())
        elif not self._is_of_this_peer:
            self.machine.peer_lost(_restarted())
        elif table.is_read_otherwise(self):
            self.machine.peer_lost(self._used_otherwise())
        elif not self.machine.is_over:
            table.start_reading(self)
            self.post(self.machine.start())

    def _used_otherwise(self) -> RpcStreamUsed:
        return RpcStreamUsed(f"stream {self} was received more than once, and is enumerated already")

    def _finish(self, commands: Any) -> None:
        """Carry out commands, and wake the reader for whatever has changed."""
        self.post(commands)
        if self.machine.is_over:
            self._is_started = True
            self._table.stop_reading(self)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def _restarted() -> RpcStreamLost:
    return RpcStreamLost("the other side was restarted, and its streams are gone")


@final
class RpcStreamReader(AsyncIterator[T]):
    """Reads a stream of another peer, from its first item on.

    When it is dropped, as at the end of an `async for`, the stream is closed; `aclose` does so at once.
    """

    def __init__(self, remote: RemoteStream[T]) -> None:
        self._remote: RemoteStream[T] | None = None
        if remote.is_used:
            raise RpcStreamUsed(
                f"stream {remote} was enumerated before, and can be so once; keep its items if they are needed again"
            )
        remote.is_used = True
        self._remote = remote

    async def __anext__(self) -> T:
        """Return the next item; cancelling loses none."""
        if self._remote is None:
            raise StopAsyncIteration
        return await self._remote.next()

    async def aclose(self) -> None:
        """End the stream on both sides; may be called again."""
        remote, self._remote = self._remote, None
        if remote is not None:
            remote.close()

    def __del__(self) -> None:
        # In whatever thread collects it. What was read to its end is over, and needs no turn of the loop.
        if self._remote is not None and not self._remote.machine.is_over:
            self._remote.close_soon()
