"""One connection of a peer: frames in and out, handshake, keep-alive, and the gate for senders."""

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final, final

from refusion._aio._signal import Signal
from refusion._base._clock import TimerHandle, current_clock
from refusion._base._logging import log_failure, logger

from ._errors import RpcProtocolError
from .protocol._handshake import Handshake, check_handshake
from .protocol._message import RpcMessage
from .protocol._system_calls import HANDSHAKE, KEEP_ALIVE
from .transports._transport import (
    CLOSE_ABNORMAL,
    CLOSE_GOING_AWAY,
    CLOSE_INTERNAL_ERROR,
    CLOSE_NORMAL,
    CLOSE_PROTOCOL_ERROR,
    ConnectionRequest,
    Receiver,
    Transport,
)

if TYPE_CHECKING:
    from ._peer import RpcPeer

__all__ = ["Link"]

_ID_BYTES: Final = 20
"""The most that an id in a list takes, in any format."""


@final
class Link(Receiver):
    """A connection, from its making to its end. A peer has one at a time, and many in its life.

    Messages of one turn of the event loop share frames: the first one schedules a flush, the others join it.
    """

    # As many as there are peers.
    __slots__ = (
        "_awaits_calls",
        "_awaits_writable",
        "_backlog",
        "_buffer",
        "_decoder",
        "_encoder",
        "_flush_bytes",
        "_heard_at",
        "_is_flush_scheduled",
        "_is_turn_scheduled",
        "_max_per_turn",
        "_read",
        "_say_alive_at",
        "_sent_bytes",
        "_sizes",
        "_taken_bytes",
        "_taken_in_turn",
        "_timer",
        "_transport",
        "_write",
        "_write_waiters",
        "close_code",
        "close_reason",
        "closed",
        "connected_at",
        "handshake",
        "has_been_answered",
        "has_reconnected",
        "is_proved",
        "is_text",
        "max_frame_bytes",
        "peer",
        "request",
    )

    def __init__(self, peer: "RpcPeer", request: ConnectionRequest | None = None, *, is_proved: bool = True) -> None:
        self.peer: RpcPeer = peer
        self.is_proved: bool = is_proved
        """Whether the other side is known to be who it says, or is new."""
        self.request: ConnectionRequest | None = request
        """What the other side has connected with; None at a client."""
        self.is_text: bool = peer.format.is_text
        self._encoder = peer.format.frame_encoder(is_server=peer.is_server)
        self._decoder = peer.format.frame_decoder(is_server=peer.is_server)
        self._write = peer.format.write
        self._read = peer.format.read
        self._sizes = peer.limits.sizes
        self._flush_bytes = peer.limits.flush_bytes
        self.max_frame_bytes: int = self._sizes.handshake_frame_bytes
        self.handshake: Handshake | None = None
        """What the other side has introduced itself with."""
        self.has_been_answered: bool = False
        """Whether anything has come behind the other side's handshake, so that it must have had this side's."""
        self.has_reconnected: bool = False
        """Whether the other side has asked about its calls; it may do so once."""
        self.close_code: int = CLOSE_ABNORMAL
        self.close_reason: str = ""
        self.connected_at: float = 0.0
        self.closed: Signal = Signal()
        """The connection is gone."""
        self._transport: Transport | None = None
        self._buffer = bytearray()
        self._is_flush_scheduled = False
        self._backlog: deque[RpcMessage] | None = None
        self._max_per_turn = peer.limits.messages_per_turn
        self._taken_in_turn = 0
        self._is_turn_scheduled = False
        self._awaits_writable = False
        self._awaits_calls = False
        self._sent_bytes = 0
        self._taken_bytes = 0
        self._write_waiters: dict[asyncio.Future[None], None] = {}
        self._heard_at = 0.0
        self._say_alive_at = 0.0
        self._timer: TimerHandle | None = None

    # Receiver

    def connected(self, transport: Transport) -> None:
        self._transport = transport
        if self.peer.is_closing:
            self.close(CLOSE_GOING_AWAY, "The peer is gone.")
            return
        clock = current_clock()
        self.connected_at = clock.now()
        self.peer.link_opened(self)
        handshake_due = self.connected_at + self.peer.limits.handshake_timeout
        self._timer = clock.call_at(handshake_due, self._handshake_missing)
        self.post(self.peer.create_handshake())
        self.flush()

    def frame_received(self, frame: bytes, *, is_text: bool) -> None:
        if self.peer.link is not self:
            # A newer connection has taken over. What came too late here is asked about, or sent again, there.
            return
        if is_text != self.is_text:
            self.drop(f"a {'text' if is_text else 'binary'} frame came where {self.peer.format.key} was agreed on")
            return
        if self._decoder is not None:
            try:
                frame = self._decoder.decode(frame, self.max_frame_bytes)
            except RpcProtocolError as error:
                self.drop(str(error))
                return
        messages, problem = self._read(frame, self.peer.hub.table.names, self._sizes)
        if problem is not None:
            logger.warning("%r dropped a part of a frame: %s", self.peer, problem)
        if self.handshake is not None:
            self.has_been_answered = True
        self._taken_in_turn += len(messages)
        if self._taken_in_turn > self._max_per_turn or self._backlog or self._is_held:
            # Others have to have their turn; what is too much waits, and all that comes behind it.
            self._open_backlog().extend(messages)
            if self._transport is not None:
                self._transport.pause_reading()
            self._go_on()
        else:
            self._take(messages)

    def writable(self) -> None:
        if self._awaits_writable:
            # It has taken what it didn't take before.
            self.keep_alive_received()
        self._awaits_writable = False
        self._go_on()
        self.peer.send_waiting()
        self.peer.streams.writable()
        waiters, self._write_waiters = self._write_waiters, {}
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def disconnected(self, code: int, reason: str) -> None:
        self.close_code, self.close_reason = code, reason
        self._transport = None
        self._backlog = None
        if self._timer is not None:
            self._timer.cancel()
        self.peer.link_closed(self)
        self.writable()
        self.closed.set()

    # Sending

    @property
    def is_open(self) -> bool:
        """Whether messages can be sent: the connection is there and the handshake through."""
        return self._transport is not None and self.handshake is not None

    @property
    def takes_calls(self) -> bool:
        """Whether calls can be sent now."""
        transport = self._transport
        return transport is not None and self.handshake is not None and transport.is_writable

    @property
    def is_writable(self) -> bool:
        """Whether senders may go on: either the connection takes more, or it is gone."""
        return self._transport is None or self._transport.is_writable

    def post(self, message: RpcMessage) -> None:
        """Send a message with the next frame.

        Raises:
            RpcLimitExceeded: If it is larger than the protocol allows.
        """
        buffer = self._buffer
        self._write(buffer, message, self._sizes)
        if len(buffer) >= self._flush_bytes:
            self.flush()
        elif not self._is_flush_scheduled:
            self._is_flush_scheduled = True
            self.peer.loop.call_soon(self._end_turn)

    def post_ids(self, method: str, ids: Sequence[int]) -> None:
        """Send one of the protocol's messages that are about many streams; as several if messages have to be small."""
        codec = self.peer.format.arguments((list[int],))
        count = max(1, self._sizes.argument_bytes // _ID_BYTES - 1)
        for start in range(0, len(ids) or 1, count):
            self.post(RpcMessage(method, 0, 0, codec.encode((ids[start : start + count],))))

    def flush(self) -> None:
        """Send what is waiting for the next frame now."""
        self._is_flush_scheduled = False
        transport = self._transport
        if self._buffer and transport is not None:
            frame = bytes(self._buffer)
            if self._encoder is not None:
                frame = self._encoder.encode(frame)
            transport.send(frame)
            self._sent_bytes += len(frame)
            if not transport.is_writable and self.peer.must_pause_reading:
                # Whoever doesn't take the answers gets no further questions in.
                if not self._awaits_writable:
                    self._awaits_writable = True
                    self._takes_bytes()
                transport.pause_reading()
        self._buffer.clear()

    def _end_turn(self) -> None:
        self._taken_in_turn = 0
        self.flush()

    async def wait_writable(self) -> None:
        """Wait until senders may go on, or the connection is gone."""
        while not self.is_writable:
            waiter = self.peer.loop.create_future()
            self._write_waiters[waiter] = None
            try:
                await waiter
            finally:
                self._write_waiters.pop(waiter, None)

    def close(self, code: int = CLOSE_NORMAL, reason: str = "") -> None:
        """Close the connection after what was posted."""
        self.flush()
        if self._transport is not None:
            self._transport.close(code, reason)

    def abort(self) -> None:
        """Cut the connection."""
        if self._transport is not None:
            self._transport.abort()

    def drop(self, problem: str) -> None:
        """Close the connection because the other side doesn't follow the protocol."""
        logger.warning("%r drops its connection: %s", self.peer, problem)
        self.close(CLOSE_PROTOCOL_ERROR, problem[:100])

    # Reading

    def pause_for_calls(self) -> None:
        """Take no further frames, nor the rest of a large one, because too much waits for its turn."""
        if not self._awaits_calls and self._transport is not None:
            self._transport.pause_reading()
        self._awaits_calls = True

    def resume_for_calls(self) -> None:
        """Go on taking frames."""
        self._awaits_calls = False
        self._go_on()

    @property
    def _is_held(self) -> bool:
        return self._awaits_calls or self._awaits_writable

    def _go_on(self) -> None:
        """Handle what has come, and then what else comes, if nothing speaks against it."""
        if self._is_held:
            return
        if not self._backlog:
            if self._transport is not None:
                self._transport.resume_reading()
        elif not self._is_turn_scheduled:
            self._is_turn_scheduled = True
            self.peer.loop.call_soon(self._take_turn)

    def _take(self, messages: Iterable[RpcMessage]) -> None:
        peer = self.peer
        handlers = peer.handlers
        messages = iter(messages)
        for message in messages:
            if self._awaits_writable or self._awaits_calls:
                # The rest of a frame is no less of a flood than the next frame.
                self._open_backlog().extendleft(reversed([message, *messages]))
                return
            if self.handshake is None:
                if not self._take_handshake(message):
                    return
                # Those that its version of the API has.
                handlers = peer.handlers
                continue
            handler = handlers.get(message.method)
            if handler is not None:
                handler(peer, message)
            else:
                peer.take_unknown(message)

    def _open_backlog(self) -> deque[RpcMessage]:
        """Return what waits for its turn; there is one only while something does, since even an empty one is large."""
        if self._backlog is None:
            self._backlog = deque()
        return self._backlog

    def _take_turn(self) -> None:
        """Handle as much of what has come as other connections can wait for."""
        self._is_turn_scheduled = False
        if self.peer.link is not self:
            # As with frames: it is asked about, or sent again, on the newer connection.
            self._backlog = None
        backlog = self._backlog
        self._taken_in_turn = 0
        if backlog is not None and not self._is_held:
            self._taken_in_turn = count = min(len(backlog), self._max_per_turn)
            messages = [backlog.popleft() for _ in range(count)]
            if not backlog:
                self._backlog = None
            try:
                self._take(messages)
            except Exception:
                # As the transport does where messages are handled when they come.
                log_failure("the handler of a message", self.peer)
                self._backlog = None
                self.close(CLOSE_INTERNAL_ERROR, "Internal error.")
        self._go_on()

    # Introduction and silence

    def keep_alive_received(self) -> None:
        """Note that the other side is there."""
        self._heard_at = current_clock().now()

    def _take_handshake(self, message: RpcMessage) -> bool:
        if message.method != HANDSHAKE or message.related_id != 0 or message.call_type != 0:
            self.drop(f"the first message was {message.method!r} instead of a handshake")
            return False
        try:
            handshake = self.peer.format.decode_handshake(message.args)
            check_handshake(handshake)
        except RpcProtocolError as error:
            self.drop(str(error))
            return False
        self.handshake = handshake
        self.max_frame_bytes = self._sizes.frame_bytes
        self.keep_alive_received()
        self._say_alive_at = self._heard_at + self.peer.limits.keep_alive_period
        self._arm()
        self.peer.link_ready(self, handshake)
        return True

    def _handshake_missing(self) -> None:
        self.drop("there was no handshake in time")

    def _arm(self) -> None:
        """Look after the link when the next thing is due: to say something, or not to have heard anything."""
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is not None:
            due = min(self._say_alive_at, self._heard_at + self.peer.limits.keep_alive_timeout)
            self._timer = current_clock().call_at(due, self._look_after)

    def _takes_bytes(self) -> bool:
        """Tell whether the other side has taken anything of what was sent, since this was asked for the last time."""
        before = self._taken_bytes
        self._taken_bytes = self._sent_bytes - (0 if self._transport is None else self._transport.unsent_bytes)
        return self._taken_bytes != before

    def _look_after(self) -> None:
        limits = self.peer.limits
        now = current_clock().now()
        # What the other side says may not be read now: then it is there as long as it takes what it is told.
        if self._awaits_calls or (self._awaits_writable and self._takes_bytes()):
            self.keep_alive_received()
        # The same sum as that of the timer: a difference may be rounded to less, and this would go on at once for ever.
        if now >= self._heard_at + limits.keep_alive_timeout:
            logger.warning("%r drops its connection: nothing was heard of the other side", self.peer)
            self.abort()
            return
        if now >= self._say_alive_at:
            self._say_alive_at = now + limits.keep_alive_period
            self._say_alive()
        self._arm()

    def _say_alive(self) -> None:
        self.post_ids(KEEP_ALIVE, self.peer.streams.keep_alive_ids())
        self.peer.keep_alive_period_passed()
