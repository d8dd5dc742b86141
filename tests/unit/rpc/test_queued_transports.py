"""The queue and the tasks of transports that write with `await`, without a network."""

import asyncio
from collections.abc import Callable

import pytest

from refusion.rpc.transports import CLOSE_ABNORMAL, QueuedTransport, TransportLimits
from refusion.testing import VirtualClock, settle

from .test_transports import Recorder


class Pipe(QueuedTransport):
    """Reads what a test puts in, and writes it down; without a way to cut it, as ASGI."""

    def __init__(self, receiver: Recorder) -> None:
        super().__init__(receiver, TransportLimits(high_water=100, low_water=10, close_timeout=5.0))
        self.incoming: asyncio.Queue[tuple[bytes, bool] | None] = asyncio.Queue()
        self.written: list[bytes] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.fault: Exception | None = None
        self.closed_with: tuple[int, str] | None = None

    async def read_frame(self) -> tuple[bytes, bool] | None:
        return await self.incoming.get()

    async def write_frame(self, frame: bytes) -> None:
        await self.gate.wait()
        if self.fault is not None:
            raise self.fault
        self.written.append(frame)

    async def end(self, code: int, reason: str) -> None:
        self.closed_with = self.outcome = (code, reason)
        self.incoming.put_nowait(None)


@pytest.fixture
async def receiver() -> Recorder:
    return Recorder()


@pytest.fixture
async def pipe(receiver: Recorder) -> Pipe:
    return Pipe(receiver)


async def test_a_writer_is_there_while_there_is_something_to_write(pipe: Pipe) -> None:
    running = asyncio.ensure_future(pipe.run())
    await settle()
    alone = len(asyncio.all_tasks())
    for round in range(3):
        pipe.send(b"a")
        pipe.send(b"b")
        assert len(asyncio.all_tasks()) == alone + 1
        await settle()
        assert len(asyncio.all_tasks()) == alone
        assert pipe.written == [b"a", b"b"] * (round + 1)
    pipe.close()
    await running


async def test_what_is_sent_while_something_is_written_follows_it(pipe: Pipe) -> None:
    running = asyncio.ensure_future(pipe.run())
    pipe.gate.clear()
    pipe.send(b"a")
    await settle()
    pipe.send(b"b")
    pipe.close(1000, "done")
    pipe.send(b"too late")
    await settle()
    assert pipe.written == []
    pipe.gate.set()
    await running
    assert pipe.written == [b"a", b"b"]
    assert pipe.closed_with == (1000, "done")


async def test_senders_are_told_at_the_low_mark(pipe: Pipe, receiver: Recorder) -> None:
    running = asyncio.ensure_future(pipe.run())
    pipe.gate.clear()
    for _ in range(10):
        assert pipe.is_writable
        pipe.send(bytes(10))
    assert not pipe.is_writable
    pipe.gate.set()
    await receiver.writable_again.wait()
    assert pipe.is_writable
    pipe.close()
    await running


@pytest.mark.parametrize("is_paused", [False, True])
async def test_a_cut_ends_the_run_and_is_told(pipe: Pipe, receiver: Recorder, is_paused: bool) -> None:
    running = asyncio.ensure_future(pipe.run())
    await settle()
    if is_paused:
        pipe.pause_reading()
        pipe.incoming.put_nowait((b"x", False))
        await settle()
    pipe.abort()
    await running
    assert await receiver.closed == (CLOSE_ABNORMAL, "")
    assert running.cancelling() == 0


async def test_a_receiver_may_cut_while_it_takes_a_frame() -> None:
    receiver = Recorder(lambda receiver, frame: receiver.link.abort())
    pipe = Pipe(receiver)
    pipe.incoming.put_nowait((b"x", False))
    await pipe.run()
    assert receiver.closed.done()


async def test_a_cancelled_run_is_told_and_stays_cancelled(pipe: Pipe, receiver: Recorder) -> None:
    running = asyncio.ensure_future(pipe.run())
    await settle()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert receiver.closed.done()


async def test_a_run_that_is_cut_and_cancelled_at_once_is_cancelled(pipe: Pipe, receiver: Recorder) -> None:
    running = asyncio.ensure_future(pipe.run())
    await settle()
    pipe.abort()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert receiver.closed.done()


def lose(pipe: Pipe) -> None:
    pipe.fault = ConnectionError("lost")
    pipe.send(b"x")


def garble(pipe: Pipe) -> None:
    pipe.incoming.put_nowait(7)  # type: ignore[arg-type]


@pytest.mark.parametrize("happen", [lose, garble])
async def test_an_error_of_the_library_ends_the_run(
    pipe: Pipe, receiver: Recorder, happen: Callable[[Pipe], None]
) -> None:
    running = asyncio.ensure_future(pipe.run())
    await settle()
    happen(pipe)
    await running
    assert await receiver.closed == (CLOSE_ABNORMAL, "")


async def test_a_close_that_takes_too_long_becomes_a_cut(clock: VirtualClock, pipe: Pipe, receiver: Recorder) -> None:
    running = asyncio.ensure_future(pipe.run())
    await settle()
    pipe.gate.clear()
    pipe.send(b"x")
    pipe.close()
    await clock.advance(4.9)
    assert not receiver.closed.done()
    await clock.advance(0.2)
    await running
    assert receiver.closed.done()
    assert pipe.written == []
    await pipe.wait_closed()
