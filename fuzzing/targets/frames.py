"""Frames: what `RpcFormat.read` makes of any bytes."""

from collections.abc import Iterable
from functools import partial
from typing import Final

from fuzzing._harness import Target
from fuzzing._vectors import frames_of
from refusion.rpc import RpcProtocolError
from refusion.rpc.formats import RpcFormat, get_format
from refusion.rpc.protocol import MethodNames, RpcMessage, SizeLimits
from refusion.rpc.protocol._limits import DEFAULT_SIZES
from refusion.rpc.protocol._system_calls import RECONNECT

__all__ = ["TARGETS"]

_SMALL: Final = SizeLimits(
    method_bytes=64,
    headers=2,
    header_key_bytes=16,
    header_value_bytes=64,
    argument_bytes=1_024,
    envelope_bytes=1_024,
    frame_bytes=4_096,
    handshake_frame_bytes=1_024,
)
_names: Final = MethodNames()
_names.add("ITestService.Add:2")


def _check(format_: RpcFormat, smallest: int, data: bytes) -> None:
    for sizes in (DEFAULT_SIZES, _SMALL):
        messages, problem = format_.read(data, _names, sizes)
        assert problem is None or isinstance(problem, RpcProtocolError)
        # What the frame holds can't be more than the frame.
        assert len(messages) <= len(data) // smallest + 1
        assert sum(len(message.args) for message in messages) <= len(data)
        for message in messages:
            _check_limits(message, sizes)
    _check_again(format_, [message for message in format_.read(data, _names).messages if message.method_hash is None])


def _check_limits(message: RpcMessage, sizes: SizeLimits) -> None:
    assert len(message.method.encode()) <= sizes.method_bytes
    assert 0 <= message.related_id < 1 << 64
    assert 0 <= message.call_type <= 7
    assert len(message.args) <= sizes.argument_bytes
    assert len(message.headers) <= sizes.headers
    for name, value in message.headers:
        assert len(name.encode()) <= sizes.header_key_bytes
        assert len(value.encode()) <= sizes.header_value_bytes


def _check_again(format_: RpcFormat, messages: list[RpcMessage]) -> None:
    """What was read is written, and read again as the same; also together with what comes behind it."""
    buffer = bytearray()
    for message in messages:
        format_.write(buffer, message)
    again, problem = format_.read(bytes(buffer), _names)
    assert problem is None, problem
    assert again == [_as_written(format_, message) for message in messages], (again, messages)


def _as_written(format_: RpcFormat, message: RpcMessage) -> RpcMessage:
    """Text messages name the type of those calls only that are answered."""
    is_call = message.related_id and (not message.method.startswith("$") or message.method == RECONNECT)
    if is_call or not format_.is_text:
        return message
    return RpcMessage(message.method, message.related_id, 0, message.args, message.headers)


def _seeds(*formats: str) -> Iterable[bytes]:
    return frames_of(*formats)


def _target(name: str, key: str, smallest: int, *formats: str, tokens: tuple[bytes, ...] = ()) -> Target:
    return Target(
        name=name,
        check=partial(_check, get_format(key), smallest),
        seeds=partial(_seeds, *(formats or (key,))),
        tokens=tokens,
        max_bytes=4_096,
    )


TARGETS: Final = (
    _target(
        "frames-json",
        "json5np",
        3,
        "json5np",
        "json5",
        tokens=(
            *(b"\n\x1e", b"\x1f", b'"Method":', b'"RelatedId":', b'"CallType":', b'"Headers":[', b'"$sys.Ok:1"', b"\n"),
            *(b"null", b"18446744073709551616", b"-1", b"1e3", b"\\ud800", b"\\u0000", b'{"Method":""}\n'),
        ),
    ),
    _target("frames-msgpack6", "msgpack6", 7),
    _target("frames-msgpack6c", "msgpack6c", 10),
)
