"""The producer's side of a stream: any commands, in any order, against what they must come to."""

from collections.abc import Iterable
from typing import Final

from fuzzing._choices import Choices
from fuzzing._harness import Target
from refusion.rpc.protocol._stream_producer import AckOutcome, SendEnd, SendItems, StreamProducer
from refusion.rpc.protocol._stream_reference import NO_HOST, StreamReference

__all__ = ["TARGETS"]

_HOSTS: Final = (NO_HOST, "host", "other")


class _Model:
    """A machine, and what is known of it from outside."""

    def __init__(self, choices: Choices) -> None:
        period = 1 + choices.below(8)
        self.reference = StreamReference(
            host_id="host",
            local_id=1,
            ack_period=period,
            ack_advance=period + choices.below(12),
            allow_reconnect=not choices.one_in(4),
            is_real_time=choices.one_in(3),
        )
        buffer_size = choices.below(40)
        self.capacity = max(self.reference.ack_advance, buffer_size) + 2
        self.batch_size = 1 + choices.below(8)
        modulus = 1 + choices.below(4)
        self.machine: StreamProducer[int] = StreamProducer(
            self.reference,
            batch_size=self.batch_size,
            buffer_size=buffer_size,
            can_skip_to=(lambda item: item % modulus == 0) if self.reference.is_real_time else None,
        )
        self.taken = 0
        self.start = 0
        self.sent_end = 0
        self.is_dropped = False

    def take(self, count: int) -> None:
        for _ in range(min(count, self.machine.room)):
            self.machine.took(self.taken)
            self.taken += 1
        assert self.machine.kept_count <= self.capacity

    def send(self, limit: int, choices: Choices) -> None:
        machine = self.machine
        was_quiet = machine.is_suspended or not machine.is_started
        command = machine.next_send(limit or None)
        if command is None:
            return
        assert not was_quiet
        if isinstance(command, SendEnd):
            assert machine.is_source_over
            assert command.end >= self.start
            return
        self.check_items(command)
        if choices.one_in(6):
            position = command.first + choices.below(len(command.items))
            if choices.one_in(2):
                machine.unsend(position)
            else:
                machine.cut_off(position, ValueError("can't be sent"))
                self.sent_end = max(self.sent_end, position)

    def check_items(self, command: SendItems[int]) -> None:
        assert 0 < len(command.items) <= self.batch_size
        assert command.first >= self.start
        end = command.first + len(command.items)
        assert end <= self.start + self.reference.ack_advance
        assert command.items == sorted(set(command.items))
        if not self.reference.is_real_time:
            assert command.items == list(range(command.first, end))
        self.sent_end = max(self.sent_end, end)

    def acknowledge(self, index: int, host: str) -> None:
        expected = self.expected(index, host)
        outcome = self.machine.acknowledged(index, host)
        assert outcome is expected, (outcome, expected, index, host)
        if outcome is AckOutcome.ACCEPTED:
            self.start = max(self.start, index)
        else:
            self.is_dropped = True

    def expected(self, index: int, host: str) -> AckOutcome:
        """The table in the module of the machine, written another time."""
        is_reset, is_started = host != NO_HOST, self.machine.is_started
        if (is_reset and host != "host") or (not is_started and (not is_reset or index != 0)):
            return AckOutcome.REJECTED
        if is_started and is_reset and not self.reference.allow_reconnect:
            return AckOutcome.REJECTED
        if not is_reset and 0 <= index < self.start:
            return AckOutcome.ACCEPTED
        return AckOutcome.ACCEPTED if self.start <= index <= self.sent_end else AckOutcome.INVALID


def _check(data: bytes) -> None:
    choices = Choices(data)
    model = _Model(choices)
    if not choices.one_in(8):
        model.acknowledge(0, "host")
    while not choices.is_over and not model.is_dropped:
        match choices.below(9):
            case 0 | 1:
                model.take(1 + choices.below(12))
            case 2 | 3 | 4:
                model.send(choices.below(10), choices)
            case 5 | 6:
                model.acknowledge(model.start + choices.below(max(1, model.sent_end - model.start + 1)), NO_HOST)
            case 7:
                index = choices.number() - 1 if choices.one_in(3) else model.start + choices.below(8)
                model.acknowledge(index, choices.pick(_HOSTS))
            case _:
                if choices.one_in(4):
                    model.machine.source_ended(ValueError() if choices.one_in(2) else None)
                else:
                    model.machine.link_lost()


def _seeds() -> Iterable[bytes]:
    yield bytes([4, 4, 0, 0, 0, 3, 0, 0]) + bytes([0, 11, 2, 0, 0, 5, 3, 2, 0, 0] * 6)
    yield bytes([4, 4, 0, 2, 0, 3, 1, 0]) + bytes([0, 11, 2, 0, 0, 5, 3, 8, 0, 7, 0, 2, 1, 2, 0, 0] * 6)
    yield bytes(range(64))


TARGETS: Final = (Target(name="stream-producer", check=_check, seeds=_seeds, max_bytes=512),)
