"""What the transports share whose library writes with `await`: a queue of frames and a task that writes them."""

import asyncio
from abc import abstractmethod
from collections import deque

from refusion._base._clock import TimerHandle, current_clock
from refusion._base._logging import log_failure

from ._transport import (
    CLOSE_ABNORMAL,
    CLOSE_INTERNAL_ERROR,
    CLOSE_NORMAL,
    CLOSE_TOO_LARGE,
    Receiver,
    Transport,
    TransportLimits,
    close_reason,
)

__all__ = ["QueuedTransport"]


class QueuedTransport(Transport):
    """Queues frames for a writer task; the task that runs it reads.

    A subclass says how one frame is read and written, and how the connection is closed or cut.
    """

    def __init__(self, receiver: Receiver, limits: TransportLimits) -> None:
        self._receiver = receiver
        self._limits = limits
        self._queue: deque[bytes] = deque()
        self._queued_bytes = 0
        self._is_writable = True
        self._closing: tuple[int, str] | None = None
        self._outcome = (CLOSE_ABNORMAL, "")
        self._wake_writer = asyncio.Event()
        self._may_read = asyncio.Event()
        self._may_read.set()
        self._closed = asyncio.Event()
        self._close_timer: TimerHandle | None = None
        self._reader: asyncio.Task[None] | None = None

    # What a subclass does

    @abstractmethod
    async def _read(self) -> tuple[bytes, bool] | None:
        """Return the next frame and whether it is text; None when the connection is closed."""

    @abstractmethod
    async def _write(self, frame: bytes) -> None:
        """Write one frame, waiting while the network doesn't take it."""

    @abstractmethod
    async def _close(self, code: int, reason: str) -> None:
        """Close the connection in an orderly way."""

    @abstractmethod
    def _cut(self) -> None:
        """Cut the connection; `_read` then ends."""

    @abstractmethod
    def _close_outcome(self) -> tuple[int, str]:
        """Return the code and reason that the connection was closed with."""

    # What the receiver does

    def send(self, frame: bytes) -> None:
        if self._closing is not None or self._closed.is_set():
            return
        self._queue.append(frame)
        self._queued_bytes += len(frame)
        if self._queued_bytes >= self._limits.high_water:
            self._is_writable = False
        self._wake_writer.set()

    @property
    def is_writable(self) -> bool:
        return self._is_writable

    @property
    def unsent_bytes(self) -> int:
        return self._queued_bytes

    def pause_reading(self) -> None:
        self._may_read.clear()

    def resume_reading(self) -> None:
        self._may_read.set()

    def close(self, code: int = CLOSE_NORMAL, reason: str = "") -> None:
        if self._closing is not None or self._closed.is_set():
            return
        self._closing = (code, close_reason(reason))
        self._wake_writer.set()
        # A paused reader would never see the end.
        self._may_read.set()
        clock = current_clock()
        self._close_timer = clock.call_at(clock.now() + self._limits.close_timeout, self._cut)

    def abort(self) -> None:
        self._closing = self._closing or (CLOSE_ABNORMAL, "")
        self._may_read.set()
        self._cut()

    async def wait_closed(self) -> None:
        await self._closed.wait()

    async def run(self) -> None:
        """Carry frames until the connection is gone; the receiver is told of it at both ends."""
        self._receiver.connected(self)
        writer = asyncio.create_task(self._write_all(), name="rpc writer")
        reader = self._reader = asyncio.create_task(self._read_all(), name="rpc reader")
        try:
            await asyncio.wait([reader])
        finally:
            if not reader.done():
                self._cut()
            # How the library has lost the connection is seen in its outcome, not in what it raised.
            reader.cancel()
            writer.cancel()
            await asyncio.gather(reader, writer, return_exceptions=True)
            if self._close_timer is not None:
                self._close_timer.cancel()
            self._queue.clear()
            self._closed.set()
            self._receiver.disconnected(*self._close_outcome())

    async def _read_all(self) -> None:
        while True:
            if not self._may_read.is_set():
                await self._may_read.wait()
            received = await self._read()
            if received is None:
                return
            if self._closing is None:
                self._deliver(*received)

    def _deliver(self, frame: bytes, is_text: bool) -> None:
        if len(frame) > self._receiver.max_frame_bytes:
            self.close(CLOSE_TOO_LARGE, "Message too large.")
            return
        try:
            self._receiver.frame_received(frame, is_text=is_text)
        except Exception:
            log_failure("the receiver of a frame", self._receiver)
            self.close(CLOSE_INTERNAL_ERROR, "Internal error.")

    async def _write_all(self) -> None:
        try:
            while True:
                while self._queue:
                    frame = self._queue.popleft()
                    await self._write(frame)
                    self._written(len(frame))
                if self._closing is not None:
                    await self._close(*self._closing)
                    return
                self._wake_writer.clear()
                await self._wake_writer.wait()
        except asyncio.CancelledError:
            raise
        except Exception:
            self._cut()

    def _written(self, size: int) -> None:
        self._queued_bytes -= size
        if not self._is_writable and self._queued_bytes <= self._limits.low_water:
            self._is_writable = True
            self._receiver.writable()
