"""Cuts and restarts, spread over the edits of a run."""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from random import Random
from typing import Any, Final, final

from ._driven_client import DrivenClient
from ._server_lives import ServerLives

__all__ = ["NobodyConnects", "Sabotage"]

_MAX_AT_ONCE: Final = 4
_MAX_REPEATS: Final = 5
_POLL_SECONDS: Final = 0.001
_MAX_PAUSE: Final = 0.01


class NobodyConnects(Exception):
    """Raised when there are no connections to cut, and none are made."""


_Act = Callable[[], Coroutine[Any, Any, None]]


@final
class Sabotage:
    """Cuts connections of clients, one by one, several at once, and again while they reconnect; restarts the server."""

    def __init__(
        self,
        lives: ServerLives,
        clients: Sequence[DrivenClient],
        random: Random,
        *,
        edits: int,
        patience: float,
    ) -> None:
        self.cuts: int = 0
        """Connections that were cut."""
        self.restarts: int = 0
        """How often the server was restarted."""
        self._lives = lives
        self._clients = clients
        self._random = random
        self._edits = edits
        self._patience = patience
        self._cut_links: dict[DrivenClient, object] = {}
        self._planned: deque[tuple[int, _Act]] = deque()
        self._acts: set[asyncio.Task[None]] = set()

    def plan(self, cuts: int, restarts: int) -> None:
        """Decide before which edits the connections will be cut and the server restarted."""
        acts = [*self._plan_cuts(cuts), *[self._restart] * restarts]
        positions = sorted((self._random.randrange(max(self._edits, 1)), number) for number in range(len(acts)))
        self._planned.extend((position, acts[number]) for position, number in positions)

    async def go_on(self, position: int) -> None:
        """Begin what is due before this edit; waits while too much is going on already.

        Raises:
            NobodyConnects: If it waits in vain.
            Exception: What a restart has failed with.
        """
        while self._planned and self._planned[0][0] <= position:
            await self._wait_fewer(_MAX_AT_ONCE)
            _, act = self._planned.popleft()
            self._acts.add(asyncio.create_task(act(), name="sabotage"))

    async def wait_over(self) -> None:
        """Wait until nothing is going on any more; raises as `go_on` does."""
        await self._wait_fewer(1)

    async def stop(self) -> None:
        """Give up what is going on."""
        for act in self._acts:
            act.cancel()
        await asyncio.gather(*self._acts, return_exceptions=True)

    async def _wait_fewer(self, count: int) -> None:
        while len(self._acts) >= count:
            done, self._acts = await asyncio.wait(
                self._acts, timeout=self._patience, return_when=asyncio.FIRST_COMPLETED
            )
            if not done:
                raise NobodyConnects
            for act in done:
                act.result()

    def _plan_cuts(self, count: int) -> list[_Act]:
        random = self._random
        acts: list[_Act] = []
        while count > 0:
            match random.randrange(4):
                case 0:
                    size = min(count, random.randint(1, len(self._clients)))
                    act = self._cut_several
                case 1:
                    size = min(count, random.randint(2, _MAX_REPEATS))
                    act = self._cut_again
                case _:
                    size, act = 1, self._cut_several
            acts.append(partial(act, size))
            count -= size
        return acts

    async def _cut_several(self, count: int) -> None:
        """Cut the connections of some clients, which are all there for a moment."""
        victims = self._random.sample(self._clients, count)
        for victim in victims:
            await self._wait_link(victim)
        for victim in victims:
            await self._cut(victim)

    async def _cut_again(self, count: int) -> None:
        """Cut a connection, and the next one while it is made, or when it is just there."""
        victim = self._random.choice(self._clients)
        for _ in range(count):
            await self._cut(victim)
            if self._random.random() < 0.5:
                await asyncio.sleep(self._random.random() * _MAX_PAUSE)

    async def _restart(self) -> None:
        await self._lives.restart(gracefully=self._random.random() < 0.25)
        self.restarts += 1

    async def _cut(self, victim: DrivenClient) -> None:
        """Cut the connection of a client at one of its ends, as soon as there is one."""
        await self._wait_link(victim)
        self._cut_links[victim] = victim.peer.link
        self.cuts += 1
        if self._random.random() < 0.5 or not self._lives.cut(victim.peer.client_id):
            victim.peer.disconnect()

    async def _wait_link(self, client: DrivenClient) -> None:
        """Wait for a connection that wasn't cut yet, though it may not be ready either."""
        # Nobody tells of a connection before its handshake.
        while client.peer.link is None or client.peer.link is self._cut_links.get(client):  # noqa: ASYNC110
            await asyncio.sleep(_POLL_SECONDS)
