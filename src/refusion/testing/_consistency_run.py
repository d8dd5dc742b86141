"""One run of `eventually_consistent`: what it was asked to do, and how it is done, step by step."""

import asyncio
import time
from collections.abc import Awaitable
from dataclasses import dataclass
from random import Random
from typing import Any, Final, final

from refusion.rpc import RpcError
from refusion.rpc.transports import Network

from ._consistency_counts import ConsistencyCounts
from ._consistency_errors import HungCalls, StaleReplica, TooManyCalls
from ._consistency_report import ConsistencyReport
from ._driven_client import Disagreement, DrivenClient, outcome_of
from ._sabotage import NobodyConnects, Sabotage
from ._scenario import ConsistencyScenario
from ._server_lives import HURRIED, HubFactory, ServerLives

__all__ = ["ConsistencyPlan", "ConsistencyRun"]

_COMMAND_SHARE: Final = 0.2
_MAX_COMMANDS: Final = 32
_CALM_SHARE: Final = 50
_YIELD_SHARE: Final = 0.5
_PAUSE_SHARE: Final = 0.2
_MAX_PAUSE: Final = 0.004
_POLL_SECONDS: Final = 0.005


@dataclass(frozen=True, kw_only=True)
class ConsistencyPlan:
    """What a run was asked to do."""

    scenario: ConsistencyScenario[Any, Any]
    seed: int
    clients: int
    edits: int
    cuts: int
    restarts: int
    readers: int
    settle_timeout: float
    transport: Network | str | None
    create_client_hub: HubFactory
    create_server_hub: HubFactory

    @property
    def calm_edits(self) -> int:
        """How many of the edits are made in peace."""
        return self.edits // _CALM_SHARE

    def __str__(self) -> str:
        return (
            f"eventually_consistent({type(self.scenario).__name__}(...), seed={self.seed}, clients={self.clients}, "
            f"edits={self.edits}, cuts={self.cuts}, restarts={self.restarts}, readers={self.readers}, "
            f"settle_timeout={self.settle_timeout:g}, transport={self.transport!r})"
        )


@final
class ConsistencyRun:
    """One run, from the start of the server to the report."""

    def __init__(self, plan: ConsistencyPlan) -> None:
        self._plan = plan
        self._scenario = plan.scenario
        self._calls = tuple(plan.scenario.calls())
        if not self._calls:
            raise ValueError(f"{plan.scenario!r} has no calls, so there is nothing to compare")
        self._random = Random(plan.seed)  # noqa: S311  # to be repeated is what it is for
        self._started_at = time.monotonic()
        self._counts = ConsistencyCounts()
        self._lives = ServerLives(plan.scenario, self._counts, plan.create_server_hub, plan.transport)
        self._clients: list[DrivenClient] = []
        self._sabotage = Sabotage(
            self._lives, self._clients, self._fork(), edits=plan.edits - plan.calm_edits, patience=plan.settle_timeout
        )
        self._uses: list[asyncio.Task[None]] = []
        self._commands: set[asyncio.Task[None]] = set()
        self._command_count = 0
        self._failed_commands = 0
        self._mistake: Exception | None = None
        self._settle_seconds = 0.0
        self._wrong: Disagreement | None = None

    async def start(self) -> None:
        """Start the server and the clients."""
        plan = self._plan
        await self._lives.start()
        for number in range(plan.clients):
            hub = plan.create_client_hub(transport=plan.transport, limits=HURRIED)
            self._clients.append(
                DrivenClient(
                    number, hub, self._lives.url, self._scenario, self._calls, self._counts, self._fork(), plan.readers
                )
            )

    async def trouble(self) -> None:
        """Edit, read, cut and restart, and see that all ends well."""
        plan, sabotage = self._plan, self._sabotage
        sabotage.plan(plan.cuts, plan.restarts)
        self._uses = [asyncio.create_task(client.use(), name=f"client {client.number}") for client in self._clients]
        try:
            for number in range(plan.edits - plan.calm_edits):
                await sabotage.go_on(number)
                await self._edit()
                await self._pause()
            await sabotage.wait_over()
        except NobodyConnects:
            raise self._hung() from None
        for use in self._uses:
            use.cancel()
        await asyncio.wait(self._uses)
        for use in self._uses:
            if not use.cancelled():
                use.result()
        self._settle_seconds = await self._settle()

    async def peace(self) -> None:
        """Edit a little more, and see that everybody hears of it."""
        for _ in range(self._plan.calm_edits):
            await self._edit()
            await self._pause()
        await self._settle()

    def check_counts(self) -> None:
        """Check that there was a reason for everything.

        Raises:
            TooManyCalls: If there wasn't.
        """
        counts, repeat = self._counts, str(self._plan)
        for what, count, bound in (
            ("remote calls were made", counts.remote_calls, counts.calls_bound),
            ("replicas were fetched", counts.replicas, counts.replicas_bound),
            ("values were computed by the service", counts.computations, counts.computations_bound),
        ):
            if count > bound:
                raise TooManyCalls(what, count, bound, repeat)

    def report(self) -> ConsistencyReport:
        """Return what has happened."""
        plan, counts = self._plan, self._counts
        clients = counts.clients
        return ConsistencyReport(
            seed=plan.seed,
            clients=plan.clients,
            edits=plan.edits,
            commands=self._command_count,
            failed_commands=self._failed_commands,
            reads=sum(client.reads for client in clients),
            cancelled_reads=sum(client.cancelled_reads for client in clients),
            cuts=self._sabotage.cuts,
            restarts=self._sabotage.restarts,
            reconnects=sum(client.peer.handshake_index - 1 for client in self._clients),
            first_reads=sum(len(client.keys) for client in clients),
            remote_calls=counts.remote_calls,
            calls_bound=counts.calls_bound,
            retries=sum(client.retries for client in clients),
            replicas=counts.replicas,
            replicas_invalidated=sum(client.invalidated for client in clients),
            replicas_bound=counts.replicas_bound,
            computations=counts.computations,
            computations_bound=counts.computations_bound,
            hung_calls=len(self._unanswered()),
            seconds_until_consistent=self._settle_seconds,
            seconds=time.monotonic() - self._started_at,
        )

    async def aclose(self) -> None:
        """Stop everything, whatever has happened."""
        self._counts.close()
        await self._sabotage.stop()
        tasks = [*self._uses, *self._commands]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*[client.aclose() for client in self._clients])
        await self._lives.aclose()

    # Edits

    async def _edit(self) -> None:
        """Change something, by a command of some client or in the server's process."""
        self._check_mistake()
        client = self._random.choice(self._clients)
        if self._random.random() < _COMMAND_SHARE and len(self._commands) < _MAX_COMMANDS:
            command = self._scenario.command(client.api, self._random)
            if command is not None:
                self._command_count += 1
                task = asyncio.create_task(self._finish(command), name=f"client {client.number}: a command")
                self._commands.add(task)
                task.add_done_callback(self._commands.discard)
                return
        async with self._lives.editing() as service:
            await self._scenario.edit(service, self._random)

    async def _finish(self, command: Awaitable[object]) -> None:
        try:
            await command
        except RpcError:
            self._failed_commands += 1
        except Exception as error:
            # A mistake of the scenario, which ends the run.
            self._mistake = error

    def _check_mistake(self) -> None:
        if self._mistake is not None:
            raise self._mistake

    async def _pause(self) -> None:
        """Wait until the next edit: many come at once, some a moment later."""
        chance = self._random.random()
        if chance < _YIELD_SHARE:
            await asyncio.sleep(_MAX_PAUSE * self._random.random() if chance < _PAUSE_SHARE else 0)

    # The end

    async def _settle(self) -> float:
        """Wait until all calls have ended and all clients have the truth; returns how long that took.

        Raises:
            HungCalls: If there are calls that don't end in time.
            StaleReplica: If a client has something else.
        """
        started_at = time.monotonic()
        timeout = self._plan.settle_timeout
        self._wrong = None
        task = asyncio.create_task(self._agree(), name="settle")
        await asyncio.wait([task], timeout=timeout)
        if not task.done():
            error = self._hung() if self._unanswered() or self._wrong is None else self._stale(self._wrong)
            task.cancel()
            await asyncio.wait([task])
            raise error
        await task
        return time.monotonic() - started_at

    async def _agree(self) -> None:
        tasks = [*self._commands, *[read for client in self._clients for read in client.reads]]
        await asyncio.gather(*tasks, return_exceptions=True)
        self._check_mistake()
        for client in self._clients:
            await client.peer.wait_connected()
        service = self._scenario.create_service()
        truths = [await outcome_of(self._scenario.truth(service, call)) for call in self._calls]
        for client in self._clients:
            while (wrong := await client.disagreement(truths)) is not None:
                self._wrong = wrong
                await asyncio.sleep(_POLL_SECONDS)
            self._wrong = None
        while self._unanswered():  # noqa: ASYNC110  # of many kinds, and over in a moment
            await asyncio.sleep(_POLL_SECONDS)

    def _stale(self, wrong: Disagreement) -> StaleReplica:
        return StaleReplica(*wrong, self._plan.settle_timeout, str(self._plan))

    def _hung(self) -> HungCalls:
        return HungCalls(tuple(self._unanswered()), self._plan.settle_timeout, str(self._plan))

    def _unanswered(self) -> list[str]:
        commands = [command.get_name() for command in self._commands]
        return [*commands, *[text for client in self._clients for text in client.unanswered_calls]]

    def _fork(self) -> Random:
        """Return random numbers for somebody who must not depend on what others do meanwhile."""
        return Random(self._random.getrandbits(64))  # noqa: S311  # to be repeated is what it is for
