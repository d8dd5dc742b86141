"""A kind of calls that another layer adds: its calls stay open after their answers, until word comes."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from refusion.rpc import InboundCall, OutboundCall, RpcCallKind, RpcHub, RpcPeer
from refusion.rpc.protocol import CallStage, RpcMessage
from refusion.rpc.protocol._system_calls import INVALIDATE
from refusion.testing import VirtualClock, settle

from .world import Worker, World


class Watch(OutboundCall):
    __slots__ = ("news",)

    call_type = 1

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.news: list[str] = []

    def end(self, error: Exception | None, value: Any = None) -> None:
        if self.peer.is_closing:
            super().end(error, value)
            self.news.append("closed")
            return
        self.stage = CallStage.RESULT_READY
        self.settle(error, value)

    def peer_forgot(self) -> None:
        super().peer_forgot()
        self.news.append("forgotten")


class Watched(InboundCall):
    def replied(self) -> None:
        pass

    def repeat(self, stage: int) -> None:
        super().repeat(stage)
        self.peer.hub.repeats.append(stage)  # type: ignore[attr-defined]


class WatchKind(RpcCallKind):
    call_type = 1
    outbound_class = Watch
    inbound_class = Watched

    def claims(self, attribute: Any) -> bool:
        return attribute.__name__ in ("wait", "add", "fail")

    def system_methods(self) -> dict[str, Callable[[RpcPeer, RpcMessage], None]]:
        return {INVALIDATE: on_invalidate}


def on_invalidate(peer: RpcPeer, message: RpcMessage) -> None:
    call = peer.outbound.remove(message.related_id)
    if isinstance(call, Watch):
        call.news.append("invalidated")


class WatchingHub(RpcHub):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.repeats: list[int] = []
        self.add_call_kind(WatchKind())


class WatchingWorld(World):
    async def open_hub(self) -> RpcHub:
        return await self._stack.enter_async_context(WatchingHub(transport=self.network))

    async def watch(self, name: str, *values: Any) -> Watch:
        definition = self.client.table.define(Worker)
        (method,) = [method for method in definition.methods.values() if method.name == name]
        call = self.peer.start(method, values)
        assert isinstance(call, Watch)
        return call


@pytest.fixture
async def world(clock: VirtualClock) -> AsyncIterator[WatchingWorld]:
    async with WatchingWorld(clock) as world:
        yield world


async def test_a_call_of_the_kind_stays_open_on_both_sides_after_its_answer(world: WatchingWorld) -> None:
    call = await world.watch("add", 1, 2)
    assert await call.wait() == 3
    assert list(world.peer.outbound) == [call]
    (inbound,) = world.server_peer.inbound
    assert inbound.call_type == 1


async def test_an_error_is_an_answer_too(world: WatchingWorld) -> None:
    call = await world.watch("fail", "no")
    with pytest.raises(ValueError, match="no"):
        await call.wait()
    assert list(world.peer.outbound) == [call]


async def test_messages_of_the_kind_reach_it(world: WatchingWorld) -> None:
    call = await world.watch("add", 1, 2)
    await call.wait()
    world.server_peer.post(RpcMessage(INVALIDATE, call.id))
    await settle()
    assert call.news == ["invalidated"]
    assert len(world.peer.outbound) == 0


async def test_a_method_of_another_kind_isnt_affected(world: WatchingWorld) -> None:
    assert await world.worker.size(b"abc") == 3
    assert len(world.peer.outbound) == len(world.server_peer.inbound) == 0


async def test_cancelling_ends_it_on_both_sides(world: WatchingWorld) -> None:
    call = await world.watch("add", 1, 2)
    await call.wait()
    call.cancel()
    await settle()
    assert len(world.peer.outbound) == len(world.server_peer.inbound) == 0


async def test_after_a_reconnect_the_same_server_is_asked_by_stage(world: WatchingWorld) -> None:
    answered = await world.watch("add", 1, 2)
    await answered.wait()
    waiting = await world.watch("wait", "a")
    await settle()
    await world.cut()
    await world.clock.advance(5)

    assert isinstance(world.server, WatchingHub)
    assert sorted(world.server.repeats) == [CallStage.WAITING, CallStage.RESULT_READY]
    world.service.let_go("a")
    assert await waiting.wait() == "a done"
    assert answered.news == []
    assert world.log == ["add(1, 2)", "wait(a)"]


async def test_what_the_same_server_has_forgotten_is_told_so_and_not_run_again(world: WatchingWorld) -> None:
    call = await world.watch("add", 1, 2)
    await call.wait()
    world.server_peer.inbound.clear()
    await world.cut()
    await world.clock.advance(5)
    assert call.news == ["forgotten"]
    assert world.log == ["add(1, 2)"]
    assert len(world.peer.outbound) == 0


async def test_a_restarted_server_has_forgotten_answers_and_gets_open_calls_again(world: WatchingWorld) -> None:
    answered = await world.watch("add", 1, 2)
    await answered.wait()
    waiting = await world.watch("wait", "a")
    await settle()

    await world.restart_server()
    await world.clock.advance(5)
    world.service.let_go("a")

    assert await waiting.wait() == "a done"
    assert answered.news == ["forgotten"]
    assert world.log == ["add(1, 2)", "wait(a)", "wait(a)"]


async def test_the_end_of_the_peer_is_told_to_all(world: WatchingWorld) -> None:
    call = await world.watch("add", 1, 2)
    await call.wait()
    await world.peer.aclose()
    assert call.news == ["closed"]
    assert len(world.peer.outbound) == 0


async def test_the_end_of_the_server_peer_cancels_what_it_has_answered(world: WatchingWorld) -> None:
    call = await world.watch("add", 1, 2)
    await call.wait()
    peer = world.server_peer
    (inbound,) = peer.inbound
    await peer.aclose()
    assert inbound.is_cancelled
    assert len(peer.inbound) == 0


async def test_arguments_that_cant_be_sent_end_a_call_of_any_kind(world: WatchingWorld) -> None:
    await world.peer.wait_connected()
    call = await world.watch("add", object(), 2)
    with pytest.raises(ValueError, match="can't be written"):
        await call.wait()
    assert len(world.peer.outbound) == 0


async def test_a_call_of_a_kind_that_the_method_doesnt_have_is_refused(world: WatchingWorld) -> None:
    definition = world.client.table.define(Worker)
    (method,) = [method for method in definition.methods.values() if method.name == "size"]
    method.kind = 1
    with pytest.raises(Exception, match=r"Invalid CallTypeId: 1\."):
        await world.worker.size(b"")
