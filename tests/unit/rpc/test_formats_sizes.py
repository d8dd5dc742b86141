"""Sizes: what is too large is dropped when it comes in, and refused when it is to go out."""

from dataclasses import fields
from typing import Any

import pytest

from refusion.rpc import RpcArgumentError, RpcLimitExceeded, RpcProtocolError
from refusion.rpc.formats import RpcFormat, get_format
from refusion.rpc.protocol import MethodNames, RpcMessage, SizeLimits
from refusion.rpc.protocol._limits import DEFAULT_SIZES

FORMATS = [pytest.param(get_format(key), id=key) for key in ("json5np", "json5", "msgpack6", "msgpack6c")]
LONG = "S." + "M" * 98
NAMES = MethodNames()
for known in ("S.M:0", LONG):
    NAMES.add(known)

SMALL = SizeLimits(
    method_bytes=99,
    headers=2,
    header_key_bytes=16,
    header_value_bytes=64,
    argument_bytes=2_000,
    envelope_bytes=1_500,
    frame_bytes=4_096,
    handshake_frame_bytes=1_024,
)
FITTING = RpcMessage("S.M:0", 1, 0, b"1" * 2_000, (("k" * 16, "v" * 64), ("", "")))
TOO_LARGE = [
    pytest.param(RpcMessage(LONG, 2, 0, b"1"), id="method"),
    pytest.param(RpcMessage("S.M:0", 2, 0, b"1" * 2_001), id="arguments"),
    pytest.param(RpcMessage("S.M:0", 2, 0, b"1", (("a", ""),) * 3), id="headers"),
    pytest.param(RpcMessage("S.M:0", 2, 0, b"1", (("k" * 17, ""),)), id="header name"),
    pytest.param(RpcMessage("S.M:0", 2, 0, b"1", (("k", "ü" * 33),)), id="header value"),
]


@pytest.mark.parametrize("format_", FORMATS)
def test_what_fits_exactly_goes_through(format_: RpcFormat) -> None:
    buffer = bytearray()
    format_.write(buffer, FITTING, SMALL)
    assert format_.read(bytes(buffer), NAMES, SMALL) == ([FITTING], None)


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("message", TOO_LARGE)
def test_what_is_too_large_is_not_written(format_: RpcFormat, message: RpcMessage) -> None:
    buffer = bytearray(b"before")
    with pytest.raises((RpcLimitExceeded, RpcProtocolError), match="is the limit"):
        format_.write(buffer, message, SMALL)
    assert buffer == b"before"


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("message", TOO_LARGE)
def test_what_is_too_large_is_dropped(format_: RpcFormat, message: RpcMessage) -> None:
    if format_.key == "msgpack6c" and message.method == LONG:
        # A hash has no length; the name that it stands for is this side's own.
        return
    buffer = bytearray()
    for part in (FITTING, message, FITTING):
        format_.write(buffer, part)
    messages, problem = format_.read(bytes(buffer), NAMES, SMALL)
    # Texts have separators, so that what follows isn't lost.
    assert messages == ([FITTING, FITTING] if format_.is_text else [FITTING])
    assert isinstance(problem, RpcProtocolError)
    assert format_.read(bytes(buffer), NAMES) == ([FITTING, message, FITTING], None)


def test_an_envelope_that_is_too_large_is_neither_written_nor_read() -> None:
    json = get_format("json5np")
    sizes = SizeLimits(envelope_bytes=1_024)
    escaped = RpcMessage("S.M:0", 1, 0, b"1", (("k", "\x01" * 200),))
    buffer = bytearray()
    with pytest.raises(RpcLimitExceeded, match=r"the envelope of S.M:0 has .* 1,024 is the limit"):
        json.write(buffer, escaped, sizes)
    json.write(buffer, escaped)
    messages, problem = json.read(bytes(buffer), NAMES, sizes)
    assert messages == []
    assert problem is not None


@pytest.mark.parametrize("format_", FORMATS)
def test_the_limits_of_the_protocol_hold_by_default(format_: RpcFormat) -> None:
    buffer = bytearray()
    for message in (
        RpcMessage("S.M:0", 1, 0, b"x" * 16_252_929),
        RpcMessage("S." + "M" * 1_023, 1),
        RpcMessage("S.M:0", 1, 0, b"", (("k" * 256, "v"),)),
        RpcMessage("S.M:0", 1, 0, b"", (("k", "v" * 1_025),)),
    ):
        with pytest.raises(RpcLimitExceeded, match="is the limit"):
            format_.write(buffer, message)
    with pytest.raises(RpcProtocolError, match="32 headers"):
        format_.write(buffer, RpcMessage("S.M:0", 1, 0, b"", (("k", "v"),) * 32))
    assert buffer == b""
    full = RpcMessage("S.M:0", 1, 0, b"", (("k" * 255, "v" * 1_024),) * 31)
    format_.write(buffer, full)
    assert format_.read(bytes(buffer), NAMES) == ([full], None)


@pytest.mark.parametrize("format_", FORMATS)
def test_argument_data_is_checked_where_it_is_made(format_: RpcFormat) -> None:
    for types, values in (
        ((str,), ("x" * 1_000,)),
        ((object, str), ("x", "x" * 1_000)),
        ((type(None), str), (None, "y" * 999)),
    ):
        if format_.key == "json5np" and object in types:
            continue
        codec = format_.arguments(types)
        assert codec.decode(codec.encode(values)) == values
        with pytest.raises(RpcLimitExceeded, match=r"the argument data has 1,0\d\d bytes and 900 is the limit"):
            codec.encode(values, 900)


def test_the_largest_argument_data_that_is_allowed_can_be_sent() -> None:
    codec = get_format("msgpack6c").arguments((bytes,))
    assert len(codec.encode((bytes(16_252_928 - 5),))) == 16_252_928
    with pytest.raises(RpcLimitExceeded):
        codec.encode((bytes(16_252_928 - 4),))


@pytest.mark.parametrize("name", [field.name for field in fields(SizeLimits)])
def test_a_limit_may_be_lowered_only(name: str) -> None:
    default = getattr(DEFAULT_SIZES, name)
    with pytest.raises(ValueError, match=f"{name} is from .* to {default:,}, not {default + 1:,}"):
        SizeLimits(**{name: default + 1})
    with pytest.raises(ValueError, match=name):
        SizeLimits(**{name: -1})


def test_a_frame_has_to_hold_a_message() -> None:
    with pytest.raises(ValueError, match="a frame of 1,000,000 bytes can't hold a message with 16,252,928 bytes"):
        SizeLimits(frame_bytes=1_000_000)
    sizes = SizeLimits(frame_bytes=1_000_000, argument_bytes=700_000)
    assert sizes.frame_bytes - sizes.argument_bytes >= sizes.envelope_bytes


def test_the_smallest_limits_let_the_protocol_work() -> None:
    from refusion.rpc.protocol import Handshake
    from refusion.rpc.protocol._system_calls import HANDSHAKE, SYSTEM_METHODS

    sizes = SizeLimits(
        method_bytes=64,
        headers=0,
        header_key_bytes=16,
        header_value_bytes=64,
        argument_bytes=1_024,
        envelope_bytes=1_024,
        frame_bytes=4_096,
        handshake_frame_bytes=1_024,
    )
    handshake = Handshake("p" * 36, "h" * 36, 10_000, 2, "x" * 512, "s" * 43)
    for key in ("json5np", "msgpack6", "msgpack6c"):
        format_ = get_format(key)
        buffer = bytearray()
        for method in SYSTEM_METHODS:
            args: Any = format_.encode_handshake(handshake) if method == HANDSHAKE else b""
            format_.write(buffer, RpcMessage(method, 0, 0, args), sizes)
        messages, problem = format_.read(bytes(buffer), MethodNames(), sizes)
        assert [message.method for message in messages] == list(SYSTEM_METHODS)
        assert problem is None


@pytest.mark.parametrize("format_", FORMATS)
def test_headers_that_nobody_knows_are_handed_on_as_they_are(format_: RpcFormat) -> None:
    headers = (
        ("#", ""),
        ("~p", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("", "x"),
        ("ключ", "ä\n\x1e"),
    )
    message = RpcMessage("S.M:0", 7, 1, b"1", headers)
    buffer = bytearray()
    format_.write(buffer, message)
    format_.write(buffer, RpcMessage("S.M:0", 8))
    messages, problem = format_.read(bytes(buffer), NAMES)
    assert problem is None
    assert messages == [message, RpcMessage("S.M:0", 8)]


@pytest.mark.parametrize(
    "data",
    [
        b"\x01\x07\x01A\x00\x00\x00\x00\x01k\xff\xff\xff\xff\x0f",
        b"\x01\x07\x01A\x00\x00\x00\x00\x05k",
        b"\x01\x07\x01A\x00\x00\x00\x00\x01k\x05v",
        b"\x01\x07\x01A\x00\x00\x00\x00\x01\xff\x00",
        b"\x01\x07\x01A\x00\x00\x00\x00\x00\x01\xff",
        b"\x00\x07\x01\xff\x00\x00\x00\x00",
        b"\x00\x07\xff\xff\xff\xff\x0f",
        b"\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01A\x00\x00\x00\x00",
    ],
)
def test_a_binary_message_that_is_wrong_is_dropped(data: bytes) -> None:
    good = b"\x00\x09\x01A\x00\x00\x00\x00"
    messages, problem = get_format("msgpack6").read(good + data, MethodNames())
    assert [message.related_id for message in messages] == [9]
    assert problem is not None


@pytest.mark.parametrize(
    "envelope",
    [
        b'{"Method":"A","CallType":8}',
        b'{"Method":"A","CallType":-1}',
        b'{"Method":"A","RelatedId":-1}',
        b'{"Method":"A","RelatedId":18446744073709551616}',
        b'{"Method":"A","RelatedId":1.5}',
        b'{"Method":5}',
        b'{"Method":"A","Headers":["a"]}',
        b'{"Method":"A","Headers":[1,2]}',
        b'{"Method":"\xff"}',
        b"[]",
        b"{",
        b"[" * 5_000,
        b'{"Method":"A","More":' + b"[" * 5_000,
    ],
)
def test_a_text_message_that_is_wrong_is_dropped(envelope: bytes) -> None:
    good = b'{"Method":"A","RelatedId":9}\n'
    messages, problem = get_format("json5np").read(good + b"\n\x1e" + envelope + b"\n\x1e" + good, MethodNames())
    assert [message.related_id for message in messages] == [9, 9]
    assert problem is not None


def test_a_wrong_number_of_values_is_refused() -> None:
    for key in ("json5", "json5np", "msgpack6c"):
        for types in ((int, int), (object, int)):
            with pytest.raises(RpcArgumentError, match="2 values are declared and 3 were given"):
                get_format(key).arguments(types).encode((1, 2, 3))
