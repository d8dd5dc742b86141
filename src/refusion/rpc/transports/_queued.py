"""The base of transports whose library reads and writes with `await`: a queue of frames, and tasks for both."""

import asyncio
from abc import abstractmethod
from typing import Any, Final

from refusion._aio._signal import Signal
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

_running: Final[set[asyncio.Task[None]]] = set()
"""Event loops hold their tasks weakly."""


class QueuedTransport(Transport):
    """Reads in the task that runs it, and writes in another one that is there while there is something to write.

    A subclass says how one frame is read and written, and how the connection is ended or cut; the rest of what
    a transport has to do is done here. Errors of a subclass end the connection.
    """

    __slots__ = (
        "_close_timer",
        "_closed",
        "_closing",
        "_is_cut",
        "_is_paused",
        "_is_writable",
        "_queue",
        "_queued_bytes",
        "_read_task",
        "_resumed",
        "_write_task",
        "limits",
        "outcome",
        "receiver",
    )

    def __init__(self, receiver: Receiver, limits: TransportLimits) -> None:
        self.receiver: Receiver = receiver
        """Whom the connection is for."""
        self.limits: TransportLimits = limits
        """What it may take of memory and time."""
        self.outcome: tuple[int, str] = (CLOSE_ABNORMAL, "")
        """The code and reason that the connection was closed with, for a subclass to set when it knows them."""
        self._queue: list[bytes] = []
        self._queued_bytes = 0
        self._is_writable = True
        self._is_paused = False
        self._resumed: asyncio.Future[None] | None = None
        self._is_cut = False
        self._closing: tuple[int, str] | None = None
        self._closed = Signal()
        self._close_timer: TimerHandle | None = None
        self._read_task: asyncio.Task[Any] | None = None
        self._write_task: asyncio.Task[None] | None = None

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

    def cut(self) -> None:
        """Break the connection, so that `read_frame` ends at once; may be called more than once.

        By default it is read no further: `read_frame` is cancelled. That is for libraries that can't do it otherwise.
        """
        self._is_cut = True
        if self._read_task is not None:
            self._read_task.cancel()

    # What the receiver does

    def send(self, frame: bytes) -> None:
        if self._closing is not None or self._closed.is_set:
            return
        self._queue.append(frame)
        self._queued_bytes += len(frame)
        if self._queued_bytes >= self.limits.high_water:
            self._is_writable = False
        self._start_writer()

    @property
    def is_writable(self) -> bool:
        return self._is_writable

    @property
    def unsent_bytes(self) -> int:
        return self._queued_bytes

    def pause_reading(self) -> None:
        self._is_paused = True

    def resume_reading(self) -> None:
        self._is_paused = False
        if self._resumed is not None and not self._resumed.done():
            self._resumed.set_result(None)

    def close(self, code: int = CLOSE_NORMAL, reason: str = "") -> None:
        if self._closing is not None or self._closed.is_set:
            return
        self._closing = (code, close_reason(reason))
        self._start_writer()
        # A paused reader would never see the end.
        self.resume_reading()
        clock = current_clock()
        self._close_timer = clock.call_at(clock.now() + self.limits.close_timeout, self.cut)

    def abort(self) -> None:
        self._closing = self._closing or (CLOSE_ABNORMAL, "")
        self.resume_reading()
        self.cut()

    async def wait_closed(self) -> None:
        await self._closed.wait()

    def start(self) -> None:
        """Carry frames in a task of its own; the receiver has the connection when this returns."""
        self.receiver.connected(self)
        task = asyncio.create_task(self._carry(), name="rpc connection")
        _running.add(task)
        task.add_done_callback(_running.discard)

    async def run(self) -> None:
        """Carry frames until the connection is gone; the receiver is told of it at both ends."""
        self.receiver.connected(self)
        await self._carry()

    async def _carry(self) -> None:
        reader = self._read_task = asyncio.current_task()
        has_ended = False
        try:
            await self._read_all()
            has_ended = True
        except asyncio.CancelledError:
            if not self._is_cut or (reader is not None and reader.uncancel() > 0):
                raise
        except Exception:
            # How the library has lost the connection is seen in its outcome, not in what it raised.
            return
        finally:
            self._read_task = None
            if not has_ended:
                self.cut()
            await self._finish()

    async def _finish(self) -> None:
        writer = self._write_task
        if writer is not None:
            writer.cancel()
            await asyncio.wait([writer])
        if self._close_timer is not None:
            self._close_timer.cancel()
        self._queue.clear()
        self._closed.set()
        self.receiver.disconnected(*self.outcome)

    async def _read_all(self) -> None:
        while True:
            while self._is_paused:
                self._resumed = asyncio.get_running_loop().create_future()
                await self._resumed
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

    def _start_writer(self) -> None:
        if self._write_task is None:
            self._write_task = asyncio.create_task(self._write_all(), name="rpc writer")

    async def _write_all(self) -> None:
        try:
            while self._queue:
                frames, self._queue = self._queue, []
                for frame in frames:
                    await self.write_frame(frame)
                    self._written(len(frame))
            if self._closing is not None:
                await self.end(*self._closing)
        except asyncio.CancelledError:
            raise
        except Exception:
            self.cut()
        finally:
            self._write_task = None

    def _written(self, size: int) -> None:
        self._queued_bytes -= size
        if not self._is_writable and self._queued_bytes <= self.limits.low_water:
            self._is_writable = True
            self.receiver.writable()
