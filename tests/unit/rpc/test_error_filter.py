"""What of an error of a handler its caller gets to see."""

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from refusion import FusionHub, collect
from refusion.errors import PublicError
from refusion.rpc import (
    ErrorFilter,
    RpcArgumentError,
    RpcCallCancelled,
    RpcCallTimeout,
    RpcConnectError,
    RpcDisconnected,
    RpcError,
    RpcHub,
    RpcInternalError,
    RpcLimitExceeded,
    RpcOverloaded,
    RpcProtocolError,
    RpcRemoteError,
    RpcRerouted,
    RpcServiceNotFound,
    RpcStream,
    RpcStreamLost,
    hide_internals,
    show_errors,
)
from refusion.testing import VirtualClock
from tests.unit.remote.stage import LIMITS, CounterApi, CounterService

from .world import Worker, WorkerService, World

SECRET = "the password is 1234"


class NoSuchItem(PublicError):
    pass


class Failing(WorkerService):
    def __init__(self, error: Callable[[], BaseException]) -> None:
        super().__init__()
        self._error = error

    async def add(self, a: int, b: int = 10) -> int:
        raise self._error()

    async def wait(self, key: str) -> str:
        await asyncio.sleep(0)
        raise self._error()


class FilteredWorld(World):
    """A world whose server has an error filter."""

    def __init__(
        self, clock: VirtualClock, error_filter: ErrorFilter | None, error: Callable[[], BaseException]
    ) -> None:
        super().__init__(clock)
        self.error_filter = error_filter
        self.service = Failing(error)

    async def open_hub(self) -> RpcHub:
        hub = RpcHub(transport=self.network, limits=self.limits, error_filter=self.error_filter)
        return await self._stack.enter_async_context(hub)


async def fail(
    clock: VirtualClock, error: Callable[[], BaseException], error_filter: ErrorFilter | None = hide_internals
) -> list[Exception]:
    """Return the errors of a call that is answered at once, and of one that isn't."""
    async with FilteredWorld(clock, error_filter, error) as world:
        outcomes = await asyncio.gather(world.worker.add(1, 2), world.worker.wait("a"), return_exceptions=True)
        assert len(world.peer.outbound) == len(world.server_peer.inbound) == 0
    assert all(isinstance(outcome, Exception) for outcome in outcomes)
    return [outcome for outcome in outcomes if isinstance(outcome, Exception)]


@pytest.mark.parametrize(
    "error",
    [
        lambda: ValueError(SECRET),
        lambda: KeyError(SECRET),
        lambda: type("DatabaseError", (Exception,), {})(SECRET),
        lambda: ExceptionGroup(SECRET, [ValueError(SECRET)]),
        lambda: BaseExceptionGroup(SECRET, [asyncio.CancelledError(), ValueError(SECRET)]),
        lambda: GeneratorExit(SECRET),
        lambda: RpcRemoteError("Some.Exception", SECRET),
        lambda: RpcConnectError(SECRET),
        lambda: RpcDisconnected(SECRET),
        lambda: RpcCallTimeout(SECRET),
        lambda: RpcServiceNotFound(SECRET, ()),
        lambda: RpcProtocolError(SECRET),
        lambda: RpcError(SECRET),
    ],
    ids=[
        "builtin",
        "key",
        "own",
        "group",
        "base group",
        "not an exception",
        "of another service",
        "connect",
        "disconnected",
        "timeout",
        "service",
        "protocol",
        "rpc",
    ],
)
async def test_an_error_that_wasnt_made_to_be_seen_is_a_number_under_which_it_is_logged(
    clock: VirtualClock, error: Callable[[], BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    for seen in await fail(clock, error):
        assert type(seen) is RpcRemoteError
        found = re.fullmatch(
            r"internal error ([0-9a-f]{12}); the log of the service has the details under this number", str(seen)
        )
        assert found is not None, seen
        (record,) = [record for record in caplog.records if found[1] in record.getMessage()]
        assert record.levelno == logging.ERROR
        assert record.exc_info is not None
        assert SECRET in repr(record.exc_info[1])
        assert SECRET not in str(seen)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (lambda: NoSuchItem("item 5 is sold out"), "NoSuchItem: item 5 is sold out"),
        (lambda: RpcArgumentError("a number is needed"), "a number is needed"),
        (lambda: RpcLimitExceeded("a picture", 10, 5), "a picture has 10 bytes and 5 is the limit; send it in parts"),
        (lambda: RpcStreamLost("read on"), "read on"),
        (lambda: RpcInternalError("0123"), str(RpcInternalError("0123"))),
    ],
)
async def test_an_error_that_was_made_to_be_seen_is_seen(
    clock: VirtualClock, error: Callable[[], BaseException], text: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert [str(seen) for seen in await fail(clock, error)] == [text] * 2
    assert caplog.records == []


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (RpcRerouted, "the call belongs elsewhere now"),
        (RpcOverloaded, "too many calls are under way; come again"),
    ],
)
async def test_of_advice_for_callers_only_the_kind_is_seen(
    clock: VirtualClock, kind: type[RpcError], text: str
) -> None:
    """It may be what another service has told the handler, in words of its own."""
    for seen in await fail(clock, lambda: kind(SECRET)):
        assert type(seen) is kind
        assert str(seen) == text


async def test_a_cancellation_by_another_service_is_one_without_its_text() -> None:
    seen = hide_internals(RpcCallCancelled(SECRET))
    assert type(seen) is RpcCallCancelled
    assert SECRET not in str(seen)


async def test_a_cancellation_is_no_secret(clock: VirtualClock) -> None:
    for seen in await fail(clock, asyncio.CancelledError):
        assert isinstance(seen, RpcCallCancelled)


async def test_arguments_that_dont_fit_are_told_in_production_too(clock: VirtualClock) -> None:
    async with FilteredWorld(clock, hide_internals, ValueError) as world:
        with pytest.raises(ValueError, match=r"argument 'a' of Worker.add: Expected `int`, got `str`"):
            await world.worker.add("x", 1)  # type: ignore[arg-type]


async def test_what_is_wrong_with_a_result_is_told_in_production_too(clock: VirtualClock) -> None:
    async with FilteredWorld(clock, hide_internals, ValueError) as world:
        with pytest.raises(RpcError, match="16,252,928 is the limit"):
            await world.worker.zeros(16_300_000)


async def test_by_default_all_is_shown(clock: VirtualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REFUSION_ENV", raising=False)
    assert [str(seen) for seen in await fail(clock, lambda: ValueError(SECRET), None)] == [SECRET] * 2


@pytest.mark.parametrize("value", ["production", "Production"])
async def test_in_production_internals_are_hidden_by_default(
    clock: VirtualClock, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("REFUSION_ENV", value)
    assert all("internal error" in str(seen) for seen in await fail(clock, lambda: ValueError(SECRET), None))


async def test_a_filter_that_was_given_counts_in_production_too(
    clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REFUSION_ENV", "production")
    assert [str(seen) for seen in await fail(clock, lambda: ValueError(SECRET), show_errors)] == [SECRET] * 2


async def test_a_filter_of_ones_own_says_what_is_seen(clock: VirtualClock) -> None:
    def soften(error: BaseException) -> BaseException:
        return PermissionError(f"no ({type(error).__name__})")

    for seen in await fail(clock, lambda: KeyError(SECRET), soften):
        assert isinstance(seen, PermissionError)
        assert str(seen) == "no (KeyError)"


def failing_filter(error: BaseException) -> BaseException:
    raise RuntimeError("the filter is broken")


def forgetful_filter(error: BaseException) -> BaseException:
    return None  # type: ignore[return-value]


@pytest.mark.parametrize("error_filter", [failing_filter, forgetful_filter])
async def test_a_filter_that_fails_lets_nothing_through(
    clock: VirtualClock, error_filter: ErrorFilter, caplog: pytest.LogCaptureFixture
) -> None:
    for seen in await fail(clock, lambda: ValueError(SECRET), error_filter):
        assert "internal error" in str(seen)
        assert SECRET not in str(seen)
    assert "an error filter" in caplog.text


class Feed:
    async def numbers(self) -> RpcStream[int]:
        raise NotImplementedError


class FeedService(Feed):
    def __init__(self, error: BaseException) -> None:
        self._error = error

    async def numbers(self) -> RpcStream[int]:
        async def count() -> AsyncIterator[int]:
            yield 1
            raise self._error

        return RpcStream(count())


async def test_errors_of_streams_are_filtered_too(clock: VirtualClock, caplog: pytest.LogCaptureFixture) -> None:
    async with FilteredWorld(clock, hide_internals, ValueError) as world:
        world.server.add_service(Feed, FeedService(ValueError(SECRET)))
        got: list[int] = []
        with pytest.raises(RpcRemoteError, match=r"internal error [0-9a-f]{12}") as seen:
            async for number in await world.client.client(Feed, world.peer).numbers():
                got.append(number)
        assert got == [1]
        assert SECRET not in str(seen.value)
    assert SECRET in caplog.text


async def test_errors_of_streams_that_were_made_to_be_seen_are_seen(clock: VirtualClock) -> None:
    async with FilteredWorld(clock, hide_internals, ValueError) as world:
        world.server.add_service(Feed, FeedService(NoSuchItem("gone")))
        with pytest.raises(RpcRemoteError, match="NoSuchItem: gone"):
            async for _ in await world.client.client(Feed, world.peer).numbers():
                pass


async def test_errors_of_compute_calls_are_filtered_too() -> None:
    with VirtualClock():
        async with World(VirtualClock()) as world:
            service = CounterService()
            service.fail_with["a"] = ValueError(SECRET)
            async with (
                FusionHub(transport=world.network, limits=LIMITS, error_filter=hide_internals) as server,
                FusionHub(transport=world.network, limits=LIMITS) as client,
            ):
                server.add_service(CounterApi, service)
                api = client.client(CounterApi, (await server.serve("memory")).url)
                with pytest.raises(RpcRemoteError, match=r"internal error [0-9a-f]{12}"):
                    await api.get("a")
            collect()


async def test_errors_of_reverse_calls_are_filtered_by_the_client(clock: VirtualClock) -> None:
    async with FilteredWorld(clock, hide_internals, lambda: ValueError(SECRET)) as world:
        world.client.add_service(Worker, Failing(lambda: ValueError(SECRET)))
        await world.peer.wait_connected()
        with pytest.raises(RpcRemoteError, match=r"internal error"):
            await world.server.client(Worker, world.server_peer).add(1, 2)


async def test_what_a_service_was_told_by_another_one_isnt_passed_on(clock: VirtualClock) -> None:
    """A service of ours may show all to us, and we are asked by strangers."""
    async with World(clock) as inner:
        inner.service.__class__ = type("Talkative", (WorkerService,), {"add": _tell})
        async with RpcHub(transport=inner.network, error_filter=hide_internals, limits=inner.limits) as gateway:

            class Relay(WorkerService):
                async def wait(self, key: str) -> str:
                    return str(await gateway.client(Worker, inner.url).add(1, 2))

            gateway.add_service(Worker, Relay())
            caller = inner.client.client(Worker, (await gateway.serve()).url)
            with pytest.raises(RpcRemoteError, match="internal error") as seen:
                await caller.wait("a")
            assert SECRET not in str(seen.value)


async def _tell(self: Any, a: int, b: int = 10) -> int:
    raise ValueError(SECRET)
