"""Middleware around calls, on the side that handles them and on the side that makes them."""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest

from refusion import FusionHub, collect
from refusion.rpc import (
    InboundContext,
    OutboundContext,
    Proceed,
    RpcArgumentError,
    RpcDisconnected,
    RpcHub,
    RpcNoWait,
    RpcServerPeer,
    current_headers,
    current_peer,
)
from refusion.testing import VirtualClock, settle
from tests.unit.remote.stage import CounterApi, CounterService, RemoteStage

from .world import Worker, WorkerService, World


class Notes:
    async def note(self, text: str) -> RpcNoWait:
        raise NotImplementedError


class NotesService(Notes):
    def __init__(self) -> None:
        self.texts: list[str] = []

    async def note(self, text: str) -> RpcNoWait:
        self.texts.append(text)
        return RpcNoWait()


def named(name: str, log: list[str]) -> Any:
    async def middleware(call: InboundContext | OutboundContext, proceed: Proceed) -> Any:
        log.append(f"{name} before")
        try:
            return await proceed()
        finally:
            log.append(f"{name} after")

    return middleware


# Where calls are handled


async def test_the_first_inbound_middleware_is_outermost(world: World) -> None:
    world.server.add_inbound_middleware(named("first", world.log))
    world.server.add_inbound_middleware(named("second", world.log))
    assert await world.worker.add(1, 2) == 3
    assert world.log == ["first before", "second before", "add(1, 2)", "second after", "first after"]


async def test_a_refusal_comes_before_the_handler_and_arrives_as_what_it_is(world: World) -> None:
    async def authenticate(call: InboundContext, proceed: Proceed) -> Any:
        raise PermissionError("who are you?")

    world.server.add_inbound_middleware(authenticate)
    with pytest.raises(PermissionError, match=r"who are you\?"):
        await world.worker.add(1, 2)
    assert world.log == []


async def test_inbound_middleware_sees_the_call_and_who_makes_it(world: World) -> None:
    calls: list[InboundContext] = []

    async def look(call: InboundContext, proceed: Proceed) -> Any:
        calls.append(call)
        assert current_peer() is call.peer
        return await proceed()

    world.server.add_inbound_middleware(look)
    await world.worker.add(1, 2)
    (call,) = calls
    assert (call.method.full_name, list(call.arguments), call.headers) == ("Worker.add", [1, 2], ())
    assert isinstance(call.peer, RpcServerPeer)
    assert call.request is not None
    assert call.request.query["clientId"] == world.peer.client_id


async def test_inbound_middleware_may_change_the_arguments(world: World) -> None:
    async def double(call: InboundContext, proceed: Proceed) -> Any:
        call.arguments = [2 * value for value in call.arguments]
        return await proceed()

    world.server.add_inbound_middleware(double)
    assert await world.worker.add(1, 2) == 6
    assert world.log == ["add(2, 4)"]


async def test_inbound_middleware_may_change_the_result(world: World) -> None:
    async def negate(call: InboundContext, proceed: Proceed) -> Any:
        return -await proceed()

    world.server.add_inbound_middleware(negate)
    assert await world.worker.add(1, 2) == -3


async def test_inbound_middleware_may_answer_itself(world: World) -> None:
    async def answer(call: InboundContext, proceed: Proceed) -> Any:
        return 77

    world.server.add_inbound_middleware(answer)
    assert await world.worker.add(1, 2) == 77
    assert world.log == []


async def test_inbound_middleware_sees_the_error_of_the_handler_and_may_put_another_in_its_place(world: World) -> None:
    async def translate(call: InboundContext, proceed: Proceed) -> Any:
        try:
            return await proceed()
        except ValueError as error:
            raise KeyError(f"not {error}") from error

    world.server.add_inbound_middleware(translate)
    with pytest.raises(KeyError, match="not good"):
        await world.worker.fail("good")


async def test_inbound_middleware_that_proceeds_twice_runs_the_handler_twice(world: World) -> None:
    async def twice(call: InboundContext, proceed: Proceed) -> Any:
        return await proceed() + await proceed()

    world.server.add_inbound_middleware(twice)
    assert await world.worker.add(1, 2) == 6
    assert world.log == ["add(1, 2)", "add(1, 2)"]


async def test_cancelling_a_call_cancels_its_inbound_middleware_and_nothing_is_answered(world: World) -> None:
    world.server.add_inbound_middleware(named("m", world.log))
    call = world.start(world.worker.wait("a"))
    await settle()
    call.cancel()
    await settle()
    assert world.log == ["m before", "wait(a)", "m after"]
    assert world.service.cancelled == ["a"]
    assert len(world.server_peer.inbound) == 0


async def test_inbound_middleware_stands_around_calls_that_nobody_waits_for(world: World) -> None:
    service = NotesService()
    world.server.add_service(Notes, service)
    world.server.add_inbound_middleware(named("m", service.texts))
    await world.peer.wait_connected()
    await world.client.client(Notes, world.peer).note("a")
    await settle()
    assert service.texts == ["m before", "a", "m after"]


async def test_inbound_middleware_stands_around_reverse_calls_of_a_client(world: World) -> None:
    service = WorkerService()
    world.client.add_service(Worker, service)
    world.client.add_inbound_middleware(named("m", service.log))
    await world.peer.wait_connected()
    assert await world.server.client(Worker, world.server_peer).add(1, 2) == 3
    assert service.log == ["m before", "add(1, 2)", "m after"]


async def test_a_method_that_never_suspends_has_a_task_where_there_is_middleware(world: World) -> None:
    tasks: list[Any] = []

    async def look(call: InboundContext, proceed: Proceed) -> Any:
        tasks.append(asyncio.current_task())
        await asyncio.sleep(0)
        return await proceed()

    world.server.add_inbound_middleware(look)
    assert await world.worker.add(1, 2) == 3
    (task,) = tasks
    assert task in world.server_peer.admission.tasks or task.done()
    assert task.get_name() == "Worker.Add:3"


async def test_middleware_that_is_added_later_stands_around_later_calls(world: World) -> None:
    await world.worker.add(1, 2)
    world.server.add_inbound_middleware(named("m", world.log))
    await world.worker.add(3, 4)
    assert world.log == ["add(1, 2)", "m before", "add(3, 4)", "m after"]


# Where calls are made


async def test_the_first_outbound_middleware_is_outermost(world: World) -> None:
    world.client.add_outbound_middleware(named("first", world.log))
    world.client.add_outbound_middleware(named("second", world.log))
    assert await world.worker.add(1, 2) == 3
    assert world.log == ["first before", "second before", "add(1, 2)", "second after", "first after"]


async def test_headers_that_outbound_middleware_adds_are_seen_by_inbound_middleware_and_the_handler(
    world: World,
) -> None:
    seen: list[Any] = []

    class Headers:
        async def headers(self) -> list[str]:
            raise NotImplementedError

    class HeadersService(Headers):
        async def headers(self) -> list[str]:
            await asyncio.sleep(0)
            return [f"{name}={value}" for name, value in current_headers()]

    async def add(call: OutboundContext, proceed: Proceed) -> Any:
        call.headers["token"] = "sécret"
        call.headers["empty"] = ""
        return await proceed()

    async def look(call: InboundContext, proceed: Proceed) -> Any:
        seen.extend([call.header("token"), call.header("empty"), call.header("missing")])
        return await proceed()

    world.server.add_service(Headers, HeadersService())
    world.client.add_outbound_middleware(add)
    world.server.add_inbound_middleware(look)
    assert await world.client.client(Headers, world.peer).headers() == ["token=sécret", "empty="]
    assert seen == ["sécret", "", None]


async def test_headers_go_with_reverse_calls_too(world: World) -> None:
    world.client.add_service(Worker, WorkerService())
    tokens: list[Any] = []

    async def add(call: OutboundContext, proceed: Proceed) -> Any:
        call.headers["token"] = "of the server"
        return await proceed()

    async def look(call: InboundContext, proceed: Proceed) -> Any:
        tokens.append(call.header("token"))
        return await proceed()

    world.server.add_outbound_middleware(add)
    world.client.add_inbound_middleware(look)
    await world.peer.wait_connected()
    await world.server.client(Worker, world.server_peer).add(1, 2)
    assert tokens == ["of the server"]


async def test_headers_go_along_each_time_a_call_is_sent(world: World) -> None:
    tokens: list[Any] = []

    async def add(call: OutboundContext, proceed: Proceed) -> Any:
        call.headers["token"] = "t"
        return await proceed()

    async def look(call: InboundContext, proceed: Proceed) -> Any:
        tokens.append(call.header("token"))
        return await proceed()

    world.client.add_outbound_middleware(add)
    world.server.add_inbound_middleware(look)
    call = world.start(world.worker.wait("a"))
    await settle()
    await world.restart_server()
    world.server.add_inbound_middleware(look)
    await world.clock.advance(5)
    world.service.let_go("a")
    assert await call == "a done"
    assert tokens == ["t", "t"]


async def test_too_many_headers_fail_the_call_and_nothing_is_left_of_it(world: World) -> None:
    async def add(call: OutboundContext, proceed: Proceed) -> Any:
        call.headers.update({f"h{i}": "" for i in range(32)})
        return await proceed()

    await world.peer.wait_connected()
    world.client.add_outbound_middleware(add)
    with pytest.raises(ValueError, match="32 headers and 31 is the limit"):
        await world.worker.add(1, 2)
    assert len(world.peer.outbound) == 0


@pytest.mark.parametrize(("name", "value"), [("token", "\ud800"), ("\ud800", "x"), ("token", 5)])
@pytest.mark.parametrize("format_", ["msgpack6", "json5"])
async def test_a_header_that_is_no_text_fails_its_call_and_names_itself(
    clock: VirtualClock, name: str, value: Any, format_: str
) -> None:
    async with World(clock, format=format_) as world:

        async def add(call: OutboundContext, proceed: Proceed) -> Any:
            call.headers[name] = value
            return await proceed()

        await world.peer.wait_connected()
        world.client.add_outbound_middleware(add)
        with pytest.raises(RpcArgumentError, match=re.escape(f"header {name!r} of Worker.Add:3 can't be sent")):
            await world.worker.add(1, 2)
        world.network.is_refusing = True
        await world.cut()
        waiting = world.start(world.worker.add(1, 2))
        world.network.is_refusing = False
        await clock.advance(20)
        with pytest.raises(RpcArgumentError, match="header"):
            await waiting
        assert len(world.peer.outbound) == 0


async def test_outbound_middleware_may_change_arguments_and_result(world: World) -> None:
    async def change(call: OutboundContext, proceed: Proceed) -> Any:
        call.arguments = [10, 20]
        return -await proceed()

    world.client.add_outbound_middleware(change)
    assert await world.worker.add(1, 2) == -30
    assert world.log == ["add(10, 20)"]


async def test_outbound_middleware_that_raises_makes_no_call(world: World) -> None:
    async def refuse(call: OutboundContext, proceed: Proceed) -> Any:
        raise PermissionError("log in first")

    world.client.add_outbound_middleware(refuse)
    with pytest.raises(PermissionError, match="log in first"):
        await world.worker.add(1, 2)
    assert world.peer.call_count == 0


async def test_outbound_middleware_may_make_a_failed_call_again(world: World) -> None:
    attempts: list[Any] = []

    async def retry(call: OutboundContext, proceed: Proceed) -> Any:
        for _ in range(3):
            try:
                return await proceed()
            except ValueError as error:
                attempts.append((call.call and call.call.id, str(error)))
        return None

    world.client.add_outbound_middleware(retry)
    assert await world.worker.fail("no") is None
    assert [error for _, error in attempts] == ["no"] * 3
    assert len({call_id for call_id, _ in attempts}) == 3
    assert len(world.peer.outbound) == 0


async def test_outbound_middleware_may_make_calls_at_once_and_take_the_first_answer(world: World) -> None:
    async def hedge(call: OutboundContext, proceed: Proceed) -> Any:
        first, second = asyncio.ensure_future(proceed()), asyncio.ensure_future(proceed())
        done, rest = await asyncio.wait([first, second], return_when=asyncio.FIRST_COMPLETED)
        for task in rest:
            task.cancel()
        return done.pop().result()

    world.client.add_outbound_middleware(hedge)
    call = world.start(world.worker.wait("a"))
    await settle()
    assert world.log == ["wait(a)", "wait(a)"]
    world.service.let_go("a")
    assert await call == "a done"
    await settle()
    assert len(world.peer.outbound) == len(world.server_peer.inbound) == 0


async def test_cancelling_who_calls_through_outbound_middleware_cancels_the_handler(world: World) -> None:
    world.client.add_outbound_middleware(named("m", world.log))
    call = world.start(world.worker.wait("a"))
    await settle()
    call.cancel()
    await settle()
    assert world.service.cancelled == ["a"]
    assert world.log == ["m before", "wait(a)", "m after"]
    assert len(world.peer.outbound) == len(world.server_peer.inbound) == 0


async def test_outbound_middleware_stands_around_calls_that_nobody_waits_for(world: World) -> None:
    service = NotesService()
    world.server.add_service(Notes, service)

    async def change(call: OutboundContext, proceed: Proceed) -> Any:
        call.arguments = ["changed"]
        assert await proceed() is None
        assert call.call is None

    world.client.add_outbound_middleware(change)
    await world.peer.wait_connected()
    await world.client.client(Notes, world.peer).note("a")
    await settle()
    assert service.texts == ["changed"]


async def test_outbound_middleware_sees_that_the_hub_is_closed(world: World) -> None:
    errors: list[BaseException] = []

    async def look(call: OutboundContext, proceed: Proceed) -> Any:
        try:
            return await proceed()
        except RpcDisconnected as error:
            errors.append(error)
            raise

    world.client.add_outbound_middleware(look)
    await world.client.aclose()
    with pytest.raises(RpcDisconnected):
        await world.worker.add(1, 2)
    assert len(errors) == 1


# Compute calls


@pytest.fixture
async def stage() -> AsyncIterator[RemoteStage]:
    with VirtualClock() as clock:
        stage = RemoteStage(clock)
        await stage.start()
        yield stage
        await stage.aclose()
        collect()


async def test_inbound_middleware_may_refuse_a_compute_call(stage: RemoteStage) -> None:
    async def refuse(call: InboundContext, proceed: Proceed) -> Any:
        raise PermissionError("no")

    stage.server.add_inbound_middleware(refuse)
    with pytest.raises(PermissionError):
        await stage.client.get("a")
    assert stage.service.log == []
    # Nothing tells when a refusal stops being true, so it isn't kept.
    await stage.clock.advance(1)
    assert stage.open_calls == (0, 0)


async def test_what_inbound_middleware_makes_of_a_value_is_told_and_stands_and_falls_with_it(
    stage: RemoteStage,
) -> None:
    async def add_a_thousand(call: InboundContext, proceed: Proceed) -> Any:
        return 1_000 + await proceed()

    stage.server.add_inbound_middleware(add_a_thousand)
    replica = await stage.client.get.capture("a")
    assert replica.value == 1_000
    stage.service.change("a", 5)
    await settle()
    assert replica.is_invalidated
    assert await stage.client.get("a") == 1_005


async def test_what_inbound_middleware_computes_for_itself_isnt_the_answer(stage: RemoteStage) -> None:
    service = stage.service

    async def look_up(call: InboundContext, proceed: Proceed) -> Any:
        await service.get("before")
        try:
            return await proceed()
        finally:
            await service.get("after")

    stage.values.update(before=1, a=2, after=3)
    stage.server.add_inbound_middleware(look_up)
    replica = await stage.client.get.capture("a")
    assert replica.value == 2
    service.change("before", 10)
    service.change("after", 30)
    await settle()
    assert replica.is_consistent
    service.change("a", 20)
    await settle()
    assert replica.is_invalidated


async def test_an_error_that_inbound_middleware_makes_of_a_value_falls_with_it(stage: RemoteStage) -> None:
    async def check(call: InboundContext, proceed: Proceed) -> Any:
        value = await proceed()
        if value < 0:
            raise ValueError("negative")
        return value

    stage.server.add_inbound_middleware(check)
    stage.values["a"] = -1
    replica = await stage.client.get.capture("a")
    assert isinstance(replica.error, ValueError)
    stage.service.change("a", 1)
    await settle()
    assert replica.is_invalidated
    assert await stage.client.get("a") == 1


async def test_a_fetch_goes_through_outbound_middleware_and_a_hit_doesnt(stage: RemoteStage) -> None:
    log: list[str] = []
    tokens: list[Any] = []

    async def add(call: OutboundContext, proceed: Proceed) -> Any:
        call.headers["token"] = "t"
        return await proceed()

    async def look(call: InboundContext, proceed: Proceed) -> Any:
        tokens.append(call.header("token"))
        return await proceed()

    stage.hub.add_outbound_middleware(named("m", log))
    stage.hub.add_outbound_middleware(add)
    stage.server.add_inbound_middleware(look)
    for _ in range(3):
        assert await stage.client.get("a") == 0
    assert log == ["m before", "m after"]
    assert tokens == ["t"]
    replica = await stage.client.get.capture("a")
    stage.service.change("a", 7)
    await settle()
    assert replica.is_invalidated
    assert await stage.client.get("a") == 7
    assert tokens == ["t", "t"]


async def test_of_compute_calls_that_outbound_middleware_makes_only_the_last_one_stays_open(
    stage: RemoteStage,
) -> None:
    async def twice(call: OutboundContext, proceed: Proceed) -> Any:
        return await proceed() + await proceed()

    stage.values["a"] = 4
    stage.hub.add_outbound_middleware(twice)
    replica = await stage.client.get.capture("a")
    assert replica.value == 8
    await settle()
    assert stage.open_calls == (1, 1)
    stage.service.change("a", 5)
    await settle()
    assert replica.is_invalidated
    assert stage.open_calls == (0, 0)


async def test_an_answer_of_outbound_middleware_itself_is_kept_as_any_value(stage: RemoteStage) -> None:
    async def answer(call: OutboundContext, proceed: Proceed) -> Any:
        return 42

    stage.hub.add_outbound_middleware(answer)
    replica = await stage.client.get.capture("a")
    assert replica.value == 42
    assert stage.peer.call_count == 0
    assert replica.is_consistent


async def test_an_error_of_outbound_middleware_after_the_answer_falls_with_the_value(stage: RemoteStage) -> None:
    async def check(call: OutboundContext, proceed: Proceed) -> Any:
        if await proceed() == 0:
            raise ValueError("none")

    stage.hub.add_outbound_middleware(check)
    replica = await stage.client.get.capture("a")
    assert isinstance(replica.error, ValueError)
    stage.service.change("a", 1)
    await settle()
    assert replica.is_invalidated


async def test_who_is_cancelled_in_outbound_middleware_after_the_answer_leaves_no_call_open(
    stage: RemoteStage,
) -> None:
    async def linger(call: OutboundContext, proceed: Proceed) -> Any:
        value = await proceed()
        await asyncio.Event().wait()
        return value

    stage.hub.add_outbound_middleware(linger)
    reading = asyncio.create_task(stage.client.get("a"))
    await settle()
    assert stage.open_calls == (1, 1)
    reading.cancel()
    await settle()
    assert stage.open_calls == (0, 0)


async def test_a_compute_method_of_a_contract_has_to_be_one_in_the_service_too(stage: RemoteStage) -> None:
    class Forgetful:
        async def get(self, key: str) -> int:
            return 5

        async def total(self, a: str, b: str = "b") -> int:
            return 6

        async def set(self, key: str, value: int) -> None:
            return None

    hub = FusionHub(transport=stage.network)
    with pytest.raises(TypeError, match=r"Forgetful: its get isn't a compute method, as CounterApi.get is"):
        hub.add_service(CounterApi, Forgetful())  # type: ignore[arg-type]
    hub.add_service(CounterApi, CounterService())
    RpcHub(transport=stage.network).add_service(CounterApi, Forgetful())  # type: ignore[arg-type]
