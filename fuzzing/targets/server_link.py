"""A server, whose client sends what it likes: the server goes on for others, and nothing is left of it in the end."""

from collections.abc import Iterable
from typing import Any, Final

from fuzzing._choices import Choices, mutated
from fuzzing._harness import Target
from fuzzing._loop import LOOP
from fuzzing._raw_side import RawSide
from refusion import FusionHub
from refusion.rpc import RpcLimits
from refusion.rpc.protocol import RpcMessage
from refusion.rpc.protocol._system_calls import OK
from refusion.rpc.transports import TransportLimits
from refusion.rpc.transports.memory import MemoryNetwork
from refusion.testing import VirtualClock, settle

from ._contract import Service, ServiceContract
from ._flows import Flows
from ._messages import MessageMaker

__all__ = ["TARGETS"]

_KEYS: Final = ("msgpack6c", "json5np", "msgpack6", "json5", "msgpack6-lz4f", "msgpack6c-lz4")
_TRANSPORT: Final = TransportLimits(high_water=2_048, low_water=512)
_LIMITS: Final = RpcLimits(
    drain_timeout=0.0, max_running_calls=4, max_queued_calls=2, messages_per_turn=4, transport=_TRANSPORT
)
_MAX_STEPS: Final = 60
_PATH: Final = "/rpc/ws?clientId={}&f={}"


class _Stage:
    """A server, and one client that isn't what it seems."""

    def __init__(self, choices: Choices, clock: VirtualClock) -> None:
        self.choices = choices
        self.clock = clock
        self.network = MemoryNetwork()
        self.hub = FusionHub(transport=self.network, limits=_LIMITS)
        self.hub.add_service(ServiceContract, Service())
        self.key = choices.pick(_KEYS)
        self.sent_bytes = 0
        self.byte_count = 0
        self.peer_id = "raw-peer"
        self.pending: list[RpcMessage] = []

    async def play(self) -> None:
        server = await self.hub.serve()
        self.url = server.url
        await self.connect()
        for _ in range(_MAX_STEPS):
            if self.choices.is_over:
                break
            await self.step()
        self.flush()
        await settle()
        self.byte_count += self.side.byte_count
        # What a stranger gets back is a multiple of what was sent, at most by the windows of a few streams.
        assert self.byte_count < 200_000 + 1_000 * self.sent_bytes, (self.byte_count, self.sent_bytes)
        await self.check_others()
        self.side.cut()
        await self.clock.advance(2_000.0)
        assert not self.hub.server_peers

    async def connect(self) -> None:
        self.side = RawSide(self.key, self.hub.table.names, is_server=False)
        url = self.url.partition("/rpc")[0] + _PATH.format("raw", self.key)
        await self.network.connect(url, self.side, _TRANSPORT)
        await settle(3)
        (peer,) = [peer for peer in self.hub.server_peers if peer.client_id == "raw"]
        self.maker = MessageMaker(self.side, self.peer_id, peer.id)
        self.flows = Flows(self.choices, self.maker, self.side, self.send_message, is_server=False)
        if self.choices.below(16) < 15:
            self.side.introduce(self.peer_id)
        await settle(3)

    async def step(self) -> None:
        choices = self.choices
        match choices.below(16):
            case 0:
                self.flush()
                self.send(mutated(self.side.frame(self.maker.any(choices), self.maker.any(choices)), choices))
            case 1:
                self.flush()
                self.send(choices.some_bytes(200))
            case 2 | 3:
                self.flush()
                await settle(1 + choices.below(20))
            case 4:
                self.flush()
                await self.clock.advance(choices.pick((0.1, 5.0, 11.0, 30.0, 200.0)))
            case 5:
                await self.disturb()
            case 6 | 7:
                self.flush()
                await self.flows.play()
            case _:
                self.pending.append(self.maker.any(choices))

    async def disturb(self) -> None:
        choices = self.choices
        match choices.below(8):
            case 0 | 1 | 2:
                self.byte_count += self.side.byte_count
                self.side.cut()
                await settle(choices.below(10))
                if choices.one_in(3):
                    self.peer_id += "'"
                self.pending.clear()
                await self.connect()
            case 3:
                self.side.pause()
            case 4 | 5:
                self.side.resume()
            case 6:
                self.side.change_kind()
            case _:
                self.flush()
                self.side.introduce(self.peer_id)

    def flush(self) -> None:
        if self.pending:
            self.send(self.side.frame(*self.pending))
            self.pending.clear()

    def send_message(self, message: RpcMessage) -> None:
        self.send(self.side.frame(message))

    def send(self, frame: bytes) -> None:
        self.sent_bytes += len(frame)
        self.side.send_frame(frame)

    async def check_others(self) -> None:
        """Another client is served as if nothing had been."""
        other = RawSide("msgpack6", self.hub.table.names, is_server=False)
        await self.network.connect(
            self.url.partition("/rpc")[0] + _PATH.format("other", "msgpack6"), other, TransportLimits()
        )
        other.introduce("other-peer")
        other.send(RpcMessage("IFuzz.Add:3", 1, 0, other.arguments((int, int), (1, 2))))
        await settle()
        answers = [message for message in other.received if message.method == OK]
        assert [other.format.arguments((int,)).decode(answer.args) for answer in answers] == [(3,)], other.received
        other.cut()


async def _play(choices: Choices) -> None:
    with VirtualClock() as clock:
        stage = _Stage(choices, clock)
        await stage.play()
        await LOOP.close(stage.hub, clock)
    await settle(3)


def _check(data: bytes) -> None:
    LOOP.run(_play(Choices(data)))


def _seeds() -> Iterable[bytes]:
    calls = [bytes([6, 0, method, 0, 1, 1 + method % 3, 1, 1]) for method in range(13)]
    system = [bytes([6, 3, method, 1, 1, 1, 1, 1, 1, 1]) for method in range(16)]
    for key in range(len(_KEYS)):
        yield bytes([key, 0]) + b"".join(calls)
        yield bytes([key, 0]) + b"".join(system)
        yield bytes([key, 0]) + b"\x02\x05".join(calls) + b"\x05\x00\x00\x00" + b"\x02\x05".join(system)
        yield bytes([key, 0]) + b"\x04\x02".join([*calls, *system])


TARGETS: Final[tuple[Any, ...]] = (
    Target(name="server-link", check=_check, seeds=_seeds, max_bytes=1_024, seconds=2.0),
)
