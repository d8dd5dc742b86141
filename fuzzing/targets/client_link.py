"""A client, whose server sends what it likes: each of its calls ends, with a result or a documented error."""

import asyncio
from collections.abc import Iterable
from typing import Any, Final

from fuzzing._choices import Choices, mutated
from fuzzing._harness import Target
from fuzzing._loop import LOOP
from fuzzing._raw_side import RawSide
from refusion import FusionHub, MemoryCache
from refusion.errors import RefusionError
from refusion.rpc import RpcLimits, RpcStream
from refusion.rpc.protocol import RpcMessage
from refusion.rpc.transports import ConnectionRequest, Receiver, TransportLimits
from refusion.rpc.transports.memory import MemoryNetwork
from refusion.testing import VirtualClock, settle

from ._contract import ServiceContract
from ._flows import Flows
from ._messages import MessageMaker
from ._types import Disk, Order, Person

__all__ = ["TARGETS"]

_KEYS: Final = ("msgpack6c", "json5np", "msgpack6", "json5", "msgpack6-lz4f", "msgpack6c-lz4")
_TRANSPORT: Final = TransportLimits(high_water=2_048, low_water=512)
_LIMITS: Final = RpcLimits(drain_timeout=0.0, messages_per_turn=4, transport=_TRANSPORT)
_MAX_STEPS: Final = 60
_METHODS: Final = ("add", "echo", "place", "greet", "draw", "wait", "fail", "tell", "count", "total", "get", "touch")


class _Stage:
    """A client, and a server that isn't what it seems."""

    def __init__(self, choices: Choices, clock: VirtualClock) -> None:
        self.choices = choices
        self.clock = clock
        self.network = MemoryNetwork()
        self.key = choices.pick(_KEYS)
        cache = MemoryCache() if choices.below(2) else None
        self.hub = FusionHub(transport=self.network, format=self.key, limits=_LIMITS, cache=cache)
        self.peer_id = "raw-peer"
        self.pending: list[RpcMessage] = []
        self.calls: list[asyncio.Task[Any]] = []
        self.index = 0

    async def play(self) -> None:
        server = await self.network.listen("memory", 0, self.accept, _TRANSPORT)
        self.peer = self.hub.peer(server.url)
        self.client = self.hub.client(ServiceContract, self.peer)
        await settle(5)
        for _ in range(1 + self.choices.below(4)):
            self.call()
        await settle(5)
        for _ in range(_MAX_STEPS):
            if self.choices.is_over:
                break
            await self.step()
        self.flush()
        await settle()

    def accept(self, request: ConnectionRequest) -> Receiver:
        self.side = RawSide(self.key, self.hub.table.names, is_server=True)
        self.maker = MessageMaker(self.side, self.peer_id, self.peer.id)
        self.flows = Flows(self.choices, self.maker, self.side, self.side.send, is_server=True)
        self.pending.clear()
        self.index += 1
        asyncio.get_running_loop().call_soon(self.introduce)
        return self.side

    def introduce(self) -> None:
        if self.choices.below(16) < 15:
            self.side.introduce(self.peer_id, self.index)

    def call(self) -> None:
        """Let the client make a call."""
        self.calls.append(asyncio.ensure_future(_finish(self.client, self.choices.pick(_METHODS))))

    async def step(self) -> None:
        choices = self.choices
        match choices.below(16):
            case 0:
                self.flush()
                self.side.send_frame(
                    mutated(self.side.frame(self.maker.any(choices), self.maker.any(choices)), choices)
                )
            case 1:
                self.flush()
                self.side.send_frame(choices.some_bytes(200))
            case 2 | 3:
                self.flush()
                await settle(1 + choices.below(20))
            case 4:
                self.flush()
                await self.clock.advance(choices.pick((0.1, 5.0, 11.0, 30.0, 200.0)))
            case 5:
                await self.disturb()
            case 6 | 7:
                self.call()
                await settle(3)
            case 8 | 9:
                self.flush()
                await self.flows.play()
            case _:
                self.pending.append(self.maker.any(choices, with_calls=choices.one_in(8)))

    async def disturb(self) -> None:
        choices = self.choices
        match choices.below(8):
            case 0 | 1 | 2:
                if choices.one_in(3):
                    self.peer_id += "'"
                self.side.cut()
                await self.clock.advance(choices.pick((0.0, 1.0, 20.0)))
            case 3:
                self.side.pause()
            case 4:
                self.side.resume()
            case 5:
                self.side.change_kind()
            case 6 if self.calls:
                choices.pick(self.calls).cancel()
            case _:
                self.flush()
                self.side.introduce(self.peer_id)

    def flush(self) -> None:
        if self.pending:
            self.side.send(*self.pending)
            self.pending.clear()

    async def end(self) -> None:
        """All calls are over when the hub is."""
        await settle()
        assert all(call.done() for call in self.calls), self.calls
        for call in self.calls:
            if not call.cancelled():
                call.result()
        assert len(self.peer.outbound) == 0
        assert self.peer.streams.remote_count == 0
        assert self.peer.streams.shared_count == 0


async def _finish(client: ServiceContract, method: str) -> None:
    """Make a call, and read the stream in its result; errors are those that a caller is told to expect."""
    try:
        await _call(client, method)
    except RefusionError:
        pass


async def _call(client: ServiceContract, method: str) -> None:
    match method:
        case "add":
            assert isinstance(await client.add(1, 2), int)
        case "echo":
            await client.echo([1, "a", None])
        case "place":
            assert isinstance(await client.place(Order([]), is_gift=True), Order)
        case "greet":
            assert isinstance(await client.greet(Person(name="A")), Person)
        case "draw":
            await client.draw(Disk(1.0))
        case "wait":
            assert isinstance(await client.wait("k"), str)
        case "fail":
            await client.fail("text")
        case "tell":
            await client.tell("text")
        case "count":
            async for number in await client.count(100):
                assert isinstance(number, int)
        case "total":
            assert isinstance(await client.total(RpcStream(range(100))), int)
        case "get":
            assert isinstance(await client.get("key"), int)
        case _:
            await client.touch("key")


async def _play(choices: Choices) -> None:
    with VirtualClock() as clock:
        stage = _Stage(choices, clock)
        await stage.play()
        await LOOP.close(stage.hub, clock)
        await stage.end()
    await settle(3)


def _check(data: bytes) -> None:
    LOOP.run(_play(Choices(data)))


def _seeds() -> Iterable[bytes]:
    answers = [bytes([8, 0, 3, 0, 1, method % 3, kind, 1]) for method in range(4) for kind in range(10)]
    system = [bytes([8, 0, 3, method, 1, 1, 1, 1, 1, 1, 1]) for method in range(16)]
    for key in range(len(_KEYS)):
        for method in range(len(_METHODS)):
            yield bytes([key, 2, method, method + 1, method + 2]) + b"\x02\x05".join(answers[::3])
        yield bytes([key, 3, 8, 9, 10, 0]) + b"".join(system)
        yield bytes([key, 3, 8, 9, 10, 0]) + b"\x02\x05".join(system) + b"\x05\0\0\x01" + b"\x02\x05".join(system)


TARGETS: Final = (Target(name="client-link", check=_check, seeds=_seeds, max_bytes=1_024, seconds=2.0),)
