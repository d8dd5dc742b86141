"""The consumer's side of a stream: whatever a producer sends, what is held stays bounded and in order."""

from collections.abc import Iterable
from typing import Any, Final

from fuzzing._choices import Choices
from fuzzing._harness import Target
from refusion.rpc import RpcError
from refusion.rpc.protocol._stream_consumer import SendAck, SendAckEnd, StreamConsumer
from refusion.rpc.protocol._stream_reference import NO_HOST, StreamReference

__all__ = ["TARGETS"]


class _Model:
    """A machine, and what is known of it from outside."""

    def __init__(self, choices: Choices) -> None:
        self.reference = StreamReference(
            host_id="host",
            local_id=1,
            ack_period=1 + choices.below(20),
            ack_advance=1 + choices.below(20),
            allow_reconnect=not choices.one_in(3),
        )
        self.machine: StreamConsumer[int] = StreamConsumer(self.reference)
        self.received = 0
        self.taken = 0
        self.ends = 0
        self.carry_out(self.machine.start())

    def carry_out(self, commands: Any) -> None:
        for command in commands:
            if isinstance(command, SendAck):
                assert 0 <= command.end <= self.received
                assert command.host_id in (NO_HOST, "host")
                if command.host_id == NO_HOST:
                    assert command.end <= self.taken
            else:
                assert isinstance(command, SendAckEnd)
                self.ends += 1
        assert self.ends <= 1

    def receive(self, index: int, count: int) -> None:
        was_over = self.machine.is_over
        self.carry_out(self.machine.received(index, range(index, index + count)))
        if not was_over and not self.machine.is_over and index == self.received:
            self.received += count
        period = min(self.reference.ack_period, self.reference.ack_advance)
        assert self.machine.waiting_count <= 2 * self.reference.ack_advance + max(period, self.reference.ack_period)

    def read(self) -> None:
        self.carry_out(self.machine.wanted())
        if self.machine.waiting_count:
            item = self.machine.take()
            assert item == self.taken
            self.taken += 1


def _check(data: bytes) -> None:
    choices = Choices(data)
    model = _Model(choices)
    machine = model.machine
    while not choices.is_over:
        match choices.below(12):
            case 0 | 1 | 2:
                model.receive(model.received, choices.below(12))
            case 3:
                model.receive(choices.number() - 1, choices.below(4))
            case 4:
                model.receive(model.received + choices.below(4), choices.below(2_000))
            case 5 | 6 | 7:
                model.read()
            case 8:
                index = model.received if choices.one_in(2) else choices.number() - 1
                model.carry_out(machine.ended(index, ValueError() if choices.one_in(2) else None))
            case 9:
                machine.link_lost()
            case 10:
                model.carry_out(machine.link_ready("host" if choices.below(4) else "other"))
            case _:
                _end(machine, model, choices)
        assert machine.error is None or isinstance(machine.error, (RpcError, ValueError))
        assert not machine.is_over or machine.wanted() == []


def _end(machine: StreamConsumer[int], model: _Model, choices: Choices) -> None:
    match choices.below(16):
        case 0:
            model.carry_out(machine.close())
            assert machine.waiting_count == 0
        case 1:
            machine.disconnected()
        case 2:
            machine.peer_lost(ValueError())
        case 3:
            model.carry_out(machine.fail(ValueError()))
        case _:
            pass


def _seeds() -> Iterable[bytes]:
    yield bytes([10, 10, 0]) + bytes([0, 5, 5, 5, 5, 9, 10, 0, 0, 3, 5] * 8)
    yield bytes([3, 5, 0]) + bytes([0, 4, 3, 0, 9, 1, 5, 5, 8, 1, 0] * 8)
    yield bytes(range(64))


TARGETS: Final = (Target(name="stream-consumer", check=_check, seeds=_seeds, max_bytes=512),)
