"""Lists of ids that nobody would send, unless to do harm."""

from time import process_time
from typing import Any

import pytest

from refusion.rpc import RpcArgumentError, RpcProtocolError
from refusion.rpc._reconnection import _RECONNECT
from refusion.rpc.formats import get_format
from refusion.rpc.protocol import CallStage, InboundCalls, OutboundCalls, ids_from_bytes, ids_to_bytes
from refusion.rpc.protocol._limits import MAX_IDS


class Call:
    method = "Service.Method:0"
    call_type = 0
    stage = CallStage.WAITING
    is_sent = may_reconnect = may_resend = True

    def __init__(self, number: int = 0) -> None:
        self.id = number


def test_a_list_ends_with_64_bits() -> None:
    largest = ids_to_bytes([(1 << 64) - 1])
    assert ids_from_bytes(largest) == [(1 << 64) - 1]
    with pytest.raises(RpcProtocolError, match="64-bit"):
        ids_from_bytes(largest + b"\x01")


def test_a_list_is_of_a_bounded_length() -> None:
    assert len(ids_from_bytes(bytes(MAX_IDS))) == MAX_IDS
    with pytest.raises(RpcProtocolError, match="more than 1,000,000"):
        ids_from_bytes(bytes(MAX_IDS + 1))


def test_several_lists_together_are_of_a_bounded_length() -> None:
    calls: InboundCalls[Any] = InboundCalls()
    with pytest.raises(RpcProtocolError, match="more than 1,000,000"):
        calls.reconnect({0: bytes(MAX_IDS), 1: b"\x01"})


def test_a_call_that_is_named_many_times_is_answered_again_once() -> None:
    calls: InboundCalls[Any] = InboundCalls()
    call = Call(5)
    calls.add(call)
    unknown, known = calls.reconnect({0: ids_to_bytes([5] * 1_000), 1: ids_to_bytes([5, 5, 6])})
    assert known == [(call, 1)]
    assert ids_from_bytes(unknown) == [6]


def test_of_what_is_unknown_to_the_other_side_only_what_was_asked_about_counts() -> None:
    calls: OutboundCalls[Any] = OutboundCalls()
    for _ in range(3):
        calls.add(Call())
    # All of these would have the same place in a set.
    same_place = [((1 << 61) - 1) * factor for factor in range(1, 8)]
    outcome = calls.same_peer_answered(ids_to_bytes([1, 1, 3, 4, *same_place]), [1, 2])
    assert [call.id for call in outcome.resent] == [1]


@pytest.mark.parametrize(
    ("step", "problem"),
    [
        # Numbers that have the same place in a map: making one of all of them would take minutes.
        ((1 << 61) - 1, "argument 1: Integer value out of range"),
        (1_000, "argument 1: Expected `int` <= 255"),
    ],
)
def test_a_map_of_stages_is_small_or_refused_at_once(step: int, problem: str) -> None:
    codec = get_format("json5np").arguments(_RECONNECT.argument_types)
    stages = ",".join([f'"{step * (number + 1)}":""' for number in range(100_000)])
    started = process_time()
    with pytest.raises(RpcArgumentError, match=problem):
        codec.decode(f"1\x1f{{{stages}}}".encode())
    assert process_time() - started < 2.0


def test_to_know_whether_a_call_waits_few_are_looked_at() -> None:
    looked_at = 0

    class Call:
        id = 0

        @property
        def stage(self) -> CallStage:
            nonlocal looked_at
            looked_at += 1
            return CallStage.WAITING

    calls: OutboundCalls[Any] = OutboundCalls()
    assert not calls.has_waiting
    for _ in range(1_000):
        calls.add(Call())
    assert calls.has_waiting
    assert looked_at == 1
