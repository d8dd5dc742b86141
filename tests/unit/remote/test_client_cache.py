"""What clients with a cache show before, and after, their server has answered."""

import asyncio
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any

import pytest

from refusion import Computed, ComputedState, FixedDelayer, FusionHub, collect, compute_method
from refusion.remote import CachedValue, MemoryCache, Synchronizer
from refusion.rpc import MethodDefinition, OutboundContext, Proceed, RpcDisconnected, RpcRef
from refusion.rpc.protocol import RpcMessage
from refusion.rpc.transports.memory import Direction, Fault
from refusion.testing import settle

from .cached_stage import CachedStage
from .stage import LIMITS, URL, CounterApi

PRECISE = Synchronizer.PRECISE


@pytest.fixture
def stage(cached_stage: CachedStage) -> CachedStage:
    return cached_stage


async def test_what_is_not_in_the_cache_is_fetched_and_synchronized_from_birth(stage: CachedStage) -> None:
    await stage.open_online_client()
    replica = await stage.replica("a")
    assert PRECISE.is_synchronized(replica)
    assert len(stage.keys) == 1


async def test_a_cached_value_is_shown_at_once_and_confirmed_by_a_match(stage: CachedStage) -> None:
    await stage.remember(a=1)
    await stage.open_online_client()
    replica = await stage.replica("a")
    assert replica.value == 1
    assert not PRECISE.is_synchronized(replica)

    await settle()

    assert replica.is_consistent
    assert PRECISE.is_synchronized(replica)
    assert await stage.replica("a") is replica
    assert stage.peer.call_count == 1
    stage.service.change("a", 2)
    await settle()
    assert replica.is_invalidated


async def test_an_unchanged_value_costs_a_header_in_place_of_a_payload(stage: CachedStage) -> None:
    await stage.remember(a=1)
    answers: list[bytes] = []
    await stage.open_online_client()

    def watch(way: Direction, frame: Any) -> None:
        if way is Direction.TO_CLIENT:
            answers.append(bytes(frame))

    stage.network.fault = watch
    await stage.replica("a")
    await settle()
    format_ = stage.peer.format
    (answer,) = format_.read(answers[0], stage.hub.table.names).messages
    assert answer == RpcMessage("$sys.M:0", 1)


async def test_a_changed_value_takes_the_place_of_the_cached_one(stage: CachedStage) -> None:
    await stage.remember(a=1)
    stage.values["a"] = 2
    stage.service.get.invalidate("a")
    await stage.open_online_client()
    shown = await stage.replica("a")
    assert shown.value == 1

    await settle()

    assert shown.is_invalidated
    assert PRECISE.is_synchronized(shown)
    fresh = stage.client.get.existing("a")
    assert fresh is not None
    assert fresh.is_consistent
    assert fresh.value == 2
    assert await stage.replica("a") is fresh
    assert PRECISE.is_synchronized(fresh)
    assert stage.peer.call_count == 1
    assert stage.reads == ["a", "a"]


async def test_the_successor_of_a_cached_value_releases_its_call_when_it_is_invalidated(stage: CachedStage) -> None:
    await stage.remember(a=1)
    stage.service.change("a", 2)
    await stage.open_online_client()
    await stage.replica("a")
    await settle()
    fresh = await stage.replica("a")
    assert stage.open_calls == (1, 1)
    fresh.invalidate()
    await settle()
    assert stage.open_calls == (0, 0)


async def test_what_is_built_on_a_cached_value_follows_when_that_is_replaced(stage: CachedStage) -> None:
    await stage.remember(a=1)
    stage.service.change("a", 2)
    client = await stage.open_online_client()

    class Local:
        @compute_method
        async def doubled(self, key: str) -> int:
            return 2 * await client.get(key)

    local = Local()
    computed = await local.doubled.capture("a")
    assert computed.value == 2
    assert not PRECISE.is_synchronized(computed)
    await settle()
    assert computed.is_invalidated
    assert await local.doubled("a") == 4


async def test_a_client_starts_without_any_network_and_shows_what_it_knew(stage: CachedStage) -> None:
    await stage.remember(a=1, b=2)
    await stage.stop_server()
    stage.network.is_refusing = True
    client = stage.open_client()
    assert [await client.get("a"), await client.get("b")] == [1, 2]
    replica = await stage.replica("a")
    await stage.clock.advance(300)
    assert replica.is_consistent
    assert not PRECISE.is_synchronized(replica)

    stage.service.change("a", 5)
    await stage.start_server()
    await stage.reconnect()
    await stage.hub.synchronized()
    assert replica.is_invalidated
    assert await client.get("a") == 5
    assert await client.get("b") == 2


async def test_what_was_never_known_waits_for_the_network(stage: CachedStage) -> None:
    stage.network.is_refusing = True
    client = stage.open_client()
    call = asyncio.create_task(client.get("a"))
    await stage.clock.advance(100)
    assert not call.done()
    await stage.reconnect()
    assert await call == 0


async def test_a_state_shows_the_cached_value_and_then_the_true_one(stage: CachedStage) -> None:
    await stage.remember(a=1)
    stage.service.change("a", 2)
    client = stage.open_client()
    seen: list[int] = []
    async with ComputedState(lambda: client.get("a"), update_delayer=FixedDelayer(0)) as state:
        state.on_updated(lambda state: seen.append(state.value))
        await stage.clock.advance(1)
    assert seen == [1, 2]


async def test_an_invalidated_value_is_fetched_and_not_shown_again(stage: CachedStage) -> None:
    await stage.open_online_client()
    await stage.replica("a")
    stage.service.change("a", 3)
    await settle()
    replica = await stage.replica("a")
    assert replica.value == 3
    assert PRECISE.is_synchronized(replica)


async def test_after_a_restart_of_the_server_values_that_are_the_same_are_matched(stage: CachedStage) -> None:
    client = await stage.open_online_client()
    stage.values["a"] = 7
    replica = await stage.replica("a")
    await stage.restart_server()
    await stage.reconnect()
    assert replica.is_invalidated
    sent: list[Any] = []
    stage.network.fault = lambda way, frame: sent.append((way, bytes(frame)))
    assert await client.get("a") == 7
    answers = [frame for way, frame in sent if way is Direction.TO_CLIENT]
    (answer,) = stage.peer.format.read(answers[0], stage.hub.table.names).messages
    assert answer.method == "$sys.M:0"


async def test_during_an_outage_an_invalidated_value_is_shown_again_until_its_end(stage: CachedStage) -> None:
    await stage.open_online_client()
    stage.values["a"] = 1
    first = await stage.replica("a")
    await stage.cut()
    first.invalidate()
    second = await stage.replica("a")
    assert second.value == 1
    assert not PRECISE.is_synchronized(second)
    second.invalidate()
    third = await stage.replica("a")
    assert third.value == 1
    stage.service.change("a", 2)

    await stage.reconnect()

    assert third.is_invalidated
    assert str(third.invalidation_source) == "its server can be asked again"
    assert (await stage.replica("a")).value == 2
    assert all(map(PRECISE.is_synchronized, (second, third)))


async def test_a_connection_that_breaks_during_a_call_shows_the_value_of_before(stage: CachedStage) -> None:
    await stage.open_online_client()
    stage.values["a"] = 1
    await stage.replica("a")
    stage.service.gates["a"] = asyncio.Event()
    stage.service.change("a", 2)
    await settle()
    call = asyncio.create_task(stage.replica("a"))
    await settle()
    assert not call.done()

    await stage.cut()
    shown = await call
    assert shown.value == 1
    assert not PRECISE.is_synchronized(shown)

    stage.service.gates.pop("a").set()
    await stage.reconnect()
    assert shown.is_invalidated
    assert (await stage.replica("a")).value == 2
    assert PRECISE.is_synchronized(shown)
    assert stage.open_calls == (1, 1)


async def test_an_error_of_the_server_wipes_what_is_cached(stage: CachedStage) -> None:
    await stage.remember(a=1)
    stage.service.fail_with["a"] = KeyError("gone")
    stage.service.get.invalidate("a")
    await stage.open_online_client()
    shown = await stage.replica("a")
    assert shown.value == 1
    await settle()
    assert shown.is_invalidated
    assert len(stage.keys) == 0
    replica = await stage.replica("a")
    assert isinstance(replica.error, KeyError)
    assert PRECISE.is_synchronized(replica)
    assert stage.peer.call_count == 1


async def test_what_was_replaced_is_not_what_is_known_last(stage: CachedStage) -> None:
    await stage.remember(a=1)
    stage.service.change("a", 2)
    await stage.open_online_client()
    assert (await stage.replica("a")).value == 1
    await settle()
    assert (await stage.replica("a")).value == 2

    # It is dropped, not invalidated, and then there is no link.
    await stage.clock.advance(200)
    collect()
    assert stage.client.get.existing("a") is None
    await stage.cut()

    assert (await stage.replica("a")).value == 2


async def test_what_an_error_has_wiped_is_not_shown_without_a_link(stage: CachedStage) -> None:
    await stage.remember(a=1)
    stage.service.fail_with["a"] = KeyError("a")
    stage.service.change("a", 2)
    client = await stage.open_online_client()
    assert await client.get("a") == 1
    await settle()
    await stage.cut()
    await stage.clock.advance(31)

    call = asyncio.create_task(client.get("a"))
    await settle()
    assert not call.done()

    await stage.reconnect()
    with pytest.raises(KeyError):
        await call


@pytest.mark.parametrize("closed", ["peer", "hub"])
async def test_what_is_closed_says_so_whatever_is_cached(stage: CachedStage, closed: str) -> None:
    await stage.remember(a=1, b=2)
    client = await stage.open_online_client()
    replica = await stage.replica("a")
    await settle()
    await (stage.hub if closed == "hub" else stage.peer).aclose()
    assert replica.is_invalidated
    for key in "ab":
        with pytest.raises(RpcDisconnected, match="closed"):
            await client.get(key)


async def test_a_question_that_fails_does_not_bring_back_what_was_invalidated(stage: CachedStage) -> None:
    is_failing = False

    async def fail(call: OutboundContext, proceed: Proceed) -> Any:
        if is_failing:
            raise ConnectionError("no")
        return await proceed()

    await stage.remember(a=1)
    client = await stage.open_online_client()
    stage.hub.add_outbound_middleware(fail)
    await client.get("a")
    await settle()
    stage.service.gates["a"] = asyncio.Event()
    stage.service.change("a", 2)
    await settle()

    is_failing = True
    with pytest.raises(ConnectionError):
        await client.get("a")
    is_failing = False
    await stage.clock.advance(2)
    call = asyncio.create_task(client.get("a"))
    await settle()
    assert not call.done()
    stage.service.gates.pop("a").set()
    assert await call == 2


async def test_a_question_that_gets_no_answer_leaves_the_cache_as_it_is(stage: CachedStage) -> None:
    await stage.remember(a=1)
    await stage.cut()
    stage.open_client()
    replica = await stage.replica("a")
    await settle()
    await stage.hub.aclose()
    assert replica.is_invalidated
    assert len(stage.keys) == 1


async def test_a_cancellation_by_the_server_invalidates_what_was_shown(stage: CachedStage) -> None:
    await stage.remember(a=1)
    stage.service.fail_with["a"] = asyncio.CancelledError()
    stage.service.get.invalidate("a")
    await stage.open_online_client()
    shown = await stage.replica("a")
    await stage.clock.advance(30)
    assert shown.is_invalidated
    assert len(stage.keys) == 1
    del stage.service.fail_with["a"]
    assert (await stage.replica("a")).value == 1


async def test_asking_about_a_cached_value_does_not_end_with_its_caller(stage: CachedStage) -> None:
    await stage.remember(a=1)
    await stage.cut()
    client = stage.open_client()
    call = asyncio.create_task(client.get.capture("a"))
    replica = await call
    del call
    await stage.reconnect()
    assert PRECISE.is_synchronized(replica)


async def test_asking_about_a_cached_value_ends_when_nobody_has_it_any_more(stage: CachedStage) -> None:
    await stage.remember(a=1)
    await stage.cut()
    await stage.open_client().get("a")
    await settle()
    assert len(stage.peer.outbound) == 1
    await stage.clock.advance(100)
    collect()
    await settle()
    assert len(stage.peer.outbound) == 0


async def test_an_invalidation_that_overtakes_the_answer_about_a_cached_value_makes_it_be_fetched_again(
    stage: CachedStage,
) -> None:
    await stage.remember(a=1)
    stage.service.gates["a"] = asyncio.Event()
    stage.service.get.invalidate("a")
    await stage.open_online_client()
    shown = await stage.replica("a")
    await settle()
    stage.server.server_peers[-1].post(RpcMessage("$sys-c.Invalidate:0", 1))
    await settle()
    assert shown.is_invalidated
    stage.service.gates.pop("a").set()
    assert (await stage.replica("a")).value == 1


async def test_a_match_without_anything_cached_is_an_error_of_that_call(stage: CachedStage) -> None:
    await stage.open_online_client()
    stage.service.gates["a"] = asyncio.Event()
    call = asyncio.create_task(stage.replica("a"))
    await settle()
    stage.server.server_peers[-1].post(RpcMessage("$sys.M:0", 1))
    assert "nothing is cached" in str((await call).error)


async def test_the_first_answer_counts(stage: CachedStage) -> None:
    await stage.remember(a=1)
    await stage.open_online_client()
    replica = await stage.replica("a")
    await settle()
    (call,) = stage.peer.outbound
    for message in (RpcMessage("$sys.Ok:1", call.id, 0, b"\x02"), RpcMessage("$sys.M:0", call.id)):
        stage.peer.handlers[message.method](stage.peer, message)
    await settle()
    assert replica.is_consistent
    assert [value.data for value in stage.cache._entries.values()] == [b"\x01"]

    stage.service.gates["a"] = asyncio.Event()
    stage.service.change("a", 2)
    await settle()
    again = asyncio.create_task(stage.replica("a"))
    await settle()
    (call,) = stage.peer.outbound
    for message in (RpcMessage("$sys.M:0", call.id), RpcMessage("$sys.Ok:1", call.id, 0, b"\x02")):
        stage.peer.handlers[message.method](stage.peer, message)
    assert (await again).value == 1
    assert [value.data for value in stage.cache._entries.values()] == [b"\x01"]


async def test_a_lost_match_is_told_again(stage: CachedStage) -> None:
    await stage.remember(a=1)
    await stage.open_online_client()
    stage.network.fault = lambda way, _: Fault.LOSE_AND_CUT if way is Direction.TO_CLIENT else None
    shown = await stage.replica("a")
    await settle()
    stage.network.fault = lambda *_: None
    await stage.reconnect()
    assert shown.is_consistent
    assert PRECISE.is_synchronized(shown)
    assert stage.reads == ["a"]


async def test_a_method_may_stay_out_of_the_cache(stage: CachedStage) -> None:
    class Secrets:
        @compute_method(client_cache=False)
        async def get(self, key: str) -> int:
            raise NotImplementedError

    class SecretService(Secrets):
        @compute_method
        async def get(self, key: str) -> int:
            return 42

    stage.server.add_service(Secrets, SecretService())
    await stage.open_online_client()
    assert await stage.hub.client(Secrets, URL).get("a") == 42
    assert len(stage.keys) == 0


async def test_a_refresh_delayer_postpones_the_question(stage: CachedStage) -> None:
    await stage.remember(a=1)
    asked: list[tuple[str, Sequence[Any]]] = []

    async def delay(method: MethodDefinition, values: Sequence[Any]) -> None:
        asked.append((method.full_name, values))
        await stage.clock.sleep(10)

    await stage.open_online_client(refresh_delayer=delay)
    replica = await stage.replica("a")
    await stage.clock.advance(9)
    assert asked == [("CounterApi.get", ("a",))]
    assert not PRECISE.is_synchronized(replica)
    await stage.clock.advance(2)
    assert PRECISE.is_synchronized(replica)


async def test_a_refresh_delayer_that_fails_delays_nothing(stage: CachedStage) -> None:
    await stage.remember(a=1)

    async def delay(method: MethodDefinition, values: Sequence[Any]) -> None:
        raise RuntimeError("no")

    await stage.open_online_client(refresh_delayer=delay)
    replica = await stage.replica("a")
    await settle()
    assert PRECISE.is_synchronized(replica)


class FailingCache(MemoryCache):
    def __init__(self, *failing: str) -> None:
        super().__init__()
        self.failing = failing

    async def open(self, version: str) -> None:
        if "open" in self.failing:
            raise OSError("the disk is gone")
        await super().open(version)

    async def get(self, key: bytes) -> CachedValue | None:
        if "get" in self.failing:
            raise OSError("unreadable")
        return await super().get(key)

    def set(self, key: bytes, value: CachedValue) -> None:
        if "set" in self.failing:
            raise OSError("full")
        super().set(key, value)


@pytest.mark.parametrize("failing", ["open", "get", "set"])
async def test_a_cache_that_fails_is_as_good_as_none(stage: CachedStage, failing: str) -> None:
    stage.cache = FailingCache(failing)
    client = await stage.open_online_client()
    assert await client.get("a") == 0
    stage.service.change("a", 1)
    await settle()
    assert await client.get("a") == 1


async def test_whoever_is_cancelled_while_the_cache_is_opened_others_find_what_it_has(stage: CachedStage) -> None:
    gate = asyncio.Event()

    class SlowCache(MemoryCache):
        async def open(self, version: str) -> None:
            await gate.wait()
            await super().open(version)

    stage.cache = SlowCache()
    gate.set()
    await stage.remember(a=1)
    await stage.stop_server()
    gate.clear()
    client = stage.open_client()
    first, second = (asyncio.create_task(client.get(key)) for key in ("b", "a"))
    await settle()
    first.cancel()
    await settle()
    gate.set()
    assert await second == 1


async def test_a_cache_is_opened_on_behalf_of_nobody(stage: CachedStage) -> None:
    user: ContextVar[str] = ContextVar("user", default="nobody")
    seen: list[str] = []

    class NotingCache(MemoryCache):
        async def open(self, version: str) -> None:
            seen.append(user.get())
            await super().open(version)

    stage.cache = NotingCache()
    client = await stage.open_online_client()
    user.set("somebody")
    await client.get("a")
    assert seen == ["nobody"]


async def test_a_cached_value_of_another_type_is_a_miss(stage: CachedStage) -> None:
    await stage.remember(a=1)
    (key,) = stage.keys
    stage.cache._entries[key] = CachedValue(b"\xa3abc", "x")
    await stage.open_online_client()
    replica = await stage.replica("a")
    assert replica.value == 1
    assert PRECISE.is_synchronized(replica)


async def test_values_of_different_servers_are_told_apart(stage: CachedStage) -> None:
    await stage.remember(a=1)
    await stage.open_online_client()
    other = stage.hub.client(CounterApi, f"{URL}/?tenant=2")
    replica = await other.get.capture("a")
    assert PRECISE.is_synchronized(replica)
    assert len(stage.keys) == 2
    assert not any(b"tenant" in key for key in stage.keys)


async def test_what_middleware_answers_is_not_cached(stage: CachedStage) -> None:
    async def answer(call: OutboundContext, proceed: Proceed) -> Any:
        return 99

    await stage.open_online_client()
    stage.hub.add_outbound_middleware(answer)
    assert (await stage.replica("a")).value == 99
    assert len(stage.keys) == 0


async def test_waiting_for_synchronization_ends_when_a_replica_is_not_shown_any_more(stage: CachedStage) -> None:
    await stage.remember(a=1)
    await stage.cut()
    stage.open_client()
    replica: Computed[int] = await stage.replica("a")
    wait = asyncio.create_task(stage.hub.synchronized())
    await settle()
    assert not wait.done()
    replica.invalidate()
    await settle()
    assert wait.done()


@pytest.mark.no_cover
async def test_ten_thousand_cached_values_are_shown_and_confirmed(stage: CachedStage) -> None:
    keys = [str(number) for number in range(10_000)]
    await stage.remember(**dict.fromkeys(keys, 1))
    client = await stage.open_online_client()
    assert await asyncio.gather(*[client.get(key) for key in keys]) == [1] * len(keys)
    for _ in range(20):
        await settle()
    await stage.hub.synchronized()
    assert stage.open_calls == (10_000, 10_000)
    assert len(stage.reads) == 10_000


async def test_a_path_is_no_cache() -> None:
    with pytest.raises(TypeError, match=r"SqliteCache\('cache.db'\)"):
        FusionHub(cache="cache.db")  # type: ignore[arg-type]


async def test_what_is_known_by_the_name_of_a_ref_is_shown_wherever_that_leads(stage: CachedStage) -> None:
    stage.values["a"] = 1
    for url in (URL, "ws://elsewhere:9"):
        hub = FusionHub(transport=stage.network, limits=LIMITS, cache=stage.cache)
        stage.hubs.append(hub)
        client = hub.client(CounterApi, RpcRef(url, name="counters"))
        assert await client.get("a") == 1


async def test_what_is_known_by_a_url_is_not_shown_for_another_one(stage: CachedStage) -> None:
    await stage.remember(a=1)
    elsewhere = stage.hub = FusionHub(transport=stage.network, limits=LIMITS, cache=stage.cache)
    stage.hubs.append(elsewhere)
    call = asyncio.create_task(elsewhere.client(CounterApi, "ws://elsewhere:9").get("a"))
    await stage.clock.advance(60)
    assert not call.done()
    call.cancel()


async def test_a_whole_answer_with_the_same_hash_confirms_a_value_too(stage: CachedStage) -> None:
    async def forget_the_hash(call: OutboundContext, proceed: Proceed) -> Any:
        call.known_hash = ""
        return await proceed()

    await stage.remember(a=1)
    await stage.open_online_client()
    stage.hub.add_outbound_middleware(forget_the_hash)
    shown = await stage.replica("a")
    await settle()
    assert PRECISE.is_synchronized(shown)
    assert await stage.replica("a") is shown


async def test_of_too_many_stale_values_the_oldest_is_shown_once_more(
    stage: CachedStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("refusion.remote._known_values._MAX_STALE", 1)
    await stage.open_online_client()
    for key in "ab":
        await stage.replica(key)
        stage.service.change(key, 5)
        await settle()
    oldest, newest = [await stage.replica(key) for key in "ab"]
    assert (oldest.value, newest.value) == (0, 5)
    await settle()
    assert [(await stage.replica(key)).value for key in "ab"] == [5, 5]
