"""Random schedules: what happens to links and calls, step by step, and what must be true of it in the end.

A schedule is a list of numbers, of which each is a step. So Hypothesis makes thousands in little time, and finds a
short one for each that fails; `describe` tells what its steps are.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

from refusion import FusionHub, MemoryCache, Synchronizer, collect, compute_method, registry
from refusion.compute import Computed
from refusion.remote import ClientCache
from refusion.rpc import (
    RpcClientPeer,
    RpcDisconnected,
    RpcExecutionMode,
    RpcLimits,
    RpcStream,
    RpcStreamLost,
    rpc_method,
)
from refusion.rpc.transports.memory import Direction, Fault, MemoryNetwork
from refusion.testing import VirtualClock

__all__ = ["STEP_COUNT", "describe", "play"]

URL: Final = "ws://memory:1"
LIMITS: Final = RpcLimits(drain_timeout=0.0)
ONCE: Final = RpcExecutionMode.AWAIT_CONNECTION | RpcExecutionMode.ALLOW_RECONNECT
KEYS: Final = 3


class Api:
    """What schedules call."""

    async def run(self, key: str) -> str:
        raise NotImplementedError

    @rpc_method(mode=ONCE)
    async def once(self, key: str) -> str:
        raise NotImplementedError

    async def quick(self, key: str) -> str:
        raise NotImplementedError

    @compute_method
    async def value(self, key: int) -> int:
        raise NotImplementedError

    async def feed(self, count: int) -> RpcStream[int]:
        raise NotImplementedError


class Service(Api):
    """One life of the server's process, which checks that nothing is run more often than it may be."""

    def __init__(self, schedule: "Schedule") -> None:
        self._schedule = schedule
        self._running: set[str] = set()
        self._ended: dict[str, int] = {}

    async def run(self, key: str) -> str:
        self._begin(key)
        try:
            await self._schedule.gate(key).wait()
        finally:
            self._end(key)
        return f"{key} done"

    async def once(self, key: str) -> str:
        schedule = self._schedule
        assert key not in schedule.started_once, f"{key} was run twice"
        schedule.started_once.add(key)
        return await self.run(key)

    async def quick(self, key: str) -> str:
        self._begin(key)
        self._end(key)
        return f"{key} done"

    @compute_method
    async def value(self, key: int) -> int:
        name = f"value {key}"
        assert name not in self._running, f"{name} is computed twice at once"
        self._running.add(name)
        try:
            value = self._schedule.values[key]
            # Long enough for a cut to come in between.
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        finally:
            self._running.discard(name)
        return value

    async def feed(self, count: int) -> RpcStream[int]:
        return RpcStream(self._count(count), ack_period=4, ack_advance=9)

    async def _count(self, count: int) -> AsyncIterator[int]:
        schedule = self._schedule
        schedule.open_sources += 1
        try:
            for number in range(count):
                if number % 7 == 0:
                    await asyncio.sleep(0)
                yield number
        finally:
            schedule.open_sources -= 1

    def _begin(self, key: str) -> None:
        """Check that a call that is run has either not been run by this process, or has lost its answer since."""
        assert key not in self._running, f"{key} is run twice at once"
        ended = self._ended.get(key)
        assert ended is None or self._schedule.faults > ended, f"{key} was run again though nothing was lost"
        self._running.add(key)

    def _end(self, key: str) -> None:
        self._running.discard(key)
        # Without a link the answer is lost at once.
        self._ended[key] = self._schedule.faults if self._schedule.is_linked else -1


class Schedule:
    """Both sides, the network between them, and the calls that were made."""

    def __init__(self, clock: VirtualClock, cache: ClientCache | None = None) -> None:
        self.clock = clock
        self.loop: Any = asyncio.get_running_loop()
        self.network = MemoryNetwork()
        self.cache = cache
        self._earlier: tuple[Any, ...] = ()
        self.client = self.create_hub(cache)
        self.servers: list[FusionHub] = []
        self.values = dict.fromkeys(range(KEYS), 0)
        self.faults = 0
        """How often something was lost or repeated; each time allows what was answered to be run again."""
        self.restarts = 0
        self.outages = 0.0
        """For how many seconds nobody could connect."""
        self.started_once: set[str] = set()
        self.open_sources = 0
        self.calls: dict[str, asyncio.Task[str]] = {}
        self.cancelled: set[str] = set()
        self.endings: dict[str, int] = {}
        self.replicas: list[asyncio.Task[Computed[int]]] = []
        self.confirmed = dict.fromkeys(range(KEYS), 0)
        """The newest value of each key that a replica had with the server's word for it."""
        self.readers: list[asyncio.Task[list[int]]] = []
        self.left_readers: set[asyncio.Task[list[int]]] = set()
        self._gates: dict[str, asyncio.Event] = {}
        self._planned: tuple[Direction, Fault, int] | None = None
        self._dead: dict[Direction, set[Any]] = {way: set() for way in Direction}

    async def start(self) -> None:
        await self.start_server()
        if self.cache is not None:
            await self._remember()
        self.api = self.client.client(Api, URL)
        self.peer: RpcClientPeer = self.client.peer(URL)
        await self.settle()

    async def start_server(self) -> None:
        server = self.create_hub()
        self.service = Service(self)
        server.add_service(Api, self.service)
        await server.serve("memory", 1)
        self.servers.append(server)

    async def _remember(self) -> None:
        """Let an earlier client fill the cache with values that aren't all true any more."""
        earlier = self.create_hub(self.cache)
        api = earlier.client(Api, URL)
        for key in range(KEYS - 1):
            await api.value(key)
        closing = asyncio.ensure_future(earlier.aclose())
        await self.advance(0)
        await closing
        self._earlier = self.server.server_peers
        self.change(0)

    def create_hub(self, cache: ClientCache | None = None) -> FusionHub:
        hub = FusionHub(transport=self.network, limits=LIMITS, cache=cache)
        # To read the contract takes as long as a schedule.
        hub.table._definitions[Api] = _definition
        return hub

    @property
    def server(self) -> FusionHub:
        return self.servers[-1]

    @property
    def server_peers(self) -> list[Any]:
        """The server's side of all clients but the earlier one, which is gone for good."""
        return [peer for peer in self.server.server_peers if peer not in self._earlier]

    @property
    def is_linked(self) -> bool:
        # Peers hear of a cut with the next turn.
        return bool(self.network._links)

    def gate(self, key: str) -> asyncio.Event:
        return self._gates.setdefault(key, asyncio.Event())

    async def settle(self) -> None:
        """Let the loop turn until nothing can run any more."""
        ready = self.loop._ready
        for _ in range(1_000):
            await asyncio.sleep(0)
            if not ready:
                return
        raise AssertionError("the loop doesn't come to rest")

    async def turn(self, turns: int) -> None:
        """Let the loop turn a few times."""
        for _ in range(turns + 1):
            await asyncio.sleep(0)

    async def wait(self, index: int) -> None:
        """Let time pass."""
        await self.advance((0, 1, 5, 12, 30)[index])

    async def advance(self, seconds: float) -> None:
        """Let time pass; as the clock does it, with no more turns than there is something to run in."""
        clock = self.clock
        deadline = clock._now + seconds
        await self.settle()
        while clock._fire_next(deadline):
            await self.settle()
        clock._now = deadline
        if self.network.is_refusing:
            self.outages += seconds

    # Steps

    def call(self, kind: int) -> None:
        key = f"k{len(self.calls)}"
        method = (self.api.run, self.api.once, self.api.quick)[kind]
        call = self.calls[key] = asyncio.ensure_future(method(key))

        def ended(_: object) -> None:
            self.endings[key] = self.endings.get(key, 0) + 1

        call.add_done_callback(ended)

    def finish(self, number: int) -> None:
        self.gate(f"k{number}").set()

    def cancel(self, number: int) -> None:
        key = f"k{number}"
        call = self.calls.get(key)
        if call is not None and not call.done():
            call.cancel()
            self.cancelled.add(key)

    def capture(self, key: int) -> None:
        self.replicas.append(asyncio.ensure_future(self._capture(key)))

    async def _capture(self, key: int) -> Computed[int]:
        replica = await self.api.value.capture(key)
        assert replica.value >= self.confirmed[key], "a value was shown that was known to be older"
        self._note(key)
        return replica

    def _note(self, key: int) -> None:
        replica = self.api.value.existing(key)
        if replica is not None and replica.is_consistent and Synchronizer.PRECISE.is_synchronized(replica):
            self.confirmed[key] = replica.value

    def forget(self, _: int = 0) -> None:
        """Let go of all replicas that nobody waits for, as a minute without use does."""
        for key in range(KEYS):
            self._note(key)
        self.replicas = [task for task in self.replicas if not task.done() or task.cancelled() or task.exception()]
        for queue in registry()._queues.values():
            queue.release_all()

    def drop(self, number: int) -> None:
        if number < len(self.replicas):
            task = self.replicas[number]
            if task.done() and not task.cancelled() and task.exception() is None:
                task.result().invalidate(immediately=True)
            else:
                task.cancel()

    def change(self, key: int) -> None:
        self.values[key] += 1
        self.service.value.invalidate(key)

    def read(self, index: int) -> None:
        self.readers.append(asyncio.ensure_future(self._read((0, 1, 4, 9, 20, 40)[index])))

    async def _read(self, count: int) -> list[int]:
        async with await self.api.feed(count) as stream:
            return [number async for number in stream]

    def leave(self, number: int) -> None:
        if number < len(self.readers) and not self.readers[number].done():
            self.readers[number].cancel()
            self.left_readers.add(self.readers[number])

    def cut(self, _: int = 0) -> None:
        self.faults += 1
        self.network.cut()

    async def restart(self, _: int = 0) -> None:
        self.faults += 1
        self.restarts += 1
        self.network.stop(1)
        await self.start_server()

    def refuse(self, _: int = 0) -> None:
        self.network.is_refusing = not self.network.is_refusing

    def fault(self, code: int) -> None:
        """Let something happen to one of the next frames."""
        direction = Direction.TO_SERVER if code % 2 else Direction.TO_CLIENT
        self._planned = (direction, tuple(Fault)[code // 2 % 4], code // 8)
        self.network.fault = self._decide

    def _decide(self, way: Direction, frame: bytes) -> Fault | None:
        if self._dead[way] & self.network._links:
            self.faults += 1
            return Fault.LOSE
        if self._planned is None or self._planned[0] is not way:
            return None
        _, fault, left = self._planned
        self._planned = (way, fault, left - 1) if left else None
        if left:
            return None
        if fault is Fault.LOSE:
            # Then nothing comes through that way any more, until the connection is dropped for its silence: in TCP
            # a frame can't be missing between others.
            self._dead[way] = set(self.network._links)
        self.faults += 1
        # What the frame leads to is answered into a connection that breaks, or comes again, after that.
        self.loop.call_soon(self._note_fault)
        return fault

    def _note_fault(self) -> None:
        self.faults += 1

    # The end

    async def recover(self) -> None:
        """Mend the network and let all come to its end."""
        self.network.fault = lambda direction, frame: None
        self.network.is_refusing = False
        self.cut()
        await self.advance(15)
        for key in self.calls:
            if key not in self.cancelled:
                self.gate(key).set()
        await self.advance(20)

    async def check(self) -> None:
        """Check that all has ended as it should."""
        for key, call in self.calls.items():
            assert call.done(), f"{key} hangs"
            assert self.endings[key] == 1
            if key in self.cancelled:
                assert call.cancelled()
            elif isinstance(call.exception(), RpcDisconnected):
                # Only a call that may not be sent again ends without its result; a cut is in every schedule.
                assert "Api.once" in str(call.exception())
            else:
                assert call.result() == f"{key} done"
        for reader in self.readers:
            assert reader.done(), "a stream hangs"
            if reader in self.left_readers:
                assert reader.cancelled()
            elif isinstance(reader.exception(), RpcStreamLost):
                # A server that hears nothing of a stream for two minutes takes its reader for gone.
                is_long = self.outages + 15 * self.faults > LIMITS.object_release_timeout - 25
                assert self.restarts or is_long, "a stream was lost though its server lives"
            else:
                assert reader.result() == list(range(len(reader.result())))
        for task in self.replicas:
            assert task.done(), "a compute call hangs"
            if task.cancelled():
                continue
            replica = task.result()
            assert replica.error is None
            if replica.is_consistent:
                (key,) = replica.input.arguments
                assert replica.value == self.values[key], "a replica is stale"
                assert Synchronizer.PRECISE.is_synchronized(replica), "nobody has asked about a replica"
        with Synchronizer.PRECISE.activate():
            for key in range(KEYS):
                assert await self.api.value(key) == self.values[key]

    async def check_nothing_left(self) -> None:
        """Check that both sides agree on what is open, and forget it when all values have changed once more."""
        here = {call.id for call in self.peer.outbound}
        there = {call.id for peer in self.server_peers for call in peer.inbound}
        assert here == there
        for key in range(KEYS):
            self.change(key)
        await self.advance(46)
        if any(peer.streams.shared_count for peer in self.server_peers):
            # Nobody has begun to read them.
            await self.advance(LIMITS.object_release_timeout)
        peers: list[Any] = [self.peer, *self.server_peers]
        for peer in peers:
            assert len(peer.outbound) == 0, list(peer.outbound)
            assert len(peer.inbound) == 0, list(peer.inbound)
            assert not peer.admission.tasks
            assert not peer._waiting
            assert len(peer.cancellations) == 0
            assert peer.streams.shared_count == peer.streams.remote_count == 0
            assert not peer.streams._ends
            assert not peer.streams._held_up
        assert self.open_sources == 0 or self.restarts

    async def aclose(self) -> None:
        for hub in (self.client, *self.servers):
            closing = asyncio.ensure_future(hub.aclose())
            await self.settle()
            while not closing.done():
                await self.advance(1)
            await closing
        await self.settle()
        assert self.open_sources == 0


_definition: Final = FusionHub(transport=MemoryNetwork()).table.define(Api)

_STEPS: Final[tuple[tuple[int, int, Any], ...]] = (
    # How many numbers stand for a step, how many variants it has, and what it does.
    (12, 3, Schedule.call),
    (12, 12, Schedule.finish),
    (8, 8, Schedule.cancel),
    (12, KEYS, Schedule.capture),
    (6, 6, Schedule.drop),
    (4, 1, Schedule.forget),
    (12, KEYS, Schedule.change),
    (6, 6, Schedule.read),
    (3, 3, Schedule.leave),
    (8, 1, Schedule.cut),
    (3, 1, Schedule.restart),
    (6, 1, Schedule.refuse),
    (24, 24, Schedule.fault),
    (10, 5, Schedule.turn),
    (10, 5, Schedule.wait),
)
_DECODED: Final = [(step, index % variants) for count, variants, step in _STEPS for index in range(count)]
STEP_COUNT: Final = len(_DECODED)


def describe(codes: list[int]) -> list[str]:
    """Return what the steps of a schedule are."""
    return [f"{step.__name__}({index})" for step, index in (_DECODED[code] for code in codes)]


async def play(codes: list[int], *, has_cache: bool = False) -> None:
    """Run a schedule, and check what must be true."""
    with VirtualClock() as clock:
        schedule = Schedule(clock, MemoryCache() if has_cache else None)
        try:
            await schedule.start()
            for code in codes:
                step, index = _DECODED[code]
                outcome = step(schedule, index)
                if outcome is not None:
                    await outcome
            await schedule.recover()
            await schedule.check()
            await schedule.check_nothing_left()
            await schedule.aclose()
        finally:
            # Nothing is left if all went well.
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
            collect()
