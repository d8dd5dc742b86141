"""Methods that never suspend: their calls are answered where they arrive, without a task."""

import asyncio
import logging
from contextvars import ContextVar
from typing import Any

import pytest

from refusion.rpc import RpcError, RpcNoWait, TraceContext, current_headers, current_peer, enter_trace
from refusion.rpc._served_method import never_suspends
from refusion.rpc.protocol import RpcMessage
from refusion.rpc.protocol._system_calls import ERROR, OK
from refusion.rpc.transports.memory import Direction
from refusion.testing import settle

from .world import RawPeer, WorkerService, World

_user: ContextVar[str] = ContextVar("user", default="nobody")


class Quick:
    async def user(self) -> str:
        raise NotImplementedError

    async def become(self, user: str) -> str:
        raise NotImplementedError

    async def task(self) -> bool:
        raise NotImplementedError

    async def stop(self, text: str) -> int:
        raise NotImplementedError

    async def note(self, text: str) -> RpcNoWait:
        raise NotImplementedError

    async def wrong(self) -> int:
        raise NotImplementedError

    async def keyword(self, *, a: int, b: int = 2) -> int:
        raise NotImplementedError


class QuickService(Quick):
    def __init__(self) -> None:
        self.notes: list[str] = []

    async def user(self) -> str:
        return _user.get()

    async def become(self, user: str) -> str:
        before = _user.get()
        _user.set(user)
        return f"{before} {current_peer().is_server} {current_headers()}"

    async def task(self) -> bool:
        return asyncio.current_task() is not None

    async def stop(self, text: str) -> int:
        raise {"interrupt": KeyboardInterrupt, "exit": SystemExit, "cancel": asyncio.CancelledError}[text]

    async def note(self, text: str) -> RpcNoWait:
        self.notes.append(text)
        if text == "bad":
            raise ValueError("can't note that")
        return RpcNoWait()

    async def wrong(self) -> int:
        return object()  # type: ignore[return-value]

    async def keyword(self, *, a: int, b: int = 2) -> int:
        return 10 * a + b


def serve(world: World) -> tuple[QuickService, Quick]:
    service = QuickService()
    world.server.add_service(Quick, service)
    return service, world.client.client(Quick, world.peer)


async def test_a_method_without_an_await_runs_without_a_task(world: World) -> None:
    _, quick = serve(world)
    assert await quick.task() is False


async def test_its_result_is_answered_with_the_frame_that_the_call_came_in(world: World) -> None:
    raw = await RawPeer.connect(world)
    await raw.introduce()
    (peer,) = [peer for peer in world.server.server_peers if peer.client_id == "raw"]
    assert peer.link is not None
    peer.link.frame_received(raw.frame(RpcMessage("Worker.Add:3", 1, 0, raw.arguments(1, 2))), is_text=False)
    peer.link.flush()
    await settle(2)
    assert raw.methods == [OK]


async def test_each_call_has_a_context_of_its_own(world: World) -> None:
    _, quick = serve(world)
    _user.set("the caller")
    assert await quick.become("first") == "nobody True ()"
    assert await quick.user() == "nobody"
    assert await quick.become("second") == "nobody True ()"
    assert _user.get() == "the caller"


async def test_its_error_is_an_answer(world: World) -> None:
    with pytest.raises(ValueError, match="no good"):
        await world.worker.fail("no good")


async def test_a_result_that_cant_be_written_is_an_error(world: World) -> None:
    _, quick = serve(world)
    with pytest.raises(RpcError, match="can't be written"):
        await quick.wrong()


async def test_arguments_that_dont_fit_are_an_error(world: World) -> None:
    with pytest.raises(ValueError, match=r"argument 'a' of Worker.add"):
        await world.worker.add("x", 1)  # type: ignore[arg-type]
    assert world.log == []


async def test_it_may_have_parameters_by_keyword(world: World) -> None:
    _, quick = serve(world)
    assert await quick.keyword(a=1) == 12


async def test_a_method_that_says_it_is_cancelled_is_answered_with_that(world: World) -> None:
    _, quick = serve(world)
    with pytest.raises(RpcError, match="cancelled"):
        await quick.stop("cancel")


async def test_nobody_hears_of_a_call_that_nobody_waits_for(world: World, caplog: pytest.LogCaptureFixture) -> None:
    service, quick = serve(world)
    await world.peer.wait_connected()
    frames: list[bytes] = []
    world.network.fault = lambda direction, frame: frames.append(frame) if direction is Direction.TO_CLIENT else None
    with caplog.at_level(logging.ERROR):
        await quick.note("a")
        await quick.note("bad")
        await settle()
    assert service.notes == ["a", "bad"]
    assert frames == []
    assert "Quick.note failed, and nobody waits for it" in caplog.text


@pytest.mark.parametrize(("text", "error"), [("interrupt", KeyboardInterrupt), ("exit", SystemExit)])
async def test_what_ends_the_process_passes(world: World, text: str, error: type[BaseException]) -> None:
    serve(world)
    raw = await RawPeer.connect(world)
    await raw.introduce()
    (peer,) = [peer for peer in world.server.server_peers if peer.client_id == "raw"]
    assert peer.link is not None
    with pytest.raises(error):
        peer.link.frame_received(raw.frame(RpcMessage("Quick.Stop:2", 1, 0, raw.arguments(text))), is_text=False)
    assert raw.methods == []


async def test_a_call_with_headers_has_a_task_in_whose_context_they_are(world: World) -> None:
    _, quick = serve(world)
    with enter_trace(TraceContext("0" * 55)):
        assert await quick.task() is True


async def test_a_method_that_is_replaced_by_one_that_suspends_has_a_task_from_then_on(world: World) -> None:
    assert await world.worker.add(1, 2) == 3

    class Slow(WorkerService):
        async def add(self, a: int, b: int = 10) -> int:
            await asyncio.sleep(0)
            assert asyncio.current_task() is not None
            return 100

    world.service.__class__ = Slow
    assert await world.worker.add(1, 2) == 100
    world.service.__class__ = WorkerService
    assert await world.worker.add(1, 2) == 3


async def test_a_method_that_is_replaced_on_the_instance_is_called(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def add(a: int, b: int = 10) -> int:
        await asyncio.sleep(0)
        return 77

    monkeypatch.setattr(world.service, "add", add)
    assert await world.worker.add(1, 2) == 77


async def test_calls_of_both_kinds_in_one_frame_are_all_answered(world: World) -> None:
    raw = await RawPeer.connect(world)
    await raw.introduce()
    calls = [RpcMessage("Worker.Add:3", i, 0, raw.arguments(i, 0)) for i in (1, 3)]
    await raw.send(calls[0], RpcMessage("Worker.Wait:2", 2, 0, raw.arguments("a")), calls[1])
    assert [message.related_id for message in raw.received[1:]] == [1, 3]
    world.service.let_go("a")
    await settle()
    assert [message.related_id for message in raw.received[1:]] == [1, 3, 2]


async def test_a_call_that_comes_twice_is_run_twice_as_it_was_over_by_then(world: World) -> None:
    raw = await RawPeer.connect(world)
    await raw.introduce()
    call = RpcMessage("Worker.Add:3", 1, 0, raw.arguments(1, 2))
    await raw.send(call, call)
    assert world.log == ["add(1, 2)", "add(1, 2)"]
    assert raw.methods == [OK, OK]


async def test_a_closing_server_runs_none(world: World) -> None:
    raw = await RawPeer.connect(world)
    await raw.introduce()
    (peer,) = [peer for peer in world.server.server_peers if peer.client_id == "raw"]
    peer.takes_calls = False
    await raw.send(RpcMessage("Worker.Add:3", 1, 0, raw.arguments(1, 2)))
    assert world.log == raw.methods == []


# Which methods these are


class Sample:
    async def plain(self) -> int:
        return 1

    async def raising(self) -> int:
        raise ValueError

    async def awaiting(self) -> int:
        return await self.plain()

    async def looping(self) -> list[int]:
        return [n async for n in self.generator()]

    async def managing(self) -> None:
        async with asyncio.timeout(1):
            pass

    async def generator(self) -> Any:
        yield 1

    async def nested(self) -> Any:
        async def inner() -> None:
            await asyncio.sleep(0)

        return inner

    def not_async(self) -> int:
        return 1

    def returns_a_coroutine(self) -> Any:
        return self.awaiting()

    @staticmethod
    async def static() -> int:
        return 1

    @classmethod
    async def of_class(cls) -> int:
        return 1


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("plain", True),
        ("raising", True),
        ("nested", True),
        ("of_class", True),
        ("awaiting", False),
        ("looping", False),
        ("managing", False),
        ("generator", False),
        ("not_async", False),
        ("returns_a_coroutine", False),
        ("static", False),
    ],
)
def test_a_coroutine_function_without_an_await_never_suspends(name: str, expected: bool) -> None:
    assert never_suspends(getattr(Sample(), name)) is expected


def test_what_isnt_a_function_isnt_looked_into() -> None:
    assert not never_suspends(len)
    assert not never_suspends(print)


async def test_the_error_of_an_unknown_method_has_no_run_either(world: World) -> None:
    raw = await RawPeer.connect(world)
    await raw.introduce()
    await raw.send(RpcMessage("Worker.Nothing:1", 1, 0, b""))
    assert raw.methods == [ERROR]
