"""Wire formats: round trips, limits, and what bad input gets."""

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refusion.rpc import RpcArgumentError, RpcLimitExceeded, RpcProtocolError, RpcUnsupportedFormat
from refusion.rpc.formats import RpcFormat, get_format
from refusion.rpc.protocol import (
    ExceptionInfo,
    Handshake,
    MethodNames,
    RpcMessage,
    error_from_info,
    ids_from_bytes,
    ids_to_bytes,
    info_from_error,
    read_leb128,
    write_leb128,
)

FORMATS = [pytest.param(get_format(key), id=key) for key in ("json5np", "json5", "msgpack6", "msgpack6c")]
BINARY = [pytest.param(get_format(key), id=key) for key in ("msgpack6", "msgpack6c")]
METHODS = ("Service.Method:2", "Сервис.Метод:1", "$sys.Ok:1", "S.M:0")
NAMES = MethodNames()
for known in METHODS:
    NAMES.add(known)


class Color(Enum):
    RED = 1


@dataclass
class Place:
    name: str
    tags: list[str]


class Item(msgspec.Struct, rename="pascal"):
    item_name: str
    price: float
    color: Color | None = None
    place: Place | None = None


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
plain = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-(2**53), 2**53), texts, st.floats(allow_nan=False, allow_infinity=False)
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(texts, inner, max_size=4)),
    max_leaves=8,
)
headers = st.lists(st.tuples(st.text("abc~#", max_size=5), texts), max_size=31).map(tuple)
messages = st.builds(
    lambda method, related_id, call_type, values, headers: (method, related_id, call_type, values, headers),
    st.sampled_from(METHODS),
    st.integers(0, 2**63),
    st.integers(0, 7),
    st.lists(plain, max_size=20),
    headers,
)


@pytest.mark.parametrize("format_", FORMATS)
@given(st.lists(messages, min_size=1, max_size=5))
def test_what_is_written_is_read(format_: RpcFormat, wanted: list[Any]) -> None:
    buffer = bytearray()
    for method, related_id, call_type, values, pairs in wanted:
        args = format_.arguments((Any,) * len(values)).encode(values)
        format_.write(buffer, RpcMessage(method, related_id, call_type, args, pairs))
    result = format_.read(bytes(buffer), NAMES)
    assert result.problem is None
    assert len(result.messages) == len(wanted)
    for message, (method, related_id, call_type, values, pairs) in zip(result.messages, wanted, strict=True):
        assert (message.method, message.related_id, message.headers) == (method, related_id, pairs)
        if not (format_.is_text and (method.startswith("$") or related_id == 0)):
            assert message.call_type == call_type
        assert list(format_.arguments((Any,) * len(values)).decode(message.args)) == values


@pytest.mark.parametrize("format_", FORMATS)
@given(st.data())
def test_a_damaged_frame_keeps_what_came_before_the_damage(format_: RpcFormat, data: st.DataObject) -> None:
    buffer = bytearray()
    args = format_.arguments((int,)).encode((5,))
    format_.write(buffer, RpcMessage("S.M:0", 1, 0, args))
    # Behind what separates the messages.
    second = len(buffer) + 2 * format_.is_text
    for number in (2, 3):
        format_.write(buffer, RpcMessage("S.M:0", number, 0, args))
    position = data.draw(st.integers(second, len(buffer) - 1))
    damaged = bytearray(buffer)
    damaged[position] ^= data.draw(st.integers(1, 255))
    result = format_.read(bytes(damaged), NAMES)
    assert result.messages[0] == RpcMessage("S.M:0", 1, 0, args)


@pytest.mark.parametrize("format_", FORMATS)
def test_types_of_users_travel(format_: RpcFormat) -> None:
    item = Item("x", 1.5, Color.RED, Place("here", ["a"]))
    when = datetime(2024, 2, 29, 12, tzinfo=UTC)
    types = (Item, list[Item], dict[str, int], bytes, datetime, tuple[int, str], int | None)
    values = (item, [item], {"a": 1}, b"\x00\xff", when, (1, "a"), None)
    codec = format_.arguments(types)
    assert codec.decode(codec.encode(values)) == values
    assert b"ItemName" in codec.encode(values)


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("count", [0, 1, 15, 16, 40])
def test_any_number_of_arguments_travels(format_: RpcFormat, count: int) -> None:
    codec = format_.arguments((int,) * count)
    assert codec.decode(codec.encode(range(count))) == tuple(range(count))


@pytest.mark.parametrize("format_", FORMATS)
def test_a_misfit_names_the_argument_and_the_place_in_it(format_: RpcFormat) -> None:
    data = format_.arguments((int, dict[str, Any])).encode((1, {"ItemName": "x", "Price": 1, "Place": {"name": 5}}))
    with pytest.raises(RpcArgumentError, match=r"argument 1: .*\bPlace.name") as info:
        format_.arguments((int, Item)).decode(data)
    assert info.value.index == 1
    with pytest.raises(RpcArgumentError, match="argument 0: Expected `str`, got `int`"):
        format_.arguments((str, Any)).decode(data)


@pytest.mark.parametrize("format_", FORMATS)
def test_missing_values_are_an_error_and_surplus_ones_are_ignored(format_: RpcFormat) -> None:
    data = format_.arguments((int, int)).encode((1, 2))
    with pytest.raises(RpcArgumentError, match="3 values are declared and 2 were sent"):
        format_.arguments((int, int, int)).decode(data)
    assert format_.arguments((int,)).decode(data) == (1,)
    assert format_.arguments(()).decode(data) == ()
    with pytest.raises(RpcArgumentError, match="2 values are declared and 1 were given"):
        format_.arguments((int, int)).encode((1,))


@pytest.mark.parametrize("format_", FORMATS)
def test_an_integral_float_counts_as_an_integer(format_: RpcFormat) -> None:
    data = format_.arguments((float, list[float], float)).encode((4294967296.0, [2.0], 1.5))
    assert format_.arguments((int, list[int], float)).decode(data) == (4294967296, [2], 1.5)
    with pytest.raises(RpcArgumentError):
        format_.arguments((int, list[int], int)).decode(data)


@pytest.mark.parametrize("format_", FORMATS)
def test_no_result_is_written_so_that_others_can_read_it(format_: RpcFormat) -> None:
    codec = format_.result(type(None))
    assert codec.encode((None,)) == (b"{}" if format_.is_text else b"\xc0")
    assert codec.decode(codec.encode((None,))) == (None,)
    if format_.is_text:
        assert [codec.decode(data) for data in (b"", b"null", b"{}")] == [(None,)] * 3


@pytest.mark.parametrize("format_", FORMATS)
def test_values_that_can_not_be_written_are_refused(format_: RpcFormat) -> None:
    # JSON knows no largest integer; whoever reads it may.
    for value in (object(), "\ud800") if format_.is_text else (object(), "\ud800", 2**70):
        with pytest.raises(RpcArgumentError, match="can't be written"):
            format_.arguments((Any,)).encode((value,))


@pytest.mark.parametrize("format_", FORMATS)
def test_deep_nesting_is_an_error_and_not_a_crash(format_: RpcFormat) -> None:
    data = b"[" * 100_000 + b"]" * 100_000 if format_.is_text else b"\x91" * 100_000 + b"\xc0"
    with pytest.raises(RpcArgumentError):
        format_.arguments((Any,)).decode(data)


@pytest.mark.parametrize("format_", FORMATS)
def test_handshakes_travel_with_and_without_what_is_optional(format_: RpcFormat) -> None:
    for handshake in (Handshake("p", "h", 1), Handshake("p", "h", 7, 2, "Api=1.0", "secret")):
        assert format_.decode_handshake(format_.encode_handshake(handshake)) == handshake


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("error", [ValueError("no"), KeyError("k"), OSError("x"), Exception(""), RuntimeError("ü")])
def test_errors_travel(format_: RpcFormat, error: Exception) -> None:
    info = info_from_error(error)
    assert format_.decode_error(format_.encode_error(info)) == info
    back = error_from_info(info)
    assert isinstance(back, type(error)) or type(error) is Exception


def test_an_error_whose_text_can_not_be_had_travels_without_it() -> None:
    class Broken(ValueError):
        def __str__(self) -> str:
            raise RuntimeError

    assert "can't be had" in info_from_error(Broken()).message
    assert "without saying which" in str(error_from_info(ExceptionInfo()))


def test_an_unknown_format_is_an_error_that_lists_the_known_ones() -> None:
    with pytest.raises(RpcUnsupportedFormat, match=r"'morse'.*msgpack6c, msgpack6, json5np, json5"):
        get_format("morse")


@given(st.lists(st.integers(0, 2**40), max_size=50).map(sorted))
def test_id_lists_travel(ids: list[int]) -> None:
    assert ids_from_bytes(ids_to_bytes(ids)) == ids


@given(st.integers(0, 2**64 - 1))
def test_numbers_of_up_to_64_bits_travel(number: int) -> None:
    buffer = bytearray(b"\x00")
    write_leb128(buffer, number)
    assert read_leb128(bytes(buffer), 1) == (number, len(buffer))


@pytest.mark.parametrize("number", [-1, 2**64])
def test_other_numbers_are_refused(number: int) -> None:
    with pytest.raises(RpcProtocolError, match="isn't an unsigned 64-bit number"):
        write_leb128(bytearray(), number)


@pytest.mark.parametrize("data", [b"", b"\x80", b"\xff" * 11, b"\xff" * 9 + b"\x7f"])
def test_numbers_that_do_not_end_are_an_error(data: bytes) -> None:
    with pytest.raises(RpcProtocolError):
        read_leb128(data, 0)


def test_two_names_with_one_hash_are_both_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    from refusion.rpc.protocol import _method_names

    names = MethodNames()
    monkeypatch.setattr(_method_names, "wire_hash", lambda name: b"same")
    names.add("A.A:1")
    assert names.find(b"same") == "A.A:1"
    names.add("A.A:1")
    assert names.find(b"same") == "A.A:1"
    names.add("B.B:1")
    assert names.find(b"same") is None


@pytest.mark.parametrize("format_", BINARY)
@pytest.mark.parametrize("size", [0, 255, 256, 8_191, 8_192, 65_535, 65_536, 300_000])
def test_bytes_alone_are_written_as_bytes_among_others(format_: RpcFormat, size: int) -> None:
    data = bytes(range(256)) * (size // 256) + bytes(size % 256)
    alone, pair = format_.arguments((bytes,)), format_.arguments((bytes, int))
    encoded = alone.encode((data,))
    assert encoded == msgspec.msgpack.encode(data)
    assert alone.decode(encoded) == alone.decode(encoded + b"\x01surplus") == (data,)
    assert pair.encode((data, 1)) == encoded + b"\x01"
    assert alone.encode((bytearray(data),)) == alone.encode((memoryview(data),)) == encoded
    for damaged in (encoded[:-1], b"\xc1" + encoded[1:], msgspec.msgpack.encode("x" * size)):
        with pytest.raises(RpcArgumentError):
            alone.decode(damaged)
    with pytest.raises(RpcArgumentError):
        alone.encode((object(),))
    if size > 255:
        with pytest.raises(RpcLimitExceeded, match="the argument data"):
            alone.encode((data,), len(encoded) - 1)
        assert alone.encode((data,), len(encoded)) == encoded
