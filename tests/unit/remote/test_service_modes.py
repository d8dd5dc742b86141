"""The same contract, here or elsewhere, without a change in whoever uses it."""

import asyncio
import gc
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from refusion import Computed, ComputedState, FixedDelayer, FusionHub, collect, compute_method, invalidate, invalidating
from refusion.rpc import (
    LOCAL,
    InboundContext,
    Proceed,
    RpcContractError,
    RpcRef,
    RpcRerouted,
    RpcServiceMode,
    RpcServiceNotFound,
)
from refusion.rpc.transports.memory import MemoryNetwork
from refusion.testing import VirtualClock, settle

from .stage import LIMITS, CounterApi, CounterService


class Board:
    """Uses counters, wherever they are."""

    def __init__(self, counters: CounterApi) -> None:
        self._counters = counters

    @compute_method
    async def total(self) -> int:
        return await self._counters.get("a") + await self._counters.get("b")


class Street:
    """Two servers that each may have the counters, and a network between them."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.network = MemoryNetwork()
        self.hubs = [FusionHub(transport=self.network, limits=LIMITS) for _ in range(2)]
        self.services = [CounterService({"a": 1}), CounterService({"a": 2})]
        self.urls: list[str] = []

    async def start(self) -> None:
        self.urls = [(await hub.serve()).url for hub in self.hubs]

    def distribute(self, owner: int) -> list[RpcRef]:
        """Let both hubs have the counters, with refs of their own that say whose they are now."""
        refs = [RpcRef(LOCAL if index == owner else self.urls[owner], name="owner") for index in range(2)]
        for hub, service, ref in zip(self.hubs, self.services, refs, strict=True):
            hub.add_service(CounterApi, service, mode=RpcServiceMode.DISTRIBUTED, target=ref)
        return refs

    async def aclose(self) -> None:
        for hub in self.hubs:
            await hub.aclose()


@pytest.fixture
async def street() -> AsyncIterator[Street]:
    with VirtualClock() as clock:
        street = Street(clock)
        await street.start()
        yield street
        await street.aclose()
        collect()


@pytest.mark.parametrize("mode", list(RpcServiceMode))
async def test_whoever_uses_a_service_does_not_know_where_it_is(street: Street, mode: RpcServiceMode) -> None:
    here, there = street.hubs
    service = street.services[0]
    target: Any = None
    if mode in (RpcServiceMode.CLIENT, RpcServiceMode.DISTRIBUTED):
        there.add_service(CounterApi, service)
        target = street.urls[1] if mode is RpcServiceMode.CLIENT else RpcRef(street.urls[1])
    implementation = None if mode is RpcServiceMode.CLIENT else service
    added = here.add_service(CounterApi, implementation, mode=mode, target=target)
    assert here.service(CounterApi) is added

    board = Board(added)
    computed = await board.total.capture()
    assert computed.value == 1
    await added.set("b", 5)
    await settle()
    assert computed.is_invalidated
    assert await board.total() == 6


async def test_a_local_service_is_for_its_own_process_only(street: Street) -> None:
    here, there = street.hubs
    here.add_service(CounterApi, street.services[0], mode="local")
    client = there.client(CounterApi, street.urls[0])
    replica = await client.get.capture("a")
    assert "Endpoint not found" in str(replica.error)


async def test_a_state_on_top_of_a_client_updates_within_one_round_trip(street: Street) -> None:
    here, there = street.hubs
    there.add_service(CounterApi, street.services[1])
    counters = here.add_service(CounterApi, mode="client", target=street.urls[1])
    async with ComputedState(Board(counters).total, update_delayer=FixedDelayer(0)) as state:
        await state.when_first_updated()
        await settle()
        sent: list[Any] = []
        street.network.fault = lambda way, frame: sent.append(way)
        street.services[1].change("b", 10)
        await settle()
        assert state.value == 12
        # The invalidation, the call, and the answer.
        assert len(sent) == 3


async def test_a_distributed_service_computes_what_is_here_and_asks_for_the_rest(street: Street) -> None:
    street.distribute(owner=1)
    values = [await hub.service(CounterApi).get("a") for hub in street.hubs]
    assert values == [2, 2]
    assert [service.log for service in street.services] == [[], ["a"]]


async def test_calls_under_way_and_values_move_when_the_owner_changes(street: Street) -> None:
    refs = street.distribute(owner=1)
    counters = [hub.service(CounterApi) for hub in street.hubs]
    computed = [await counter.get.capture("a") for counter in counters]
    assert [c.value for c in computed] == [2, 2]

    refs[0].reroute(LOCAL)
    refs[1].reroute(street.urls[0])

    await settle()
    assert all(c.is_invalidated for c in computed)
    assert [await counter.get("a") for counter in counters] == [1, 1]


async def test_a_caller_who_knows_an_earlier_owner_is_sent_on_and_its_values_are_stale(street: Street) -> None:
    refs = street.distribute(owner=1)
    async with FusionHub(transport=street.network, limits=LIMITS) as hub:
        late = RpcRef(street.urls[1], name="owner")
        counters = hub.client(CounterApi, late)
        replica = await counters.get.capture("a")
        assert replica.value == 2

        refs[0].reroute(LOCAL)
        refs[1].reroute(street.urls[0])
        await settle()
        assert replica.is_invalidated

        call = asyncio.create_task(counters.get("a"))
        await settle()
        assert not call.done()
        late.reroute(street.urls[0])
        assert await call == 1


@pytest.mark.parametrize("way", ["scope", "method", "function"])
async def test_what_is_here_is_invalidated_by_calls_of_the_service_and_what_is_elsewhere_is_not(
    street: Street, way: str
) -> None:
    street.distribute(owner=1)
    counters = [hub.service(CounterApi) for hub in street.hubs]
    elsewhere, here = [await counter.get.capture("a") for counter in counters]
    street.services[1].values["a"] = 5
    for counter in counters:
        if way == "scope":
            with invalidating():
                await counter.get("a")
        elif way == "method":
            counter.get.invalidate("a")
        else:
            invalidate(counter.get, "a")
        if counter is counters[0]:
            await settle()
            assert elsewhere.is_consistent
            assert here.is_consistent
    await settle()
    assert here.is_invalidated
    assert elsewhere.is_invalidated
    assert "test_service_modes" in str(here.invalidation_source)
    assert [await counter.get("a") for counter in counters] == [5, 5]


async def test_what_is_here_is_invalidated_also_if_it_failed_before_it_was_computed(street: Street) -> None:
    street.distribute(owner=1)
    counter = street.hubs[1].service(CounterApi)
    is_closed = True

    async def guard(call: InboundContext, proceed: Proceed) -> Any:
        if is_closed:
            raise PermissionError("closed")
        return await proceed()

    street.hubs[1].add_inbound_middleware(guard)
    failed = await counter.get.capture("a")
    assert isinstance(failed.error, PermissionError)
    is_closed = False
    counter.get.invalidate("a")
    assert failed.is_invalidated
    assert await counter.get("a") == 2


async def test_commands_go_where_the_values_are(street: Street) -> None:
    street.distribute(owner=1)
    await street.hubs[0].service(CounterApi).set("a", 9)
    assert [service.values["a"] for service in street.services] == [1, 9]


async def test_many_callers_of_a_value_that_is_here_are_told_once_each_when_it_moves(street: Street) -> None:
    refs = street.distribute(owner=1)
    hubs = [FusionHub(transport=street.network, limits=LIMITS) for _ in range(50)]
    replicas = [await hub.client(CounterApi, street.urls[1]).get.capture("a") for hub in hubs]
    assert len(refs[1].route._handlers) < 5
    refs[1].reroute(street.urls[0])
    await settle(60)
    assert all(replica.is_invalidated for replica in replicas)
    for hub in hubs:
        await hub.aclose()


async def test_a_route_that_leads_back_to_its_own_hub_is_refused(street: Street) -> None:
    here = street.hubs[0]
    counters = here.add_service(
        CounterApi, street.services[0], mode="distributed", target=RpcRef(street.urls[0], name="owner")
    )
    replica = await counters.get.capture("a")
    assert "leads back to this hub" in str(replica.error)
    with pytest.raises(Exception, match="leads back to this hub"):
        await counters.set("a", 1)


async def test_a_fixed_client_of_a_server_that_is_not_the_owner_hears_that(street: Street) -> None:
    street.distribute(owner=1)
    async with FusionHub(transport=street.network, limits=LIMITS) as hub:
        replica = await hub.client(CounterApi, street.urls[0]).get.capture("a")
        assert isinstance(replica.error, RpcRerouted)


async def test_calls_of_a_distributed_service_pass_middleware_where_they_are_handled_once(street: Street) -> None:
    street.distribute(owner=1)
    seen: list[str] = []

    async def watch(call: InboundContext, proceed: Proceed) -> Any:
        seen.append(call.method.name)
        return await proceed()

    street.hubs[1].add_inbound_middleware(watch)
    await street.hubs[0].service(CounterApi).get("a")
    assert seen == ["get"]


async def test_clients_of_the_same_place_are_the_same_and_share_their_replicas(street: Street) -> None:
    here, there = street.hubs
    there.add_service(CounterApi, street.services[1])
    url = street.urls[1]
    first, second = here.client(CounterApi, url), here.client(CounterApi, here.peer(url))
    assert first is second
    assert await first.get.capture("a") is await second.get.capture("a")
    assert here.client(CounterApi, RpcRef(url)) is not first

    number = id(type(first))
    del first, second
    await street.clock.advance(200)
    collect()
    gc.collect()
    assert number not in [id(type(client)) for client in here._proxies._proxies.values()]


async def test_a_router_that_cant_be_compared_has_a_client_of_its_own(street: Street) -> None:
    @dataclass
    class Router:
        refs: list[RpcRef]

        def __len__(self) -> int:
            return 0

        def __call__(self, method: object, values: object) -> RpcRef:
            return self.refs[0]

    here, there = street.hubs
    there.add_service(CounterApi, street.services[1])
    first, second = (Router([RpcRef(street.urls[1])]) for _ in range(2))
    client = here.client(CounterApi, first)
    assert await client.get("a") == 2
    assert here.client(CounterApi, first) is client
    assert here.client(CounterApi, second) is not client


async def test_a_mode_says_what_it_needs(street: Street) -> None:
    hub, service = street.hubs[0], street.services[0]
    for problem, implementation, options in (
        ("no implementation here", service, {"mode": "client", "target": street.urls[1]}),
        ("target=url", None, {"mode": "client"}),
        ("needs an implementation", None, {"mode": "server"}),
        ("needs an implementation", None, {"mode": "local"}),
        ("needs a target", service, {"mode": "distributed"}),
        ("is here and has no target", service, {"mode": "server", "target": street.urls[1]}),
        ("mode='client'", None, {"target": street.urls[1]}),
        ("local, server, client, distributed; not 'everywhere'", service, {"mode": "everywhere"}),
    ):
        with pytest.raises(ValueError, match=problem):
            hub.add_service(CounterApi, implementation, **options)  # type: ignore[arg-type]
    with pytest.raises(RpcServiceNotFound):
        hub.service(CounterApi)


async def test_a_contract_has_one_service_in_a_hub(street: Street) -> None:
    hub = street.hubs[0]
    hub.add_service(CounterApi, street.services[0], mode="local")
    for mode in ("server", "local"):
        with pytest.raises(RpcContractError, match="already"):
            hub.add_service(CounterApi, street.services[1], mode=mode)
    with pytest.raises(RpcContractError, match="already"):
        hub.add_service(CounterApi, mode="client", target=street.urls[1])


async def test_what_a_service_in_any_mode_gives_is_a_computed_as_any(street: Street) -> None:
    counters = street.hubs[0].add_service(CounterApi, street.services[0], mode="local")
    computed: Computed[int] = await counters.get.capture("a")
    assert computed.value == 1
