"""The base of transports whose library reads and writes with `await`: a queue of frames, and tasks for both."""

import asyncio
from abc import abstractmethod
from collections import deque
from typing import Final

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
)

__all__ = ["QueuedTransport"]

_running: Final[set[asyncio.Task[None]]] = set()
"""Event loops hold their tasks weakly."""


class QueuedTransport(Transport):
    """Queues frames for a task that writes them, while another one reads.

    A subclass says how one frame is read and written, and how the connection is ended or cut; the rest of what
    a transport has to do is done here. Errors of a subclass end the connection.
    """

    def __init__(self, receiver: Receiver, limits: TransportLimits) -> None:
        self.receiver: Receiver = receiver
        """Whom the connection is for."""
        self.limits: TransportLimits = limits
        """What it may take of memory and time."""
        self.outcome: tuple[int, str] = (CLOSE_ABNORMAL, "")
        """The code and reason that the connection was closed with, for a subclass to set when it knows them."""
        self._queue: deque[bytes] = deque()
        self._queued_bytes = 0
        self._is_writable = True
        self._closing: tuple[int, str] | None = None
        self._wake_writer = asyncio.Event()
        self._may_read = asyncio.Event()
        self._may_read.set()
        self._closed = asyncio.Event()
        self._close_timer: TimerHandle | None = None
        self._read_task: asyncio.Task[None] | None = None

    # What a subclass does

    @abstractmethod
    async def read_frame(self) -> tuple[bytes, bool] | None:
        """Return the next frame and whether it is text; None when the connection is closed.

        It shouldn't take more memory for a frame than `receiver.max_frame_bytes`, which may change at any time: call
        `close` with `CLOSE_TOO_LARGE` for a larger one.
        """

    @abstractmethod
    async def write_frame(self, frame: bytes) -> None:
        """Write one frame, as text if `receiver.is_text`, and wait while the network doesn't take it."""

    @abstractmethod
    async def end(self, code: int, reason: str) -> None:
        """Close the connection in an orderly way, after all frames were written; `read_frame` ends later."""

    @abstractmethod
    def cut(self) -> None:
        """Break the connection, so that `read_frame` ends at once; may be called more than once."""

    # What the receiver does

    def send(self, frame: bytes) -> None:
        if self._closing is not None or self._closed.is_set():
            return
        self._queue.append(frame)
        self._queued_bytes += len(frame)
        if self._queued_bytes >= self.limits.high_water:
            self._is_writable = False
        self._wake_writer.set()

    @property
    def is_writable(self) -> bool:
        return self._is_writable

    def pause_reading(self) -> None:
        self._may_read.clear()

    def resume_reading(self) -> None:
        self._may_read.set()

    def close(self, code: int = CLOSE_NORMAL, reason: str = "") -> None:
        if self._closing is not None or self._closed.is_set():
            return
        self._closing = (code, reason)
        self._wake_writer.set()
        # A paused reader would never see the end.
        self._may_read.set()
        clock = current_clock()
        self._close_timer = clock.call_at(clock.now() + self.limits.close_timeout, self.cut)

    def abort(self) -> None:
        self._closing = self._closing or (CLOSE_ABNORMAL, "")
        self._may_read.set()
        self.cut()

    async def wait_closed(self) -> None:
        await self._closed.wait()

    def start(self) -> None:
        """Carry frames in a task of its own, which ends with the connection."""
        task = asyncio.create_task(self.run(), name="rpc connection")
        _running.add(task)
        task.add_done_callback(_running.discard)

    async def run(self) -> None:
        """Carry frames until the connection is gone; the receiver is told of it at both ends."""
        self.receiver.connected(self)
        writer = asyncio.create_task(self._write_all(), name="rpc writer")
        reader = self._read_task = asyncio.create_task(self._read_all(), name="rpc reader")
        try:
            await asyncio.wait([reader])
        finally:
            if not reader.done():
                self.cut()
            # How the library has lost the connection is seen in its outcome, not in what it raised.
            reader.cancel()
            writer.cancel()
            await asyncio.gather(reader, writer, return_exceptions=True)
            if self._close_timer is not None:
                self._close_timer.cancel()
            self._queue.clear()
            self._closed.set()
            self.receiver.disconnected(*self.outcome)

    async def _read_all(self) -> None:
        while True:
            if not self._may_read.is_set():
                await self._may_read.wait()
            received = await self.read_frame()
            if received is None:
                return
            if self._closing is None:
                self._deliver(*received)

    def _deliver(self, frame: bytes, is_text: bool) -> None:
        if len(frame) > self.receiver.max_frame_bytes:
            self.close(CLOSE_TOO_LARGE, "Message too large.")
            return
        try:
            self.receiver.frame_received(frame, is_text=is_text)
        except Exception:
            log_failure("the receiver of a frame", self.receiver)
            self.close(CLOSE_INTERNAL_ERROR, "Internal error.")

    async def _write_all(self) -> None:
        try:
            while True:
                while self._queue:
                    frame = self._queue.popleft()
                    await self.write_frame(frame)
                    self._written(len(frame))
                if self._closing is not None:
                    await self.end(*self._closing)
                    return
                self._wake_writer.clear()
                await self._wake_writer.wait()
        except asyncio.CancelledError:
            raise
        except Exception:
            self.cut()

    def _written(self, size: int) -> None:
        self._queued_bytes -= size
        if not self._is_writable and self._queued_bytes <= self.limits.low_water:
            self._is_writable = True
            self.receiver.writable()
