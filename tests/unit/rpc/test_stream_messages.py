"""What streams look like to a peer that speaks the protocol by itself."""

import json
from pathlib import Path
from typing import Any, NewType

import msgspec
import pytest

from refusion.rpc import RpcArgumentError, RpcStream
from refusion.rpc._stream_types import carries_streams, item_types
from refusion.rpc.formats import get_format
from refusion.rpc.protocol import ExceptionInfo, RpcMessage
from refusion.rpc.protocol._stream_reference import MAX_POSITION, NO_HOST, StreamReference
from refusion.rpc.protocol._system_calls import ACK, ACK_END, BATCH, DISCONNECT, END, ITEM, KEEP_ALIVE, OK
from refusion.testing import VirtualClock

from .stream_world import Page, StreamWorld, Tail
from .test_golden_vectors import DATA, load, untyped
from .world import RawPeer

HOST = "3c9ba93b-52fa-4792-a538-4ea953101e41"


class Reader:
    """A peer without a library that reads a stream of the server."""

    def __init__(self, raw: RawPeer, answer: RpcMessage) -> None:
        self.raw = raw
        (reference,) = raw.format.arguments((dict[str, Any] if not raw.is_text else str,)).decode(answer.args)
        self.wire = reference
        read = StreamReference.from_text if raw.is_text else StreamReference.from_map
        self.reference = read(reference)

    @classmethod
    async def open(cls, streams: StreamWorld, method: str, *args: Any, format: str = "msgpack6") -> "Reader":
        raw = await RawPeer.connect(streams, format=format)
        await raw.introduce()
        await raw.send(RpcMessage(f"Streams.{method}:{len(args) + 1}", 1, 0, raw.arguments(*args)))
        (answer,) = [message for message in raw.received if message.method == OK]
        raw.received.clear()
        return cls(raw, answer)

    async def ack(self, index: int, host: str = NO_HOST) -> None:
        await self.raw.send(RpcMessage(ACK, self.reference.local_id, 0, self.raw.arguments(index, host)))

    async def ack_end(self, host: str | None = None) -> None:
        args = self.raw.arguments(host or self.reference.host_id)
        await self.raw.send(RpcMessage(ACK_END, self.reference.local_id, 0, args))

    def got(self) -> list[Any]:
        """Return what has come since: items with their indexes, ends, refusals."""
        out: list[Any] = []
        for message in self.raw.received:
            decode = self.raw.format.arguments
            match message.method:
                case "$sys.I:2":
                    out.append(decode((int, Any)).decode(message.args))
                case "$sys.B:2":
                    first, items = decode((int, list[Any])).decode(message.args)
                    out += enumerate(items, first)
                case "$sys.End:2":
                    index, info = decode((int, ExceptionInfo)).decode(message.args)
                    out.append(("end", index, info.type_ref.partition(",")[0]))
                case "$sys.Disconnect:1":
                    out += [("gone", *decode((list[int],)).decode(message.args)[0])]
                case other:
                    out.append(other)
        self.raw.received.clear()
        return out


@pytest.mark.parametrize("format", ["json5np", "msgpack6", "msgpack6c"])
async def test_a_session_goes_as_the_reference_has_recorded_it(clock: VirtualClock, format: str) -> None:
    async with StreamWorld(clock, format=format) as streams:
        reader = await Reader.open(streams, "Count", 100, 30, 61, format=format)
        assert (reader.reference.local_id, reader.reference.ack_period, reader.reference.ack_advance) == (1, 30, 61)
        await reader.ack(0, reader.reference.host_id)
        assert reader.got() == [(i, i) for i in range(61)]
        await reader.ack(30)
        assert reader.got() == [(i, i) for i in range(61, 91)]
        await reader.ack(60)
        assert reader.got() == [*((i, i) for i in range(91, 100)), ("end", 100, "")]
        await reader.ack_end()
        assert reader.got() == []
        await reader.ack(90)
        assert reader.got() == [("gone", 1)]
        assert streams.streams.closed == ["count"]


async def test_the_host_of_a_stream_is_the_peer_of_the_handshake(streams: StreamWorld) -> None:
    raw = await RawPeer.connect(streams)
    await raw.introduce()
    await raw.send(RpcMessage("Streams.Count:4", 1, 0, raw.arguments(3, 30, 61)))
    reader = Reader(raw, raw.received[-1])
    assert reader.reference.host_id == raw.handshake.remote_peer_id
    assert list(reader.wire) == ["SerializedId", "AckPeriod", "AckAdvance", "AllowReconnect", "IsRealTime"]


async def test_a_reset_on_the_next_connection_goes_on_where_it_says(streams: StreamWorld) -> None:
    reader = await Reader.open(streams, "Count", 50, 5, 10)
    await reader.ack(0, reader.reference.host_id)
    assert reader.got() == [(i, i) for i in range(10)]
    raw = await RawPeer.connect(streams)
    await raw.introduce(index=2)
    reader.raw = raw
    raw.received.clear()
    await reader.ack(4, reader.reference.host_id)
    assert reader.got() == [(i, i) for i in range(4, 14)]


async def test_another_peer_under_the_same_client_id_gets_none_of_the_streams(streams: StreamWorld) -> None:
    reader = await Reader.open(streams, "Count", 50, 5, 10)
    await reader.ack(0, reader.reference.host_id)
    raw = await RawPeer.connect(streams)
    await raw.introduce("another-peer")
    assert streams.streams.closed == ["count"]
    reader.raw = raw
    raw.received.clear()
    await reader.ack(4, reader.reference.host_id)
    assert reader.got() == [("gone", 1)]


# What the server says to acknowledgements that make no sense


@pytest.mark.parametrize(("index", "is_reset"), [(0, False), (5, True), (5, False)])
async def test_a_stream_that_isnt_started_properly_is_dropped(streams: StreamWorld, index: int, is_reset: bool) -> None:
    reader = await Reader.open(streams, "Count", 50, 5, 10)
    await reader.ack(index, reader.reference.host_id if is_reset else NO_HOST)
    assert reader.got() == [("gone", 1)]
    assert streams.server.server_peers[-1].streams.shared_count == 0


async def test_a_reset_for_another_host_drops_the_stream(streams: StreamWorld) -> None:
    reader = await Reader.open(streams, "Count", 50, 5, 10)
    await reader.ack(0, HOST)
    assert reader.got() == [("gone", 1)]
    await reader.ack(0, reader.reference.host_id)
    assert reader.got() == [("gone", 1)]


async def test_a_reset_of_a_running_stream_that_may_not_reconnect_drops_it(streams: StreamWorld) -> None:
    reader = await Reader.open(streams, "Fragile", 50)
    assert not reader.reference.allow_reconnect
    await reader.ack(0, reader.reference.host_id)
    reader.got()
    await reader.ack(3, reader.reference.host_id)
    assert reader.got() == [("gone", 1)]
    assert streams.streams.closed == ["count"]


@pytest.mark.parametrize("index", [-1, 11, 2**40])
async def test_a_position_that_was_never_sent_ends_the_stream_with_an_error(streams: StreamWorld, index: int) -> None:
    reader = await Reader.open(streams, "Count", 50, 5, 10)
    await reader.ack(0, reader.reference.host_id)
    reader.got()
    await reader.ack(index)
    assert reader.got() == [("end", index, "System.InvalidOperationException")]
    assert streams.streams.closed == ["count"]


async def test_a_reset_to_what_was_acknowledged_ends_the_stream_with_an_error(streams: StreamWorld) -> None:
    reader = await Reader.open(streams, "Count", 50, 5, 10)
    await reader.ack(0, reader.reference.host_id)
    await reader.ack(5)
    reader.got()
    await reader.ack(4, reader.reference.host_id)
    assert reader.got() == [("end", 4, "System.InvalidOperationException")]


async def test_an_acknowledgement_of_everything_is_the_end(streams: StreamWorld) -> None:
    reader = await Reader.open(streams, "Count", 50, 5, 10)
    await reader.ack(0, reader.reference.host_id)
    reader.got()
    await reader.ack(MAX_POSITION, reader.reference.host_id)
    assert reader.got() == []
    assert streams.streams.closed == ["count"]


async def test_an_end_for_another_host_drops_the_stream(streams: StreamWorld) -> None:
    reader = await Reader.open(streams, "Count", 50, 5, 10)
    await reader.ack(0, reader.reference.host_id)
    reader.got()
    await reader.ack_end(HOST)
    assert reader.got() == [("gone", 1)]


async def test_several_resets_at_once_are_answered_once(streams: StreamWorld) -> None:
    reader = await Reader.open(streams, "Count", 50, 5, 10)
    await reader.ack(0, reader.reference.host_id)
    reader.got()
    reset = RpcMessage(ACK, 1, 0, reader.raw.arguments(7, reader.reference.host_id))
    await reader.raw.send(reset, reset, reset)
    assert reader.got() == [(i, i) for i in range(7, 17)]


async def test_a_keep_alive_keeps_what_it_lists_and_tells_of_the_rest(streams: StreamWorld) -> None:
    reader = await Reader.open(streams, "Count", 50, 5, 10)
    for _ in range(20):
        await reader.raw.send(RpcMessage(KEEP_ALIVE, 0, 0, reader.raw.arguments([1, 5])))
        await streams.clock.advance(10)
    await reader.ack(0, reader.reference.host_id)
    got = reader.got()
    assert got[-1] == (9, 9)
    assert got.count(("gone", 5)) == 20
    for _ in range(14):
        await reader.raw.send(RpcMessage(KEEP_ALIVE, 0, 0, reader.raw.arguments([])))
        await streams.clock.advance(10)
    assert streams.streams.closed == ["count"]


# What a reader says to a producer


class Producer:
    """A peer without a library that gives the server a stream."""

    def __init__(self, raw: RawPeer, reference: StreamReference) -> None:
        self.raw = raw
        self.reference = reference

    @classmethod
    async def open(
        cls, streams: StreamWorld, *, format: str = "msgpack6", peer_id: str = HOST, **options: Any
    ) -> "Producer":
        raw = await RawPeer.connect(streams, format=format)
        await raw.introduce(peer_id)
        reference = StreamReference(host_id=HOST, local_id=7, **options)
        value = reference.to_text() if raw.is_text else reference.to_map()
        await raw.send(RpcMessage("Streams.Total:2", 1, 0, raw.arguments(value)))
        return cls(raw, reference)

    async def send(self, method: str, *values: Any) -> None:
        await self.raw.send(RpcMessage(method, 7, 0, self.raw.arguments(*values)))

    def heard(self) -> list[Any]:
        out: list[Any] = []
        for message in self.raw.received:
            decode = self.raw.format.arguments
            match message.method:
                case "$sys.Ack:2":
                    index, host = decode((int, str)).decode(message.args)
                    out.append(index if host == NO_HOST else ("reset", index, host))
                case "$sys.AckEnd:1":
                    out.append(("done", *decode((str,)).decode(message.args)))
                case "$sys.Ok:1":
                    out.append(("result", *decode((Any,)).decode(message.args)))
                case "$sys.KeepAlive:1":
                    out.append(("alive", *decode((list[int],)).decode(message.args)[0]))
                case "$sys.Error:1":
                    out.append(self.raw.error_text(message))
                case "$sys.Handshake:1":
                    pass
                case other:
                    out.append(other)
        self.raw.received.clear()
        return out


@pytest.mark.parametrize("format", ["json5np", "msgpack6", "msgpack6c"])
async def test_a_reader_acknowledges_as_the_reference_does(clock: VirtualClock, format: str) -> None:
    async with StreamWorld(clock, format=format) as streams:
        producer = await Producer.open(streams, format=format)
        assert producer.heard() == [("reset", 0, HOST)]
        await producer.send(BATCH, 0, list(range(50)))
        assert producer.heard() == [30]
        await producer.send(ITEM, 50, 50)
        assert producer.heard() == []
        await producer.send(BATCH, 51, list(range(51, 100)))
        assert producer.heard() == [60, 90]
        await producer.send(END, 100, {"TypeRef": "", "Message": ""})
        assert producer.heard() == [("done", HOST), ("result", 4_950)]
        await producer.send(ITEM, 100, 100)
        await producer.send(END, 100, {"TypeRef": "", "Message": ""})
        await producer.raw.send(RpcMessage(DISCONNECT, 0, 0, producer.raw.arguments([7])))
        assert producer.heard() == []


@pytest.mark.parametrize("names", [("TypeRef", "Message"), ("typeRef", "message")])
async def test_an_error_at_the_end_may_be_written_in_either_case(clock: VirtualClock, names: tuple[str, str]) -> None:
    async with StreamWorld(clock, format="json5np") as streams:
        producer = await Producer.open(streams, format="json5np")
        error = dict(zip(names, ("System.TimeoutException, System.Private.CoreLib", "too late"), strict=True))
        await producer.send(END, 0, error)
        assert producer.heard() == [("reset", 0, HOST), ("done", HOST), "too late"]


async def test_a_keep_alive_lists_what_is_read(streams: StreamWorld) -> None:
    producer = await Producer.open(streams)
    await streams.clock.advance(10)
    assert producer.heard() == [("reset", 0, HOST), ("alive", 7)]
    await producer.send(END, 0, {"TypeRef": "", "Message": ""})
    await streams.clock.advance(10)
    assert producer.heard() == [("done", HOST), ("result", 0), ("alive",)]


async def test_on_the_next_connection_the_reader_asks_for_the_rest(streams: StreamWorld) -> None:
    producer = await Producer.open(streams)
    await producer.send(BATCH, 0, [1, 2, 3])
    producer.raw = await RawPeer.connect(streams)
    await producer.raw.introduce(HOST, index=2)
    assert producer.heard() == [("reset", 3, HOST)]


async def test_a_stream_whose_host_isnt_the_peer_is_lost_with_its_connection(streams: StreamWorld) -> None:
    producer = await Producer.open(streams, peer_id="another-peer")
    await producer.send(BATCH, 0, [1, 2, 3])
    producer.raw = await RawPeer.connect(streams)
    await producer.raw.introduce("another-peer", index=2)
    done, error = producer.heard()
    assert done == ("done", HOST)
    assert error == "the connection broke, and the stream isn't one of the peer's own"


async def test_a_refused_stream_is_an_error_of_the_reader_and_isnt_answered(streams: StreamWorld) -> None:
    producer = await Producer.open(streams)
    await producer.raw.send(RpcMessage(DISCONNECT, 0, 0, producer.raw.arguments([7])))
    assert producer.heard() == [("reset", 0, HOST), "the other side doesn't have the stream any more"]


async def test_a_gap_is_asked_for(streams: StreamWorld) -> None:
    producer = await Producer.open(streams)
    await producer.send(ITEM, 0, 1)
    await producer.send(ITEM, 2, 3)
    await producer.send(ITEM, 3, 4)
    assert producer.heard() == [("reset", 0, HOST), ("reset", 1, HOST)]


async def test_a_flood_ends_the_stream(streams: StreamWorld) -> None:
    producer = await Producer.open(streams, ack_period=2, ack_advance=4)
    await producer.send(BATCH, 0, list(range(11)))
    start, done, error = producer.heard()
    assert (start, done) == (("reset", 0, HOST), ("done", HOST))
    assert error == "a stream was sent up to item 11 when 0 were consumed; its window is 4"


async def test_an_item_that_cant_be_read_ends_the_stream(streams: StreamWorld) -> None:
    producer = await Producer.open(streams)
    await producer.send(ITEM, 0, "x")
    assert producer.heard()[1] == ("done", HOST)


async def test_messages_about_streams_that_cant_be_read_are_dropped(
    streams: StreamWorld, caplog: pytest.LogCaptureFixture
) -> None:
    producer = await Producer.open(streams)
    await producer.send(END, "x", {})
    await producer.send(ACK, "x", "y")
    await producer.raw.send(RpcMessage(DISCONNECT, 0, 0, producer.raw.arguments("x")))
    assert caplog.text.count("a message about a stream was dropped") == 3
    await producer.send(END, 0, {})
    assert producer.heard()[-1] == ("result", 0)


# References


def test_references_are_those_of_the_reference_implementations() -> None:
    for key in ("json5np", "msgpack6"):
        found = 0
        for vector in load(f"messages-{key}.json")["vectors"]:
            if not vector["name"].startswith("stream.ref"):
                continue
            found += 1
            (value,) = untyped(vector["decoded"]["messages"][0]["args"])
            if key == "json5np":
                assert StreamReference.from_text(value).to_text() == value
            else:
                assert StreamReference.from_map(value).to_map() | value == StreamReference.from_map(value).to_map()
        assert found >= 2


def test_a_recorded_reference_of_a_dotnet_peer_is_read() -> None:
    vectors = [vector for vector in load("dotnet-shaped.json")["vectors"] if vector["name"] == "ok.stream-ref"]
    assert len(vectors) == 3
    for vector in vectors:
        (value,) = untyped(vector["decoded"]["messages"][0]["args"])
        read = StreamReference.from_text if isinstance(value, str) else StreamReference.from_map
        assert read(value) == StreamReference(host_id="deadbeef-0123-4567-89ab-cdef01234567", local_id=1)


def test_old_references_without_flags_are_read() -> None:
    assert StreamReference.from_text(f"{HOST},1,30,61") == StreamReference(host_id=HOST, local_id=1)
    reference = StreamReference.from_map({"SerializedId": [HOST, 1]})
    assert reference == StreamReference(host_id=HOST, local_id=1)


@pytest.mark.parametrize(
    "text",
    ["1,2,3", "h,1,30,61,1,0,0", "h,x,30,61", "h,1,0,61", "h,1,30,-1", "h,0,30,61", f"h,1,30,{2**31}", "h,1,,61"],
)
def test_a_text_that_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        StreamReference.from_text(text)


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        {"SerializedId": [HOST]},
        {"SerializedId": [1, HOST]},
        {"SerializedId": [HOST, 0]},
        {"SerializedId": [HOST, 1], "AckPeriod": 0},
        {"SerializedId": [HOST, 1], "AckAdvance": "61"},
    ],
)
def test_a_value_that_is_no_reference_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=r"reference|number"):
        StreamReference.from_map(value)


@pytest.mark.parametrize("format", ["json5np", "msgpack6"])
async def test_what_is_no_stream_is_refused_by_name(clock: VirtualClock, format: str) -> None:
    async with StreamWorld(clock, format=format) as streams:
        raw = await RawPeer.connect(streams, format=format)
        await raw.introduce()
        for value, problem in ((None, "there is no stream where one is declared"), (5, "reference is a")):
            await raw.send(RpcMessage("Streams.Total:2", 1, 0, raw.arguments(value)))
            text = raw.error_text(raw.received[-1])
            assert "argument 'numbers' of Streams.total" in text
            assert problem in text


async def test_an_empty_text_is_an_empty_stream(clock: VirtualClock) -> None:
    async with StreamWorld(clock, format="json5np") as streams:
        raw = await RawPeer.connect(streams, format="json5np")
        await raw.introduce()
        await raw.send(RpcMessage("Streams.Total:2", 1, 0, b'""'))
        assert raw.received[-1].args == b"0"


def test_a_stream_outside_of_a_message_is_refused() -> None:
    codec = get_format("msgpack6").arguments((RpcStream[int],))
    with pytest.raises(RpcArgumentError, match="a stream can be sent only where the declared type has one"):
        codec.encode((RpcStream([1]),))
    data = get_format("msgpack6").arguments((Any,)).encode((StreamReference(host_id=HOST, local_id=1).to_map(),))
    with pytest.raises(RpcArgumentError, match="a stream can be read only from a message of a peer"):
        codec.decode(data)


# Types


class Box(msgspec.Struct, dict=True):
    content: "list[RpcStream[bytes]] | None"


class Tree(msgspec.Struct):
    left: "Tree | None" = None
    right: int = 0


Alias = NewType("Alias", list[RpcStream[str]])


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        (int, ()),
        (Any, ()),
        (list[dict[str, int]], ()),
        (Tree, ()),
        (RpcStream, (Any,)),
        (RpcStream[int], (int,)),
        (RpcStream[int] | None, (int,)),
        (RpcStream[RpcStream[int]], (RpcStream[int], int)),
        (dict[str, tuple[RpcStream[int], ...]], (int,)),
        (Box, (bytes,)),
        (list[Box] | RpcStream[int], (bytes, int)),
        (Page, (str, Page)),
        (Tail, (int,)),
        (Alias, (str,)),
    ],
)
def test_a_type_tells_which_streams_its_values_may_hold(declared: Any, expected: tuple[Any, ...]) -> None:
    assert item_types(declared) == expected
    assert carries_streams(declared) == bool(expected)


def test_the_recorded_sessions_have_streams_in_them() -> None:
    """The frames of these are read and written in the tests of the golden vectors."""
    for path in Path(DATA).glob("transcript-same-peer-*.json"):
        assert {"$sys.Ack:2", "$sys.AckEnd:1", "$sys.I:2", "$sys.End:2"} <= {
            message["method"]
            for event in json.loads(path.read_text())["events"]
            for message in event.get("messages", ())
        }
