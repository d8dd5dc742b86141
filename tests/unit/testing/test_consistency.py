"""What `eventually_consistent` finds, and what it leaves to the one who drives."""

import asyncio
import pickle
from collections.abc import Awaitable
from random import Random
from typing import Any

import pytest

from refusion import FusionHub, compute_method
from refusion.remote._compute_calls import OutboundComputeCall
from refusion.rpc import OutboundContext, Proceed, RpcDisconnected, RpcLimits, rpc_method
from refusion.rpc.transports import Network
from refusion.rpc.transports.memory import MemoryNetwork
from refusion.testing import (
    ComputeCall,
    ConsistencyReport,
    ConsistencyScenario,
    HungCalls,
    StaleReplica,
    TooManyCalls,
    eventually_consistent,
)

KEYS = "abc"


class Store:
    @compute_method
    async def get(self, key: str) -> int:
        raise NotImplementedError

    @rpc_method(is_command=True)
    async def set(self, key: str, value: int) -> None:
        raise NotImplementedError


class StoreService(Store):
    def __init__(self, values: dict[str, int]) -> None:
        self.values = values

    @compute_method
    async def get(self, key: str) -> int:
        return self.values[key]

    async def set(self, key: str, value: int) -> None:
        self.change(key, value)

    def change(self, key: str, value: int) -> None:
        self.values[key] = value
        self.get.invalidate(key)


class StoreScenario(ConsistencyScenario[Store, StoreService]):
    contract = Store
    service: type[StoreService] = StoreService

    def __init__(self) -> None:
        self.values = dict.fromkeys(KEYS, 0)
        self.lives = 0

    def create_service(self) -> StoreService:
        self.lives += 1
        return self.service(self.values)

    async def edit(self, service: StoreService, random: Random) -> None:
        service.change(random.choice(KEYS), random.randrange(1_000))

    def calls(self) -> list[ComputeCall]:
        return [ComputeCall("get", (key,)) for key in KEYS]


async def drive(scenario: ConsistencyScenario[Any, Any], **options: Any) -> ConsistencyReport:
    settings: dict[str, Any] = {"seed": 1, "clients": 3, "edits": 200, "cuts": 4, "restarts": 1, "settle_timeout": 5.0}
    settings |= {"transport": MemoryNetwork()}
    return await eventually_consistent(scenario, **settings | options)


async def test_a_service_that_tells_of_all_changes_passes() -> None:
    scenario = StoreScenario()

    report = await drive(scenario)

    assert (report.seed, report.clients, report.edits, report.cuts, report.restarts) == (1, 3, 200, 4, 1)
    assert report.commands == report.hung_calls == 0
    assert report.first_reads == 9
    assert report.replicas >= report.replicas_invalidated > 0
    assert str(report).startswith("seed 1: 3 clients, 200 edits, ")


async def test_edits_may_be_commands_of_clients() -> None:
    class Commanding(StoreScenario):
        def command(self, client: Store, random: Random) -> Awaitable[object]:
            return client.set(random.choice(KEYS), random.randrange(1_000))

    report = await drive(Commanding())

    assert 10 < report.commands < 100


async def test_an_error_is_as_true_as_a_value() -> None:
    class Failing(StoreService):
        @compute_method
        async def get(self, key: str) -> int:
            if self.values[key] % 2:
                raise ValueError(f"{self.values[key]} is odd")
            return self.values[key]

    class Scenario(StoreScenario):
        service = Failing

    await drive(Scenario())


async def test_a_service_that_forgets_an_invalidation_is_found() -> None:
    class Forgetful(StoreService):
        def change(self, key: str, value: int) -> None:
            self.values[key] = value
            if key != "b":
                self.get.invalidate(key)

    class Scenario(StoreScenario):
        service = Forgetful

    with pytest.raises(StaleReplica, match=r"says get\('b'\) is \d+, but 0.3 s after the last edit") as caught:
        await drive(Scenario(), seed=7, settle_timeout=0.3)

    error = caught.value
    assert error.call == ComputeCall("get", ("b",))
    assert error.value.value != error.truth.value
    assert "CONSISTENT" in error.computed
    assert "repeat: eventually_consistent(Scenario(...), seed=7, clients=3, edits=200" in str(error)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


async def test_a_client_that_misses_invalidations_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    told = OutboundComputeCall.invalidated
    chance = Random(1)

    def hard_of_hearing(call: OutboundComputeCall) -> None:
        if chance.random() < 0.9:
            told(call)

    monkeypatch.setattr(OutboundComputeCall, "invalidated", hard_of_hearing)

    with pytest.raises(StaleReplica, match=r"a replica that it holds|its replica"):
        await drive(StoreScenario(), settle_timeout=0.3)


async def test_a_replica_that_the_server_has_forgotten_is_found_by_the_edits_in_peace(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Whatever it had in the end was true; but it would have heard of nothing any more.
    monkeypatch.setattr(OutboundComputeCall, "peer_forgot", lambda call: None)

    with pytest.raises(StaleReplica):
        await drive(StoreScenario(), edits=500, cuts=0, restarts=5, settle_timeout=0.3)


async def test_a_call_that_never_ends_is_found() -> None:
    class Stuck(StoreService):
        @compute_method
        async def get(self, key: str) -> int:
            if key == "c":
                await asyncio.Event().wait()
            return self.values[key]

    class Scenario(StoreScenario):
        service = Stuck

        async def truth(self, service: StoreService, call: ComputeCall) -> int:
            return self.values[call.arguments[0]]

    with pytest.raises(HungCalls, match=r"calls hang, 0.3 s after all is well again:\n  client \d: ") as caught:
        await drive(Scenario(), settle_timeout=0.3)

    assert any("get('c')" in call for call in caught.value.calls)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


async def test_a_server_that_nobody_can_connect_to_is_found() -> None:
    network = MemoryNetwork()

    class Scenario(StoreScenario):
        async def edit(self, service: StoreService, random: Random) -> None:
            network.is_refusing = self.lives > 1
            await super().edit(service, random)

    with pytest.raises(HungCalls, match="to connect to ws://memory"):
        await drive(Scenario(), transport=network, settle_timeout=0.3)


async def test_a_client_that_calls_twice_for_one_replica_is_found() -> None:
    async def twice(call: OutboundContext, proceed: Proceed) -> Any:
        await proceed()
        return await proceed()

    def create_hub(*, transport: Network | str | None, limits: RpcLimits) -> FusionHub:
        hub = FusionHub(transport=transport, limits=limits)
        hub.add_outbound_middleware(twice)
        return hub

    with pytest.raises(
        TooManyCalls, match=r"remote calls were made, but there were reasons for [\d,]+ at most"
    ) as caught:
        await drive(StoreScenario(), create_client_hub=create_hub)

    assert caught.value.count > 1.5 * caught.value.bound
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


async def test_a_client_that_drops_replicas_for_no_reason_is_found() -> None:
    async def short_lived(call: OutboundContext, proceed: Proceed) -> Any:
        value = await proceed()
        asyncio.get_running_loop().call_later(0.001, call.call.invalidated)  # type: ignore[union-attr]
        return value

    def create_hub(*, transport: Network | str | None, limits: RpcLimits) -> FusionHub:
        hub = FusionHub(transport=transport, limits=limits)
        hub.add_outbound_middleware(short_lived)
        return hub

    class Quiet(StoreScenario):
        async def edit(self, service: StoreService, random: Random) -> None:
            await asyncio.sleep(0.002)

    with pytest.raises(TooManyCalls, match="replicas were fetched"):
        await drive(Quiet(), edits=100, cuts=0, restarts=0, create_client_hub=create_hub)


async def test_what_a_scenario_raises_ends_the_run() -> None:
    class Scenario(StoreScenario):
        async def edit(self, service: StoreService, random: Random) -> None:
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"):
        await drive(Scenario())


async def test_a_command_may_fail_remotely_but_not_otherwise() -> None:
    class Scenario(StoreScenario):
        error: Exception

        async def command(self, client: Store, random: Random) -> None:  # type: ignore[override]
            raise self.error

    scenario = Scenario()
    scenario.error = RpcDisconnected("gone")
    report = await drive(scenario)
    assert report.failed_commands == report.commands > 0

    scenario.error = TypeError("a mistake")
    with pytest.raises(TypeError, match="a mistake"):
        await drive(scenario)


async def test_without_calls_there_is_nothing_to_compare() -> None:
    class Scenario(StoreScenario):
        def calls(self) -> list[ComputeCall]:
            return []

    with pytest.raises(ValueError, match="has no calls"):
        await drive(Scenario())


async def test_nothing_goes_on_after_a_run_that_is_cancelled() -> None:
    is_running = asyncio.Event()

    class Scenario(StoreScenario):
        async def edit(self, service: StoreService, random: Random) -> None:
            await super().edit(service, random)
            is_running.set()

    run = asyncio.create_task(drive(Scenario(), edits=1_000_000))
    await is_running.wait()
    run.cancel()
    await asyncio.wait([run])

    assert run.cancelled()
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}
