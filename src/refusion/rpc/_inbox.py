"""A bounded queue of messages that peers have sent, and what happens when nobody takes them in time."""

import asyncio
from collections import deque
from enum import Enum
from typing import TYPE_CHECKING, Final, final

from refusion._base._logging import logger

from ._errors import RpcDisconnected

if TYPE_CHECKING:
    from ._peer import RpcPeer

__all__ = ["Inbox", "WhenFull"]

_OVERLOAD_FACTOR: Final = 10


class WhenFull(Enum):
    """What becomes of messages that come faster than they are taken."""

    PAUSE = "pause"
    """Nothing more is read from who sends them, calls and answers included, until half of them are taken.

    It is read on while this side waits for answers of that peer, because those come over the same connection;
    when ten times as many messages wait, further ones are dropped.
    """

    DROP_OLDEST = "drop oldest"
    """The oldest one is dropped: for what is soon out of date, as positions."""

    DROP_NEWEST = "drop newest"
    """The one that has just come is dropped."""


@final
class Inbox:
    """The messages of one channel that wait to be taken."""

    def __init__(self, name: str, max_messages: int, max_bytes: int, when_full: WhenFull) -> None:
        self.dropped_count: int = 0
        """How many messages were dropped."""
        self.is_closed: bool = False
        """Whether nothing comes any more."""
        self._name = name
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._when_full = when_full
        self._queue: deque[tuple[RpcPeer, bytes]] = deque()
        self._bytes = 0
        self._paused: dict[RpcPeer, None] = {}
        self._is_overloaded = False
        self._takers: deque[asyncio.Future[None]] = deque()

    def __len__(self) -> int:
        return len(self._queue)

    def put(self, peer: "RpcPeer", data: bytes) -> None:
        """Add a message, or drop one."""
        size = len(data)
        factor = _OVERLOAD_FACTOR if self._when_full is WhenFull.PAUSE else 1
        if not self._has_room(size, factor):
            self.dropped_count += 1
            if self._when_full is not WhenFull.DROP_OLDEST:
                self._note_overload(peer)
                return
            self._remove_first()
            while not self._has_room(size, factor):
                self.dropped_count += 1
                self._remove_first()
        self._queue.append((peer, data))
        self._bytes += size
        if self._when_full is WhenFull.PAUSE and (
            len(self._queue) >= self._max_messages or self._bytes >= self._max_bytes
        ):
            self._paused[peer] = None
            peer.pause_reading(self)
        if self._takers:
            self._wake_taker()

    async def take(self) -> "tuple[RpcPeer, bytes]":
        """Wait for a message and take it.

        Raises:
            RpcDisconnected: If the inbox is closed.
        """
        while not self._queue:
            if self.is_closed:
                raise RpcDisconnected(f"channel {self._name!r} is closed")
            taker: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._takers.append(taker)
            try:
                await taker
            except asyncio.CancelledError:
                if taker in self._takers:
                    self._takers.remove(taker)
                elif not taker.cancelled():
                    # It was woken for a message that somebody else has to take now.
                    self._wake_taker()
                raise
        return self.take_nowait()

    def take_nowait(self) -> "tuple[RpcPeer, bytes]":
        """Take a message; there has to be one."""
        message = self._remove_first()
        if self._paused and len(self._queue) <= self._max_messages // 2 and self._bytes <= self._max_bytes // 2:
            self._resume()
        return message

    def close(self) -> None:
        """Drop what waits, and end those who wait for more."""
        self.is_closed = True
        self._queue.clear()
        self._bytes = 0
        self._resume()
        while self._takers:
            self._wake_taker()

    # Details

    def _has_room(self, size: int, factor: int) -> bool:
        count = len(self._queue)
        if count == 0:
            # The largest message has to get through, whatever the limit.
            return True
        return count < factor * self._max_messages and self._bytes + size <= factor * self._max_bytes

    def _remove_first(self) -> "tuple[RpcPeer, bytes]":
        message = self._queue.popleft()
        self._bytes -= len(message[1])
        return message

    def _note_overload(self, peer: "RpcPeer") -> None:
        if self._when_full is WhenFull.PAUSE and not self._is_overloaded:
            self._is_overloaded = True
            logger.warning(
                "channel %r drops messages of %r, because %d wait already", self._name, peer, len(self._queue)
            )

    def _resume(self) -> None:
        self._is_overloaded = False
        paused, self._paused = self._paused, {}
        for peer in paused:
            peer.resume_reading(self)

    def _wake_taker(self) -> None:
        while self._takers:
            taker = self._takers.popleft()
            if not taker.done():
                taker.set_result(None)
                return
