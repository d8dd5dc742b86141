"""What a peer may say about streams without harm to anybody but itself."""

import sys
from typing import Any

import pytest

from refusion.rpc import RpcArgumentError, RpcLimits, RpcStream
from refusion.rpc._stream_scope import MAX_STREAMS, StreamScope
from refusion.rpc.formats import get_format
from refusion.rpc.protocol import ExceptionInfo, RpcMessage, SizeLimits
from refusion.rpc.protocol._exception_info import info_from_fields
from refusion.rpc.protocol._stream_reference import MAX_POSITION, StreamReference
from refusion.rpc.protocol._system_calls import DISCONNECT, KEEP_ALIVE
from refusion.testing import VirtualClock

from .world import RawPeer, World


class Table:
    """Stands for the streams of a peer."""

    def refer(self, reference: StreamReference, item_type: Any) -> StreamReference:
        return reference


@pytest.mark.parametrize("key", ["json5np", "msgpack6"])
@pytest.mark.parametrize("count", [MAX_STREAMS, MAX_STREAMS + 1])
def test_a_message_brings_a_bounded_number_of_streams(key: str, count: int) -> None:
    format_ = get_format(key)
    reference = StreamReference(host_id="a", local_id=1)
    value = reference.to_text() if format_.is_text else reference.to_map()
    data = format_.arguments((list[Any],)).encode(([value] * count,))
    codec = format_.arguments((list[RpcStream[int]],))
    table: Any = Table()
    with StreamScope(table):
        if count > MAX_STREAMS:
            with pytest.raises(RpcArgumentError, match="more than 4,096 streams in one message"):
                codec.decode(data)
        else:
            assert len(codec.decode(data)[0]) == count


@pytest.mark.parametrize(
    "value",
    [
        {"SerializedId": ["a", True]},
        {"SerializedId": ["a", 1], "AckPeriod": True},
        {"SerializedId": ["a", 1], "AckAdvance": 1.0},
        {"SerializedId": ["a", MAX_POSITION + 1]},
        {"SerializedId": ["a", "x" * 1_000_000]},
        {"SerializedId": [["x" * 1_000_000], 1]},
        {"SerializedId": ["a", 1], "AckPeriod": "x" * 1_000_000},
    ],
)
def test_a_reference_with_other_things_than_numbers_is_refused_in_few_words(value: Any) -> None:
    with pytest.raises(ValueError, match="a stream") as caught:
        StreamReference.from_map(value)
    assert len(str(caught.value)) < 200


def test_a_reference_of_many_parts_is_refused() -> None:
    with pytest.raises(ValueError, match="4 to 6 parts"):
        StreamReference.from_text("," * 1_000_000)


@pytest.mark.parametrize(
    ("fields", "info"),
    [
        ({"typeRef": "A", "Message": "b"}, ExceptionInfo("A", "b")),
        ({"TYPEREF": None, "message": 5}, ExceptionInfo("", "")),
        ({"TypeRef": ["A"], "other": {}}, ExceptionInfo("", "")),
        ({}, ExceptionInfo("", "")),
    ],
)
def test_an_error_has_texts_and_nothing_else(fields: dict[str, Any], info: ExceptionInfo) -> None:
    assert info_from_fields(fields) == info


def test_an_error_whose_text_is_something_deep_is_none() -> None:
    depth = sys.getrecursionlimit() // 2
    data = b'{"TypeRef":' + b"[" * depth + b"]" * depth + b"}"
    assert get_format("json5np").decode_error(data) == ExceptionInfo("", "")


async def test_of_the_streams_that_are_kept_alive_those_that_can_not_be_are_ignored(world: World) -> None:
    raw = await RawPeer.connect(world, format="json5np")
    await raw.introduce()
    numbers = f"[0,-1,7,{MAX_POSITION},{MAX_POSITION + 1},{'9' * 4_000}]"
    await raw.send(RpcMessage(KEEP_ALIVE, 0, 0, numbers.encode()))
    (told,) = [message for message in raw.received if message.method == DISCONNECT]
    assert raw.format.arguments((list[int],)).decode(told.args) == ([7, MAX_POSITION],)


async def test_streams_that_are_not_there_are_told_in_messages_of_the_size_that_is_allowed(clock: VirtualClock) -> None:
    sizes = SizeLimits(argument_bytes=1_024, envelope_bytes=1_024, handshake_frame_bytes=1_024)
    async with World(clock, limits=RpcLimits(drain_timeout=0.0, sizes=sizes)) as world:
        raw = await RawPeer.connect(world, format="json5np")
        await raw.introduce()
        # A float is longer here than where it came from.
        numbers = ",".join([f"{number}e14" for number in range(1, 151)])
        await raw.send(RpcMessage(KEEP_ALIVE, 0, 0, f"[{numbers}]".encode()))
        told = [message for message in raw.received if message.method == DISCONNECT]
        ids = [number for message in told for number in raw.format.arguments((list[int],)).decode(message.args)[0]]
        assert ids == [number * 10**14 for number in range(1, 151)]
        assert len(told) > 1


async def test_more_streams_than_a_peer_may_have_are_not_kept_alive(clock: VirtualClock) -> None:
    async with World(clock, limits=RpcLimits(drain_timeout=0.0, max_objects=3)) as world:
        raw = await RawPeer.connect(world)
        await raw.introduce()
        await raw.send(RpcMessage(KEEP_ALIVE, 0, 0, raw.format.arguments((list[int],)).encode(([1, 2, 3, 4, 5],))))
        (told,) = [message for message in raw.received if message.method == DISCONNECT]
        assert raw.format.arguments((list[int],)).decode(told.args) == ([1, 2, 3],)
