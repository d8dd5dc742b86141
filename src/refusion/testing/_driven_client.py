"""A client that does at random what programs do with replicas, and is asked in the end what it believes."""

import asyncio
from collections.abc import Coroutine, Sequence
from random import Random
from typing import Any, Final, NamedTuple, final

from refusion._base._result import Result
from refusion._base._retries import RetryDelays
from refusion.compute import Computed, compute_method
from refusion.remote import FusionHub
from refusion.rpc import RpcClientPeer
from refusion.rpc.protocol import CallStage
from refusion.rpc.protocol._exception_info import info_from_error
from refusion.states import ComputedState, FixedDelayer

from ._consistency_counts import ConsistencyCounts
from ._scenario import ComputeCall, ConsistencyScenario

__all__ = ["Disagreement", "DrivenClient", "outcome_of"]

_HELD: Final = 50
_FOLLOWED: Final = 20
_MAX_TOGETHER: Final = 4
_MAX_PAUSE: Final = 0.004
_STATE_DELAYER: Final = FixedDelayer(0.01, retry_delays=RetryDelays(0.02, 0.2))


class Disagreement(NamedTuple):
    """Something that a client believes, and that isn't true."""

    client: int
    call: ComputeCall
    where: str
    value: Result[Any]
    truth: Result[Any]
    computed: str


async def outcome_of(work: Coroutine[Any, Any, Any]) -> Result[Any]:
    """Return what a call ends with, be it a value or an error."""
    try:
        return Result(await work)
    except Exception as error:
        return Result(error=error)


@final
class DrivenClient:
    """A hub of its own with one client of the service, and what a program would have on top of that."""

    def __init__(
        self,
        number: int,
        hub: FusionHub,
        url: str,
        scenario: ConsistencyScenario[Any, Any],
        calls: Sequence[ComputeCall],
        counts: ConsistencyCounts,
        random: Random,
        max_reads: int,
    ) -> None:
        self.number: int = number
        self.hub: FusionHub = hub
        self.peer: RpcClientPeer = hub.peer(url)
        self.api: Any = hub.client(scenario.contract, self.peer)
        """The client, which looks like the contract."""
        self.reads: dict[asyncio.Task[Any], str] = {}
        """The reads that go on."""
        self._calls = calls
        self._random = random
        self._max_reads = max_reads
        self._counts = counts.add_client(self.api, self.peer)
        hub.add_outbound_middleware(self._counts.count_call)
        self._on_top = _OnTop(self.api, calls)
        self._held: list[tuple[int, Computed[Any]]] = []
        followed = random.sample(range(len(calls)), min(len(calls), _FOLLOWED))
        self._followed = tuple(sorted(followed))
        self._state = ComputedState(
            lambda: self._on_top.together(self._followed), update_delayer=_STATE_DELAYER, graceful_close_delay=0.0
        )

    async def use(self) -> None:
        """Read, hold, let go and give up at random, until cancelled."""
        random = self._random
        while True:
            match random.randrange(12):
                case 0:
                    self._give_up()
                case 1:
                    self._let_go()
                case _ if len(self.reads) >= self._max_reads:
                    # They wait for a connection, as a rule.
                    pass
                case 2 | 3 | 4:
                    self._capture()
                case 5 | 6:
                    self._read_together()
                case _:
                    self._read()
            await asyncio.sleep(random.random() * _MAX_PAUSE if random.random() < 0.7 else 0)

    async def disagreement(self, truths: Sequence[Result[Any]]) -> Disagreement | None:
        """Return something that this client believes and that isn't true, if there is anything.

        What the truth of each call is, is in `truths`. All that is asked for is consistent, or fetched for that.
        """
        for index, computed in self._held:
            if computed.is_consistent and not _agree(computed.output, truths[index]):
                return self._disagreement(index, "a replica that it holds", computed.output, truths, computed)
        for index in range(len(self._calls)):
            outcome = await self.read_outcome(index)
            if not _agree(outcome, truths[index]):
                existing = self._method(index).existing(*self._calls[index].arguments)
                return self._disagreement(index, "its replica", outcome, truths, existing)
        numbers = tuple(range(len(self._calls)))
        on_top = await self._on_top.together.capture(numbers)
        for index in numbers:
            if not _agree(on_top.value[index], truths[index]):
                return self._disagreement(index, "a computed on top", on_top.value[index], truths, on_top)
        state = self._state.computed
        for place, index in enumerate(self._followed):
            outcome = _item(state.output, place)
            if not _agree(outcome, truths[index]):
                return self._disagreement(index, "its ComputedState", outcome, truths, state)
        return None

    async def read_outcome(self, index: int) -> Result[Any]:
        """Read as everybody would."""
        return await outcome_of(self._method(index)(*self._calls[index].arguments))

    @property
    def unanswered_calls(self) -> list[str]:
        """The reads that go on, the calls that wait for an answer, and the connection if it isn't there."""
        problems = [] if self.peer.is_connected else [f"to connect to {self.peer.url} ({self.peer.connection_state})"]
        sent = [call.method.full_name for call in self.peer.outbound if call.stage is CallStage.WAITING]
        return [f"client {self.number}: {text}" for text in (*problems, *self.reads.values(), *sent)]

    async def aclose(self) -> None:
        """Stop, and forget everything."""
        for task in self.reads:
            task.cancel()
        await self._state.aclose()
        await self.hub.aclose(drain_timeout=0.0)
        self._held.clear()

    # What programs do

    def _read(self) -> None:
        index = self._some_call()
        call = self._calls[index]
        self._start(self._method(index)(*call.arguments), str(call))

    def _capture(self) -> None:
        index = self._some_call()
        self._start(self._hold(index), f"capture of {self._calls[index]}")

    async def _hold(self, index: int) -> None:
        computed = await self._method(index).capture(*self._calls[index].arguments)
        if len(self._held) >= _HELD:
            self._let_go()
        self._held.append((index, computed))

    def _read_together(self) -> None:
        numbers = tuple(self._some_call() for _ in range(self._random.randint(1, _MAX_TOGETHER)))
        texts = ", ".join(str(self._calls[index]) for index in numbers)
        self._start(self._on_top.together(numbers), f"a compute method on {texts}")

    def _give_up(self) -> None:
        if self.reads:
            self._random.choice(list(self.reads)).cancel()
            self._counts.cancelled_reads += 1

    def _let_go(self) -> None:
        if self._held:
            self._held.pop(self._random.randrange(len(self._held)))

    def _start(self, work: Coroutine[Any, Any, Any], text: str) -> None:
        self._counts.reads += 1
        task = asyncio.create_task(outcome_of(work), name=f"client {self.number} reads")
        self.reads[task] = text
        task.add_done_callback(self.reads.pop)

    def _some_call(self) -> int:
        return self._random.randrange(len(self._calls))

    def _method(self, index: int) -> Any:
        return getattr(self.api, self._calls[index].method)

    def _disagreement(
        self, index: int, where: str, value: Result[Any], truths: Sequence[Result[Any]], computed: Computed[Any] | None
    ) -> Disagreement:
        return Disagreement(self.number, self._calls[index], where, value, truths[index], repr(computed))


@final
class _OnTop:
    """What a program computes from replicas."""

    def __init__(self, api: Any, calls: Sequence[ComputeCall]) -> None:
        self._api = api
        self._calls = calls

    @compute_method
    async def together(self, numbers: tuple[int, ...]) -> tuple[Result[Any], ...]:
        calls = [self._calls[number] for number in numbers]
        return tuple([await outcome_of(getattr(self._api, call.method)(*call.arguments)) for call in calls])


def _item(outcomes: Result[tuple[Result[Any], ...] | None], place: int) -> Result[Any]:
    """Return one outcome of several; none are there before a state was computed for the first time."""
    values, error = outcomes.value_or_none, outcomes.error
    return Result(error=error) if values is None else values[place]


def _agree(outcome: Result[Any], truth: Result[Any]) -> bool:
    """Tell whether a client has the truth; an error is the same if it looks so on the wire."""
    if outcome.error is None or truth.error is None:
        return outcome.error is truth.error and bool(outcome.value == truth.value)
    return info_from_error(outcome.error) == info_from_error(truth.error)
