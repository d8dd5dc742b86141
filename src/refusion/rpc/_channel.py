"""Plain bytes between peers, on the connection that carries their calls: what a raw WebSocket is good at."""

import asyncio
import re
from collections.abc import Callable
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Final, Self, final

from refusion._base._logging import log_failure, logger

from ._errors import RpcArgumentError, RpcDisconnected, RpcError
from ._inbox import Inbox, WhenFull
from .protocol._message import RpcMessage

if TYPE_CHECKING:
    from ._hub import RpcHub
    from ._peer import RpcPeer
    from .formats import ArgumentCodec, RpcFormat

__all__ = ["RpcChannel"]

_NAME: Final = re.compile(r"[^\s.:$]+")
_MESSAGES_PER_TURN: Final = 100


@final
class RpcChannel:
    """Sends and takes bytes under a name that both sides have agreed on, without a contract.

    Messages come in the order in which they were sent, between the calls on the same connection. Nobody says that
    one has arrived, and none is sent again: those that are under way when a link breaks are lost. Middleware doesn't
    see them; who has sent a message is told by the peer that comes with it.

    On the wire each one is a call that nobody waits for, of a method with one argument, `name.Send:1`: a .NET or
    TypeScript peer declares such a method. The size of a message is limited as the arguments of a call are.

    Example:
        ```python
        with RpcChannel(hub, "telemetry") as channel:
            await channel.send(peer, b"hello")
            async for sender, data in channel:
                print(sender, data)
        ```
    """

    def __init__(
        self,
        hub: "RpcHub",
        name: str,
        *,
        method: str = "Send",
        max_messages: int = 1_000,
        max_bytes: int = 16 * 1024 * 1024,
        when_full: WhenFull = WhenFull.PAUSE,
    ) -> None:
        """Open a channel; it is closed with its hub at the latest.

        Args:
            hub: Whose peers it connects.
            name: The name of the channel; for peers in other languages that of a service, as `ITelemetry`.
            method: The name of that service's method.
            max_messages: How many messages may wait to be taken, those of all peers together.
            max_bytes: How many bytes these may have; a single message may always wait.
            when_full: What becomes of more.

        Raises:
            ValueError: If a name can't be one on the wire, or a limit isn't positive.
            RpcContractError: If a service or another channel has the name.
            RpcDisconnected: If the hub is closed.
        """
        for part in (name, method):
            if not _NAME.fullmatch(part):
                raise ValueError(
                    f"{part!r} can't be a name on the wire: spaces and the characters . : $ can't be in one"
                )
        if max_messages < 1 or max_bytes < 1:
            raise ValueError(f"a channel has to hold at least a message, not {max_messages} of {max_bytes} bytes")
        self.hub: RpcHub = hub
        self.name: str = name
        """The name of the channel."""
        self._wire_name = f"{name}.{method}:1"
        self._inbox = Inbox(name, max_messages, max_bytes, when_full)
        self._handler: Callable[[RpcPeer, bytes], None] | None = None
        self._codecs: dict[RpcFormat, ArgumentCodec] = {}
        self._turns: dict[RpcPeer, _Turns] = {}
        self._sent_in_turn = 0
        hub.open_channel(self)
        hub.table.names.add(self._wire_name)
        hub.table.set_handler(self._wire_name, self._receive)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<RpcChannel {self.name}>"

    @property
    def is_closed(self) -> bool:
        """Whether the channel was closed, by itself or with its hub."""
        return self._inbox.is_closed

    @property
    def dropped_count(self) -> int:
        """How many messages were dropped because nobody has taken them in time."""
        return self._inbox.dropped_count

    def close(self) -> None:
        """Take no further messages. What nobody has taken is dropped, and who waits for more is told of the end.

        What waits to be sent is still sent. May be called again.
        """
        if not self.is_closed:
            self.hub.table.remove_handler(self._wire_name)
            self.hub.channels.discard(self)
            self._inbox.close()

    # Sending

    async def send(self, peer: "RpcPeer", data: bytes | bytearray | memoryview) -> None:
        """Send a message, after a wait for a link if there is none, or for one that takes more.

        Several tasks may send at once; the messages to one peer leave in the order of these calls. The data may
        change as soon as this has returned. Who is cancelled while it waits has sent nothing.

        Raises:
            RpcDisconnected: If the channel, the peer or the hub is closed.
            RpcLimitExceeded: If the message is too large.
        """
        args = self._encode(peer, data)
        link = peer.link
        if link is not None and link.takes_calls and peer not in self._turns:
            link.post(RpcMessage(self._wire_name, 0, 0, args))
        else:
            await self._send_in_turn(peer, args)
        self._sent_in_turn += 1
        if self._sent_in_turn >= _MESSAGES_PER_TURN:
            # While the network takes everything at once, nobody else would ever have a turn.
            self._sent_in_turn = 0
            await asyncio.sleep(0)

    def send_nowait(self, peer: "RpcPeer", data: bytes | bytearray | memoryview) -> bool:
        """Send a message if there is a link that takes it now, and return whether there was; else drop it.

        Raises:
            RpcDisconnected: If the channel, the peer or the hub is closed.
            RpcLimitExceeded: If the message is too large.
        """
        args = self._encode(peer, data)
        link = peer.link
        if link is None or not link.takes_calls or peer in self._turns:
            return False
        link.post(RpcMessage(self._wire_name, 0, 0, args))
        return True

    # Receiving

    def on_message(self, handler: "Callable[[RpcPeer, bytes], None]") -> None:
        """Let a function take all messages, in order and as they come; first those that wait already.

        Nothing else is read until it returns, and nothing queues. What it raises is logged.

        Raises:
            TypeError: If it is a coroutine function.
            RuntimeError: If there is a handler already.
        """
        if iscoroutinefunction(handler):
            raise TypeError(f"{handler!r} isn't called where it could be awaited; take messages with `async for`")
        if self._handler is not None:
            raise RuntimeError(f"{self!r} has a handler already, and a message goes to one only")
        self._handler = handler
        while self._inbox:
            self._handle(*self._inbox.take_nowait())

    async def receive(self) -> "tuple[RpcPeer, bytes]":
        """Wait for a message, and return who has sent it and what it is.

        Several tasks may wait at once; each message goes to one of them. Cancelling loses none.

        Raises:
            RpcDisconnected: If the channel is closed.
        """
        return await self._inbox.take()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> "tuple[RpcPeer, bytes]":
        try:
            return await self._inbox.take()
        except RpcDisconnected:
            raise StopAsyncIteration from None

    # Details

    def _encode(self, peer: "RpcPeer", data: bytes | bytearray | memoryview) -> bytes:
        if self.is_closed:
            raise RpcDisconnected(f"{self!r} is closed")
        if peer.hub is not self.hub:
            raise ValueError(f"{peer!r} belongs to another hub than {self!r}")
        if peer.is_closing:
            raise peer.closed_error()
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(f"{self!r} sends bytes, not {type(data).__name__}")
        return self._codec(peer).encode((data,), peer.limits.sizes.argument_bytes)

    def _codec(self, peer: "RpcPeer") -> "ArgumentCodec":
        format_ = peer.format
        codec = self._codecs.get(format_)
        if codec is None:
            codec = self._codecs[format_] = format_.arguments((bytes,))
        return codec

    async def _send_in_turn(self, peer: "RpcPeer", args: bytes) -> None:
        turns = self._turns.get(peer)
        if turns is None:
            turns = self._turns[peer] = _Turns()
        turns.count += 1
        try:
            async with turns.lock:
                link = await peer.wait_writable()
                link.post(RpcMessage(self._wire_name, 0, 0, args))
        finally:
            turns.count -= 1
            if turns.count == 0:
                del self._turns[peer]

    def _receive(self, peer: "RpcPeer", message: RpcMessage) -> None:
        if message.related_id != 0:
            peer.refuse(
                message, RpcError(f"{self._wire_name} is a channel, which answers nothing; call it without wait")
            )
            return
        try:
            (data,) = self._codec(peer).decode(message.args)
        except RpcArgumentError as error:
            logger.warning("%r: a message for channel %r was dropped: %s", peer, self.name, error)
            return
        if self._handler is None:
            self._inbox.put(peer, data)
        else:
            self._handle(peer, data)

    def _handle(self, peer: "RpcPeer", data: bytes) -> None:
        assert self._handler is not None  # noqa: S101  # as both callers have seen
        try:
            self._handler(peer, data)
        except Exception:
            log_failure("the handler of a channel", self._handler)


class _Turns:
    """Those who wait to send to one peer, in order; the lock is fair."""

    __slots__ = ("count", "lock")

    def __init__(self) -> None:
        self.count = 0
        self.lock = asyncio.Lock()
