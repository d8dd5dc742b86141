"""Streams: sequences that travel one item at a time, inside of any value."""

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, final, get_args

from ._remote_stream import RemoteStream, RpcStreamReader
from ._stream_scope import current_scope
from ._stream_source import close_source, iterate, own_iterator
from .formats._hooks import WireValue
from .protocol._stream_reference import DEFAULT_BATCH_SIZE, MAX_BATCH_SIZE, StreamReference

if TYPE_CHECKING:
    from ._shared_stream import SharedStream

__all__ = ["RpcStream"]

T = TypeVar("T")


@final
class RpcStream(WireValue, AsyncIterable[T], Generic[T]):
    """A sequence that is sent one item at a time, as the receiver consumes it.

    It may be an argument, a result, or anywhere inside of one; the declared type says so, as `RpcStream[int]`.
    Who makes it gives the items; nothing is taken from the source before the other side asks for the first
    one, and the source is closed when the other side stops, or is gone. Who receives it reads it once, with
    `async for`; leaving the loop ends it on both sides. Where it was made, and wasn't sent, it iterates its source.
    A stream that was received may be sent on to one other peer, as a gateway does: then it is read here as far as
    that peer reads it.

    Example:
        ```python
        async def ticks(self) -> RpcStream[int]:
            return RpcStream(self._count_up())

        async for tick in await clock.ticks():
            ...
        ```
    """

    def __init__(
        self,
        source: AsyncIterable[T] | Iterable[T],
        *,
        ack_period: int = 30,
        ack_advance: int = 61,
        batch_size: int = DEFAULT_BATCH_SIZE,
        buffer_size: int = 0,
        allow_reconnect: bool = True,
        is_real_time: bool = False,
        can_skip_to: Callable[[T], bool] | None = None,
    ) -> None:
        """Make a stream of the items of a source.

        Args:
            source: Where the items come from: an async generator, or anything else that can be iterated. An
                iterable that isn't async must not block, as the event loop waits for each item.
            ack_period: After how many items the consumer says how far it is.
            ack_advance: The window: how many items may be under way, or wait on either side.
            batch_size: How many items share a message when several are ready, at most 1,024.
            buffer_size: How many items to take from the source ahead of the consumer, if more than the window.
            allow_reconnect: Whether the stream goes on after a broken link; without it that is its end.
            is_real_time: Whether to leave out items, rather than to hold up the source, when the consumer lags.
            can_skip_to: In real-time mode, whether an item makes sense without those before it, as a key frame
                does; by default each one does.

        Raises:
            ValueError: If a number is out of range, or `ack_period` is beyond the window.
            TypeError: If the source can't be iterated.
        """
        if not isinstance(source, AsyncIterable | Iterable):
            raise TypeError(f"a stream needs something to iterate, not {type(source).__qualname__}")
        if not 0 < ack_period <= ack_advance < 2**31:
            raise ValueError(
                f"ack_period={ack_period} must be from 1 to ack_advance={ack_advance}: "
                "with a longer period the producer would wait for good"
            )
        if not 0 < batch_size <= MAX_BATCH_SIZE:
            raise ValueError(f"batch_size must be from 1 to {MAX_BATCH_SIZE:,}, not {batch_size}")
        if buffer_size < 0:
            raise ValueError(f"buffer_size can't be {buffer_size}")
        if can_skip_to is not None and not is_real_time:
            raise ValueError("can_skip_to is for is_real_time=True: other streams leave nothing out")
        self._source: AsyncIterable[T] | Iterable[T] = source
        self._batch_size: int = batch_size
        self._buffer_size: int = buffer_size
        self._can_skip_to: Callable[[T], bool] | None = can_skip_to
        self._options: StreamReference = StreamReference(
            host_id="",
            local_id=0,
            ack_period=ack_period,
            ack_advance=ack_advance,
            allow_reconnect=allow_reconnect,
            is_real_time=is_real_time,
        )
        self._shared: SharedStream | None = None
        self._remote: RemoteStream[T] | None = None
        self._declared: Any = None

    @property
    def is_remote(self) -> bool:
        """Whether the items come from another peer."""
        return self._remote is not None

    @property
    def ack_period(self) -> int:
        """After how many items the consumer says how far it is."""
        return self._options.ack_period

    @property
    def ack_advance(self) -> int:
        """How many items the producer may send beyond what was acknowledged."""
        return self._options.ack_advance

    @property
    def allow_reconnect(self) -> bool:
        """Whether the stream goes on after a broken link."""
        return self._options.allow_reconnect

    @property
    def is_real_time(self) -> bool:
        """Whether items may be left out when the consumer lags."""
        return self._options.is_real_time

    def __aiter__(self) -> AsyncIterator[T]:
        """Return an iterator over the items.

        That of a stream of another peer is a `RpcStreamReader`: it ends the stream when it is closed, or dropped
        as `async for` does. Cancelling a task that waits for an item loses nothing.

        Raises:
            RpcStreamUsed: If the stream is one of another peer and was enumerated before.
        """
        if self._remote is not None:
            return RpcStreamReader(self._remote)
        return iterate(self._source)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End the stream on both sides; may be called again.

        Where it was made this closes its source: a consumer gets `RpcStreamLost` behind what it has received.
        """
        if self._shared is not None:
            await self._shared.aclose()
        elif self._remote is not None:
            self._remote.close()
        else:
            await close_source(own_iterator(self._source))

    def __repr__(self) -> str:
        if self._remote is not None:
            return f"<RpcStream {self._remote}>"
        return f"<RpcStream of {self._source!r}>"

    # On the wire

    def to_wire(self, *, is_text: bool) -> Any:
        scope = current_scope()
        if scope is None:
            raise TypeError("a stream can be sent only where the declared type has one, as RpcStream[int]")
        reference = scope.table.share(self, scope).reference
        return reference.to_text() if is_text else reference.to_map()

    @classmethod
    def from_wire(cls, declared: Any, value: Any, *, is_text: bool) -> Self:
        if value == "" and is_text:
            # A null stream, in the text form of .NET.
            return cls(())
        if value is None:
            raise ValueError("there is no stream where one is declared; if it may be missing declare `| None`")
        if is_text:
            if not isinstance(value, str):
                raise ValueError(f"a stream's reference is a string, not {type(value).__name__}")
            reference = StreamReference.from_text(value)
        else:
            reference = StreamReference.from_map(value)
        scope = current_scope()
        if scope is None:
            raise ValueError("a stream can be read only from a message of a peer")
        stream = cls(())
        stream._options = reference
        (item_type,) = get_args(declared) or (Any,)
        stream._remote = scope.refer(reference, item_type)
        return stream
