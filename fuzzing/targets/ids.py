"""Numbers in LEB128 and lists of ids: what a peer asks about its calls."""

from collections.abc import Iterable
from typing import Any, Final

from fuzzing._choices import Choices
from fuzzing._harness import Target
from fuzzing._vectors import vectors
from refusion.rpc import RpcProtocolError
from refusion.rpc.protocol import (
    CallStage,
    InboundCalls,
    OutboundCalls,
    ids_from_bytes,
    ids_to_bytes,
    read_leb128,
    write_leb128,
)

__all__ = ["TARGETS"]


class _Call:
    method = "Service.Method:0"
    call_type = 0
    stage = CallStage.WAITING
    is_sent = True
    may_reconnect = True
    may_resend = True

    def __init__(self, number: int = 0) -> None:
        self.id = number


def _check(data: bytes) -> None:
    _check_number(data)
    _check_list(data)
    _check_calls(data)


def _check_number(data: bytes) -> None:
    try:
        number, end = read_leb128(data, 0)
    except RpcProtocolError:
        return
    assert 0 <= number < 1 << 64
    assert 0 < end <= min(len(data), 10)
    buffer = bytearray()
    write_leb128(buffer, number)
    assert read_leb128(bytes(buffer), 0) == (number, len(buffer))
    assert len(buffer) <= end


def _check_list(data: bytes) -> None:
    try:
        ids = ids_from_bytes(data)
    except RpcProtocolError:
        return
    assert len(ids) <= len(data)
    assert ids == sorted(ids)
    assert all(0 <= number < 1 << 64 for number in ids)
    written = ids_to_bytes(ids)
    assert ids_from_bytes(written) == ids
    assert len(written) <= len(data)


def _check_calls(data: bytes) -> None:
    choices = Choices(data)
    inbound: InboundCalls[Any] = InboundCalls()
    for _ in range(choices.below(5)):
        inbound.add(_Call(choices.number()))
    outbound: OutboundCalls[Any] = OutboundCalls()
    for _ in range(choices.below(5)):
        outbound.add(_Call())
    asked = [call.id for call in outbound]
    stages = {stage: choices.some_bytes() for stage in range(choices.below(4))}
    try:
        unknown, known = inbound.reconnect(stages)
        listed = ids_from_bytes(unknown)
    except RpcProtocolError:
        listed, known = [], []
    assert all(inbound.get(number) is None for number in listed)
    assert all(inbound.get(call.id) is call for call, _ in known)
    # However often it was named, a call is answered again once.
    assert len({call.id for call, _ in known}) == len(known)
    try:
        outcome = outbound.same_peer_answered(choices.rest(), asked)
    except RpcProtocolError:
        return
    assert len(outcome.resent) <= len(asked)


def _seeds() -> Iterable[bytes]:
    for vector in vectors("increasing-seq")["vectors"]:
        yield bytes.fromhex(vector["bytesHex"])
        yield b"\x02\0\x01\0\x02\x02\x02" + bytes.fromhex(vector["bytesHex"])


TARGETS: Final = (Target(name="ids", check=_check, seeds=_seeds, tokens=(b"\xff" * 9 + b"\x01", b"\x80" * 9, b"\0")),)
