"""Argument data: what codecs of many types make of any bytes."""

from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from typing import Any, Final

from fuzzing._choices import Choices
from fuzzing._harness import Target
from fuzzing._vectors import messages_of
from refusion.rpc import RpcArgumentError, RpcStream
from refusion.rpc._stream_scope import StreamScope
from refusion.rpc.formats import ArgumentCodec, RpcFormat, get_format, is_polymorphic
from refusion.rpc.protocol._stream_reference import StreamReference

from ._same import is_same, is_writable
from ._types import SAMPLES

__all__ = ["TARGETS"]

_STREAMS: Final = ((RpcStream[int],), (list[RpcStream[str]], int), (dict[str, RpcStream[int] | None],))


class _Table:
    """Stands for the streams of a peer."""

    remote_peer_id = "peer"

    def refer(self, reference: StreamReference, item_type: Any) -> StreamReference:
        return reference


def _check(format_: RpcFormat, data: bytes) -> None:
    choices = Choices(data)
    which = choices.below(len(SAMPLES) + len(_STREAMS))
    if which < len(SAMPLES):
        types = SAMPLES[which][0]
        _check_codec(format_.arguments(types), types, choices.rest())
    else:
        _check_streams(format_, _STREAMS[which - len(SAMPLES)], choices.rest())


def _check_codec(codec: ArgumentCodec, types: tuple[Any, ...], data: bytes) -> None:
    try:
        values = codec.decode(data)
    except RpcArgumentError as error:
        assert str(error)
        assert error.index is None or 0 <= error.index < len(types)
        return
    assert len(values) == len(types)
    try:
        written = codec.encode(values)
    except RpcArgumentError:
        # A reader may take from texts what there is no other form for; and what comes from a peer without types
        # may be of a class without a name.
        assert any(map(is_polymorphic, types)) or not is_writable(values), values
        return
    again = codec.decode(written)
    assert is_same(again, values), (values, written, again)


def _check_streams(format_: RpcFormat, types: tuple[Any, ...], data: bytes) -> None:
    table: Any = _Table()
    try:
        with StreamScope(table):
            values = format_.arguments(types).decode(data)
    except RpcArgumentError:
        return
    for value in values:
        for stream in value.values() if isinstance(value, dict) else value if isinstance(value, list) else [value]:
            if isinstance(stream, RpcStream):
                _check_reference(stream._remote)


def _check_reference(reference: Any) -> None:
    # None stands for the null stream of .NET.
    if reference is not None:
        assert "," in reference.host_id or StreamReference.from_text(reference.to_text()) == reference
        assert StreamReference.from_map(reference.to_map()) == reference


def _seeds(format_: RpcFormat) -> Iterable[bytes]:
    for index, (types, values) in enumerate(SAMPLES):
        with suppress(RpcArgumentError):
            # Not all formats can tell which class a value is of.
            yield bytes([index]) + format_.arguments(types).encode(values)
    reference = StreamReference(host_id="00000000-0000-0000-0000-000000000001", local_id=7)
    value = reference.to_text() if format_.is_text else reference.to_map()
    plain = ((value,), ([value], 1), ({"a": value, "b": None},))
    for index, values in enumerate(plain, len(SAMPLES)):
        yield bytes([index]) + format_.arguments((Any,) * len(values)).encode(values)
    for message in messages_of(format_):
        for index in range(len(SAMPLES)):
            if len(message.args) < 200:
                yield bytes([index]) + message.args


_JSON_TOKENS: Final = (
    *(b"\x1f", b"/* @=", b" */", b"/* @=0 */", b"/* @= */null", b"Fuzzing.Disk, Fuzzing", b"Fuzzing.Tile[], Fuzzing"),
    *(b"System.Int32, System.Private.CoreLib", b"System.Object[], System.Private.CoreLib", b"null", b"true", b"{}"),
    *(b"[]", b'"NaN"', b"1e400", b"-0.0", b"1e-999999999", b"0e999999999", b"18446744073709551616", b"9" * 30),
    *(b'"12.03:04:05.6789"', b'"P1DT1H"', b'"2024-02-29"', b'"type":"Circle"', b'"type":"Square"', b"\\ud800", b'"":'),
    *(b'"x":', b'"Value":', b'"NEXT":', b'"name":', b'"friends":[', b'"paid":', b'"takes":', b'"items":['),
)
_BINARY_TOKENS: Final = (
    *(b"\xdc\xff\xff", b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\xd6\xff", b"\xc1"),
    *(b"\xcb\x7f\xf0\0\0\0\0\0\0", b"\xcb\x7f\xf8\0\0\0\0\0\0", b"\xcb\x41\xe0\0\0\0\0\0\0", b"\xcf" + b"\xff" * 8),
    *(b"\xd3\x80" + bytes(7), b"\xa4type\xa6Circle", b"\xa4type\xa6Square", b"\xa5Value", b"\xa4name", b"\xa5items"),
    *(b"\xacSerializedId\x92", b"\xa9AckPeriod", b"\xaaAckAdvance", b"\x00\x00", b"\x01\x00", b"\x81\x80\xc0"),
)


def _target(name: str, key: str, tokens: tuple[bytes, ...]) -> Target:
    format_ = get_format(key)
    return Target(name=name, check=partial(_check, format_), seeds=partial(_seeds, format_), tokens=tokens)


TARGETS: Final = (
    _target("args-json5np", "json5np", _JSON_TOKENS),
    _target("args-json5", "json5", _JSON_TOKENS),
    _target("args-msgpack", "msgpack6c", _BINARY_TOKENS),
)
