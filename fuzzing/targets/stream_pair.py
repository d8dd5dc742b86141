"""A producer and a consumer over a link that breaks and reorders nothing: all items come, once, in order."""

from collections import deque
from collections.abc import Iterable
from typing import Any, Final

from fuzzing._choices import Choices
from fuzzing._harness import Target
from refusion.rpc.protocol._stream_consumer import SendAck, SendAckEnd, StreamConsumer
from refusion.rpc.protocol._stream_producer import AckOutcome, SendEnd, SendItems, StreamProducer
from refusion.rpc.protocol._stream_reference import StreamReference

__all__ = ["TARGETS"]

_MAX_ROUNDS: Final = 10_000


class _Pair:
    """Both ends, and what is under way between them."""

    def __init__(self, choices: Choices) -> None:
        advance = 1 + choices.below(12)
        self.reference = StreamReference(
            host_id="host",
            local_id=1,
            ack_period=1 + choices.below(advance),
            ack_advance=advance,
            allow_reconnect=True,
            is_real_time=choices.one_in(3),
        )
        self.producer: StreamProducer[int] = StreamProducer(self.reference, batch_size=1 + choices.below(6))
        self.consumer: StreamConsumer[int] = StreamConsumer(self.reference)
        self.to_consumer: deque[SendItems[int] | SendEnd] = deque()
        self.to_producer: deque[SendAck | SendAckEnd] = deque()
        self.count = choices.below(80)
        self.taken = 0
        self.items: list[int] = []
        self.is_dropped = False
        self.is_up = True
        self.post(self.consumer.start())

    def post(self, commands: Any) -> None:
        if self.is_up:
            self.to_producer.extend(commands)

    def take(self) -> None:
        if self.producer.room > 0:
            if self.taken < self.count:
                self.producer.took(self.taken)
                self.taken += 1
            else:
                self.producer.source_ended()

    def send(self) -> None:
        command = self.producer.next_send() if self.is_up and not self.is_dropped else None
        if command is not None:
            self.to_consumer.append(command)

    def deliver_to_consumer(self) -> None:
        if self.to_consumer:
            match self.to_consumer.popleft():
                case SendItems(first, items):
                    self.post(self.consumer.received(first, items))
                case SendEnd(end, error):
                    assert error is None
                    self.post(self.consumer.ended(end, None))

    def deliver_to_producer(self) -> None:
        if not self.to_producer:
            return
        command = self.to_producer.popleft()
        if self.is_dropped:
            return
        if isinstance(command, SendAckEnd):
            self.is_dropped = True
        else:
            assert self.producer.acknowledged(command.end, command.host_id) is AckOutcome.ACCEPTED, command

    def read(self) -> None:
        self.post(self.consumer.wanted())
        if self.consumer.waiting_count:
            self.items.append(self.consumer.take())

    def cut(self) -> None:
        if self.is_up:
            self.is_up = False
            self.to_consumer.clear()
            self.to_producer.clear()
            self.producer.link_lost()
            self.consumer.link_lost()

    def connect(self) -> None:
        if not self.is_up:
            self.is_up = True
            self.post(self.consumer.link_ready("host"))


def _check(data: bytes) -> None:
    choices = Choices(data)
    pair = _Pair(choices)
    steps = (pair.take, pair.send, pair.deliver_to_consumer, pair.deliver_to_producer, pair.read)
    while not choices.is_over:
        match choices.below(16):
            case 14:
                pair.cut()
            case 15:
                pair.connect()
            case step:
                steps[step % 5]()
    pair.connect()
    for _ in range(_MAX_ROUNDS):
        if pair.consumer.is_over and not pair.consumer.waiting_count:
            break
        for run in steps:
            run()
    else:
        raise AssertionError("it doesn't come to its end")
    assert pair.consumer.error is None
    if pair.reference.is_real_time:
        assert pair.items == sorted(set(pair.items))
    else:
        assert pair.items == list(range(pair.count))


def _seeds() -> Iterable[bytes]:
    yield bytes([10, 4, 0, 3, 79]) + bytes([0, 0, 1, 2, 3, 4, 4] * 10)
    yield bytes([10, 4, 0, 3, 79]) + bytes([0, 0, 1, 2, 3, 4, 14, 0, 15, 3, 1, 2, 4] * 10)
    yield bytes([3, 1, 2, 3, 79]) + bytes([0, 0, 0, 0, 1, 2, 3, 4, 14, 0, 15, 3, 1, 2, 4] * 10)


TARGETS: Final = (Target(name="stream-pair", check=_check, seeds=_seeds, max_bytes=512),)
