"""Whose message is being encoded or decoded, for the streams in it."""

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, final

from .protocol._stream_reference import StreamReference

if TYPE_CHECKING:
    from ._remote_stream import RemoteStream
    from ._shared_stream import SharedStream
    from ._stream_table import StreamTable

__all__ = ["MAX_STREAMS", "StreamScope", "current_scope"]

MAX_STREAMS: Final = 4_096
"""The streams that one message may bring: each takes two kilobytes here, and a dozen bytes there."""


@final
class StreamScope:
    """A `with` block in which values of one message are encoded or decoded.

    When encoding fails the streams that were registered by then are taken back: the other side never hears of
    them.
    """

    __slots__ = ("_token", "item_types", "received_count", "registered", "table")

    def __init__(self, table: "StreamTable", item_types: tuple[Any, ...] = ()) -> None:
        self.table: Final = table
        self.item_types: Final = item_types
        """The item types that the types of the message declare."""
        self.registered: list[SharedStream] = []
        """The streams that this message is the first to refer to."""
        self.received_count: int = 0
        """How many streams the message has brought so far."""

    def refer(self, reference: StreamReference, item_type: Any) -> "RemoteStream[Any]":
        """Return this side's end of a stream that the message has brought.

        Raises:
            ValueError: If it has brought more than `MAX_STREAMS`.
        """
        self.received_count += 1
        if self.received_count > MAX_STREAMS:
            raise ValueError(f"there are more than {MAX_STREAMS:,} streams in one message")
        return self.table.refer(reference, item_type)

    def __enter__(self) -> "StreamScope":
        self._token = _scope.set(self)
        return self

    def __exit__(self, error_type: type[BaseException] | None, *_: object) -> None:
        _scope.reset(self._token)
        if error_type is not None:
            self.take_back()

    def take_back(self) -> None:
        """Unregister what this message has registered."""
        for stream in self.registered:
            self.table.take_back(stream)
        self.registered.clear()


_scope: Final[ContextVar[StreamScope | None]] = ContextVar("refusion_rpc_stream_scope", default=None)


def current_scope() -> StreamScope | None:
    """Return the scope of the message that is being encoded or decoded."""
    return _scope.get()
