"""The streams of one peer: those that this side shares with it, and those that it reads from it.

The two are numbered apart, by who shares them. A stream that is shared stays until its reader is done, or until
nothing was heard of it for a while; one that is read stays until its end is known.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar, final, get_args

import msgspec

from refusion._base._clock import TimerHandle, current_clock
from refusion._base._logging import logger

from ._errors import RpcArgumentError, RpcError, RpcStreamLost
from ._remote_stream import RemoteStream
from ._shared_stream import SharedStream
from ._stream import RpcStream
from ._stream_scope import StreamScope
from ._stream_types import item_types
from .formats import ArgumentCodec
from .protocol._exception_info import ExceptionInfo, error_from_info
from .protocol._handshake import PeerChange
from .protocol._message import RpcMessage
from .protocol._stream_reference import StreamReference
from .protocol._system_calls import ACK, ACK_END, BATCH, DISCONNECT, END, ITEM

if TYPE_CHECKING:
    from ._peer import RpcPeer

__all__ = ["StreamTable"]


@final
class StreamTable:
    """All streams between this side and one peer. The peer tells it of messages, links, and its own end."""

    def __init__(self, peer: "RpcPeer") -> None:
        self.peer: Final = peer
        self.remote_peer_id: str = ""
        """The id of the peer object on the other side, as of the last handshake."""
        self._shared: dict[int, SharedStream] = {}
        self._remote: dict[int, RemoteStream[Any]] = {}
        self._last_id = 0
        self._held_up: dict[SharedStream, None] = {}
        self._ends: list[RemoteStream[Any]] = []
        self._timer: TimerHandle | None = None
        self._idle_waiters: list[asyncio.Future[None]] = []

    @property
    def is_busy(self) -> bool:
        """Whether there is a link that items of a stream go over, in either direction."""
        if not self.can_post:
            return False
        return bool(self._remote) or any(shared.is_started for shared in self._shared.values())

    @property
    def shared_count(self) -> int:
        """How many streams the other side may read."""
        return len(self._shared)

    @property
    def remote_count(self) -> int:
        """How many streams of the other side are being read."""
        return len(self._remote)

    # Values with streams in them

    def encode(self, codec: ArgumentCodec, types: Sequence[Any], values: Sequence[Any]) -> bytes:
        """Encode the values of a message, and share the streams in them; none of them if it fails.

        Raises:
            RpcArgumentError: If a value can't be encoded.
            RpcLimitExceeded: If the data is too large for a message.
        """
        with self._encoding(types, values):
            return codec.encode(values, self.peer.max_argument_bytes)

    def check(self, codec: ArgumentCodec, types: Sequence[Any], values: Sequence[Any]) -> None:
        """Refuse values that can't be encoded, and share nothing.

        Raises:
            RpcArgumentError: If a value can't be encoded.
            RpcLimitExceeded: If the data is too large for a message.
        """
        with self._encoding(types, values) as scope:
            codec.encode(values, self.peer.max_argument_bytes)
            scope.take_back()

    def decode(self, codec: ArgumentCodec, data: bytes) -> tuple[Any, ...]:
        """Decode the values of a message; streams in them belong to this peer.

        Raises:
            RpcArgumentError: If the data doesn't fit.
        """
        with StreamScope(self):
            return codec.decode(data)

    def share(self, stream: RpcStream[Any], scope: StreamScope) -> SharedStream:
        """Return this side's end of a stream that is being sent, made for its first time."""
        shared = stream._shared
        if shared is not None:
            if shared.table is not self:
                raise ValueError(f"{stream!r} was sent to {shared.table.peer!r} already; make one for each receiver")
            return shared
        self._last_id += 1
        reference = msgspec.structs.replace(stream._options, host_id=self.peer.id, local_id=self._last_id)
        shared = SharedStream(self, stream, reference, _item_type(stream, scope.item_types))
        stream._shared = shared
        self._shared[reference.local_id] = shared
        scope.registered.append(shared)
        self._arm()
        return shared

    def take_back(self, shared: SharedStream) -> None:
        """Forget a stream that the other side never heard of; it may be sent again."""
        if self._shared.pop(shared.reference.local_id, None) is not None:
            shared.stream._shared = None

    def refer(self, reference: StreamReference, item_type: Any) -> RemoteStream[Any]:
        """Return this side's end of a stream that was received; it isn't in the table before it is read."""
        return RemoteStream(self, reference, item_type)

    # Messages

    def handle(self, message: RpcMessage) -> None:
        """Do what a message about streams says; one that can't be read is dropped."""
        try:
            _HANDLERS[message.method](self, message)
        except RpcArgumentError as error:
            logger.warning("%r: a message about a stream was dropped: %s: %s", self.peer, message.method, error)

    def keep_alive_ids(self) -> list[int]:
        """Return the streams that are still read here, for the other side to keep."""
        return list(self._remote)

    def keep_alive_received(self, ids: Sequence[int]) -> list[int]:
        """Keep the streams that the other side still reads; returns those that aren't here."""
        now = current_clock().now()
        unknown: list[int] = []
        for local_id in ids:
            shared = self._shared.get(local_id)
            if shared is None:
                unknown.append(local_id)
            else:
                shared.heard_at = now
        return unknown

    # The link

    def link_lost(self) -> None:
        """Be told that there is no connection any more; what may not outlive it ends."""
        for shared in list(self._shared.values()):
            if shared.reference.allow_reconnect:
                shared.link_lost()
            else:
                self.drop(shared)
        for remote in list(self._remote.values()):
            remote.link_lost()
        self._wake_idle_waiters()

    def link_ready(self, change: PeerChange, remote_peer_id: str) -> None:
        """Be told of a new connection, before anything is sent on it that may have streams in it."""
        self.remote_peer_id = remote_peer_id
        self._wake_idle_waiters()
        ends, self._ends = self._ends, []
        if change is PeerChange.CHANGED:
            self._end_all(RpcStreamLost("the other side was restarted, and its streams are gone"))
        elif change is PeerChange.UNCHANGED:
            for remote in list(self._remote.values()):
                remote.link_ready(remote_peer_id)
            for remote in ends:
                self.post(ACK_END, remote.reference.local_id, (str,), (remote.reference.host_id,))

    def writable(self) -> None:
        """Be told that the link takes messages again."""
        held_up, self._held_up = self._held_up, {}
        for shared in held_up:
            # Each as far as the link takes it; who then has to wait again is behind the others the next time.
            shared.writable()

    # The end

    def release_expired(self) -> None:
        """Drop the shared streams of which nothing was heard for `RpcLimits.object_release_timeout`.

        More streams than `RpcLimits.max_objects` are a leak, here or on the other side: all of them end, and the
        connection is made anew.
        """
        limits = self.peer.limits
        count = len(self._shared) + len(self._remote)
        if count > limits.max_objects:
            error = RpcStreamLost(
                f"there were {count:,} streams and {limits.max_objects:,} is the limit: all have ended"
            )
            logger.error("%r: %s", self.peer, error)
            self._end_all(error)
            if self.peer.link is not None:
                self.peer.link.abort()
            return
        oldest = current_clock().now() - limits.object_release_timeout
        for shared in list(self._shared.values()):
            if shared.heard_at < oldest:
                self.drop(shared)

    def end(self, error: RpcError) -> None:
        """End all streams because the peer is closed: who reads one gets the error, sources are closed.

        Tasks of the peer do the closing.
        """
        self._end_all(error)
        self._ends.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # For the streams

    @property
    def is_writable(self) -> bool:
        """Whether there is a link that takes messages."""
        link = self.peer.link
        return link is not None and link.is_open and link.is_writable

    @property
    def can_post(self) -> bool:
        """Whether a message would go out, and not be dropped."""
        return self.peer.is_connected

    def post(self, method: str, local_id: int, types: tuple[Any, ...], values: tuple[Any, ...]) -> None:
        """Send one of the protocol's messages about a stream, if there is a link."""
        if self.can_post:
            codec = self.peer.format.arguments(types)
            self.post_data(method, local_id, codec.encode(values, self.peer.max_argument_bytes))

    def post_data(self, method: str, local_id: int, data: bytes) -> None:
        """Send a message about a stream whose arguments are encoded already."""
        self.peer.post(RpcMessage(method, local_id, 0, data))

    def wait_writable(self, shared: SharedStream) -> None:
        """Tell a stream when the link takes messages again; without a link its reader asks again."""
        if self.can_post:
            self._held_up[shared] = None

    def reject(self, shared: SharedStream) -> None:
        """Drop a shared stream and tell the other side that it isn't there."""
        if self._shared.get(shared.reference.local_id) is shared:
            self._post_disconnect(shared.reference.local_id)
            self.drop(shared)

    def drop(self, shared: SharedStream) -> None:
        """Forget a shared stream and close its source."""
        self._shared.pop(shared.reference.local_id, None)
        self._held_up.pop(shared, None)
        shared.drop()
        self._wake_idle_waiters()

    def is_read_otherwise(self, remote: RemoteStream[Any]) -> bool:
        """Tell whether a stream is read through another copy of its reference."""
        return self._remote.get(remote.reference.local_id, remote) is not remote

    def start_reading(self, remote: RemoteStream[Any]) -> None:
        """Let messages about a stream reach who reads it."""
        self._remote[remote.reference.local_id] = remote
        self.peer.read_on()
        self._arm()

    def stop_reading(self, remote: RemoteStream[Any]) -> None:
        """Let nothing reach who has read a stream any more."""
        if self._remote.get(remote.reference.local_id) is remote:
            del self._remote[remote.reference.local_id]
            self._wake_idle_waiters()

    def remember_end(self, remote: RemoteStream[Any]) -> None:
        """Tell the other side on the next connection that a stream isn't wanted any more."""
        if not self.peer.is_closing:
            self._ends.append(remote)

    # Details

    def _encoding(self, types: Sequence[Any], values: Sequence[Any]) -> StreamScope:
        declared: dict[Any, None] = {}
        for type_, value in zip(types, values, strict=False):
            in_type = item_types(type_)
            declared.update(dict.fromkeys(in_type))
            if isinstance(value, RpcStream) and in_type:
                value._declared = in_type[0]
        return StreamScope(self, tuple(declared))

    def _values(self, message: RpcMessage, types: tuple[Any, ...]) -> tuple[Any, ...]:
        return self.peer.format.arguments(types).decode(message.args)

    def _take_items(self, message: RpcMessage) -> None:
        remote = self._remote.get(message.related_id)
        if remote is not None:
            remote.received(message)

    def _take_end(self, message: RpcMessage) -> None:
        remote = self._remote.get(message.related_id)
        if remote is None:
            return
        index, fields = self._values(message, (int, dict[str, Any]))
        # Peers differ in how they write the names.
        lower = {name.lower(): value for name, value in fields.items()}
        info = ExceptionInfo(str(lower.get("typeref") or ""), str(lower.get("message") or ""))
        remote.ended(index, error_from_info(info) if info.type_ref else None)

    def _take_disconnect(self, message: RpcMessage) -> None:
        (ids,) = self._values(message, (list[int],))
        for local_id in ids:
            remote = self._remote.get(local_id)
            if remote is not None:
                remote.disconnected()

    def _take_ack(self, message: RpcMessage) -> None:
        index, host_id = self._values(message, (int, str))
        shared = self._shared.get(message.related_id)
        if shared is None:
            self._post_disconnect(message.related_id)
        else:
            shared.acknowledged(index, host_id)

    def _take_ack_end(self, message: RpcMessage) -> None:
        (host_id,) = self._values(message, (str,))
        shared = self._shared.get(message.related_id)
        if shared is None:
            self._post_disconnect(message.related_id)
        else:
            shared.consumer_done(host_id)

    def idle(self) -> asyncio.Future[None]:
        """Return what is done when no items go over a link any more; it may be cancelled."""
        waiter = self.peer.loop.create_future()
        self._idle_waiters.append(waiter)
        self._wake_idle_waiters()
        return waiter

    def _wake_idle_waiters(self) -> None:
        if self._idle_waiters and not self.is_busy:
            waiters, self._idle_waiters = self._idle_waiters, []
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)

    def _post_disconnect(self, local_id: int) -> None:
        self.post(DISCONNECT, 0, (list[int],), ([local_id],))

    def _end_all(self, error: RpcError) -> None:
        for shared in list(self._shared.values()):
            self.drop(shared)
        for remote in list(self._remote.values()):
            remote.peer_lost(error)

    def _arm(self) -> None:
        if self._timer is None and not self.peer.is_closing:
            clock = current_clock()
            self._timer = clock.call_at(clock.now() + self.peer.limits.object_release_period, self._check)

    def _check(self) -> None:
        self._timer = None
        self.release_expired()
        if self._shared or self._remote:
            self._arm()


def _item_type(stream: RpcStream[Any], in_message: tuple[Any, ...]) -> Any:
    """Return the declared type of the items: that of `RpcStream[Item](...)`, of the place, or the only one there is."""
    own = get_args(getattr(stream, "__orig_class__", None))
    if own and not isinstance(own[0], TypeVar):
        return own[0]
    if stream._declared is not None:
        return stream._declared
    return in_message[0] if len(in_message) == 1 else Any


_HANDLERS: Final[dict[str, Callable[[StreamTable, RpcMessage], None]]] = {
    ITEM: StreamTable._take_items,
    BATCH: StreamTable._take_items,
    END: StreamTable._take_end,
    ACK: StreamTable._take_ack,
    ACK_END: StreamTable._take_ack_end,
    DISCONNECT: StreamTable._take_disconnect,
}
