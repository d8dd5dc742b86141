"""References of streams, in the form of text formats and in that of MessagePack."""

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from fuzzing._harness import Target
from fuzzing._vectors import frames_of
from refusion.rpc.protocol._stream_reference import MAX_POSITION, StreamReference

__all__ = ["TARGETS"]


def _check(data: bytes) -> None:
    _check_form(StreamReference.from_text, data.decode(errors="replace"))
    try:
        value: Any = msgspec.msgpack.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError):
        return
    _check_form(StreamReference.from_map, value)


def _check_form(read: Any, value: Any) -> None:
    try:
        reference = read(value)
    except ValueError as error:
        assert len(str(error)) < 500
        return
    assert 0 < reference.local_id <= MAX_POSITION
    assert 0 < reference.ack_period < 2**31
    assert 0 < reference.ack_advance < 2**31
    assert all(type(number) is int for number in (reference.local_id, reference.ack_period, reference.ack_advance))
    assert "," in reference.host_id or StreamReference.from_text(reference.to_text()) == reference
    assert StreamReference.from_map(msgspec.msgpack.decode(msgspec.msgpack.encode(reference.to_map()))) == reference


def _seeds() -> Iterable[bytes]:
    reference = StreamReference(host_id="a2c9b1de-1111-4222-8333-444455556666", local_id=12)
    yield reference.to_text().encode()
    yield msgspec.msgpack.encode(reference.to_map())
    for frame in frames_of("json5np", "msgpack6"):
        start = max(frame.find(b"SerializedId") - 2, frame.find(b",30,61") - 38)
        if start > 0:
            yield frame[start:]


TARGETS: Final = (
    Target(
        name="stream-references",
        check=_check,
        seeds=_seeds,
        tokens=(
            *(b"\xacSerializedId\x92", b"\xa9AckPeriod", b"\xaaAckAdvance", b"\xaeAllowReconnect", b"\xaaIsRealTime"),
            *(b",", b",30,61,1,0", b"9" * 20, b"-1", b"\xc3", b"\xcf" + b"\xff" * 8, b"\x80", b"\x90"),
        ),
        max_bytes=512,
    ),
)
