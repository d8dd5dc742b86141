"""Values at the edges of what travels, and argument data that is meant to do harm."""

from datetime import timedelta
from time import process_time
from typing import Any

import pytest

from refusion.rpc import RpcArgumentError
from refusion.rpc.formats import RpcFormat, get_format
from refusion.rpc.formats._msgpack_untyped import MAX_CONTAINERS, MAX_OTHER_KEYS
from refusion.rpc.formats._type_names import type_name_hash

# It takes twice as long when it is watched, and others come to the same lines.
pytestmark = pytest.mark.no_cover

ALL = [pytest.param(get_format(key), id=key) for key in ("json5np", "json5", "msgpack6c")]


@pytest.mark.parametrize("format_", ALL)
@pytest.mark.parametrize(
    ("ticks", "text"),
    [((1 << 63) - 1, b'"10675199.02:48:05.4775807"'), (-(1 << 63), b'"-10675199.02:48:05.4775808"')],
)
def test_the_longest_spans_of_net_come_and_go_as_they_are(format_: RpcFormat, ticks: int, text: bytes) -> None:
    data = text if format_.is_text else format_.arguments((int,)).encode((ticks,))
    codec = format_.arguments((timedelta,))
    assert codec.encode(codec.decode(data)) == data


def test_a_longer_span_is_refused() -> None:
    with pytest.raises(RpcArgumentError, match="longer than a TimeSpan"):
        get_format("msgpack6").arguments((timedelta,)).encode((timedelta(microseconds=(1 << 63) // 10 + 2),))


@pytest.mark.parametrize("key", ["json5", "msgpack6c"])
@pytest.mark.parametrize("value", [2**63, [2**64 - 1, 0]])
def test_an_unsigned_number_beyond_63_bits_travels_without_a_declared_type(key: str, value: Any) -> None:
    codec = get_format(key).arguments((object,))
    assert codec.decode(codec.encode((value,))) == (value,)


@pytest.mark.parametrize("name", [b"X" + b"[]" * 5_000 + b", Y", b"[], " * 5_000, b"X[][], System.Private.CoreLib"])
def test_a_type_name_of_many_arrays_is_just_unknown(name: bytes) -> None:
    with pytest.raises(RpcArgumentError, match="isn't a type that is known here"):
        get_format("json5").arguments((object,)).decode(b"/* @=%b */1" % name)
    marker = len(name).to_bytes(2, "little") + type_name_hash(name) + name
    with pytest.raises(RpcArgumentError, match="isn't a type that is known here"):
        get_format("msgpack6").arguments((object,)).decode(marker + b"\x01")


def test_arrays_of_bytes_are_known() -> None:
    codec = get_format("msgpack6").arguments((object,))
    assert codec.decode(codec.encode(([b"a", b"b"],))) == ([b"a", b"b"],)


def numbered(count: int) -> bytes:
    """Return a map by number."""
    pairs = b"".join([b"\xcf" + number.to_bytes(8, "big") + b"\xc0" for number in range(count)])
    return b"\xdf" + count.to_bytes(4, "big") + pairs


MANY = MAX_OTHER_KEYS + 1


@pytest.mark.parametrize("declared", [Any, list[Any], int, timedelta, dict[str, int]])
@pytest.mark.parametrize(
    "data",
    [
        numbered(MANY),
        b"\x91" + numbered(MANY),
        b"\x81\xa1a" + numbered(MANY),
        b"\xdd\x00\x00\x00\x02" + 2 * numbered(MANY // 2 + 1),
        b"\x92" + b"\xdb\x00\x01\x00\x00" + b"\xdf" * 65_536 + numbered(MANY),
        b"\xdc\x00\x02" + b"\xc8\x01\x00\x05" + bytes(256) + numbered(MANY),
    ],
)
def test_where_anything_may_be_read_maps_by_number_are_small(declared: Any, data: bytes) -> None:
    codec = get_format("msgpack6").arguments((declared,))
    with pytest.raises(RpcArgumentError, match="keys that aren't texts"):
        codec.decode(data)


@pytest.mark.parametrize("count", [MAX_OTHER_KEYS, 10])
def test_smaller_maps_by_number_are_read(count: int) -> None:
    assert get_format("msgpack6").arguments((Any,)).decode(numbered(count)) == (dict.fromkeys(range(count)),)


def test_maps_by_text_are_read_however_large_they_are() -> None:
    value = {f"key {number}": {"\xde" * (number % 40): [number, {}]} for number in range(3 * MANY)}
    codec = get_format("msgpack6").arguments((Any, str))
    assert codec.decode(codec.encode((value, "x"))) == (value, "x")


def test_a_declared_map_by_number_is_read_however_large_it_is() -> None:
    codec = get_format("msgpack6").arguments((dict[int, None],))
    assert len(codec.decode(numbered(MANY))[0]) == MANY


@pytest.mark.parametrize("ending", [b"\xdf\xff\xff\xff\xff", b"\xc1", b"\xde\x00", b"\x91" * 40_000])
def test_data_that_ends_within_a_value_is_refused_as_such(ending: bytes) -> None:
    data = b"\x92\xdb\x00\x01\x00\x00" + b"\xde" * 65_536 + ending
    with pytest.raises(RpcArgumentError):
        get_format("msgpack6").arguments((Any,)).decode(data)


@pytest.mark.parametrize("declared", [Any, int, list[Any], list[str], timedelta])
@pytest.mark.parametrize("part", [b"\x80", b"\x90", b"\x91\xc0", b"\x81\xa0\xc0", b"\xdc\0\0"])
def test_where_anything_may_be_read_there_are_so_many_arrays_and_maps(declared: Any, part: bytes) -> None:
    data = b"\xdd" + MAX_CONTAINERS.to_bytes(4, "big") + part * MAX_CONTAINERS
    with pytest.raises(RpcArgumentError, match="more than 1,000,000 arrays and maps"):
        get_format("msgpack6").arguments((declared,)).decode(data)


def test_bytes_that_look_like_arrays_and_maps_are_none() -> None:
    value = {"data": b"\x80" * 2_000_000, "text": "\u0100" * 1_100_000, "numbers": [-1] * 1_000}
    codec = get_format("msgpack6").arguments((Any,))
    assert codec.decode(codec.encode((value,))) == (value,)


def test_declared_lists_are_read_however_many_there_are() -> None:
    data = b"\xdd" + (MAX_CONTAINERS + 5).to_bytes(4, "big") + b"\x90" * (MAX_CONTAINERS + 5)
    assert len(get_format("msgpack6").arguments((list[list[int]],)).decode(data)[0]) == MAX_CONTAINERS + 5


LONG = 1 << 64


@pytest.mark.parametrize(
    ("declared", "text"),
    [
        (set[int], f"[1,{LONG}]"),
        (frozenset[int], f"[{-LONG}]"),
        (dict[int, str], f'{{"{LONG * 10}":""}}'),
        (list[dict[int, set[int]]], f'[{{"1":[{LONG}]}}]'),
        (set[int] | None, f"[{LONG}]"),
    ],
)
def test_in_sets_and_as_keys_numbers_have_64_bits(declared: Any, text: str) -> None:
    codec = get_format("json5np").arguments((declared,))
    with pytest.raises(RpcArgumentError, match="out of range"):
        codec.decode(text.encode())


def test_numbers_of_64_bits_are_read_in_sets_and_as_keys() -> None:
    codec = get_format("json5np").arguments((set[int], dict[int, int], list[int], str))
    values = ({LONG - 1, -(1 << 63)}, {LONG - 1: LONG, -(1 << 63): 1}, [LONG**10], f"{LONG}")
    assert codec.decode(codec.encode(values)) == values


def test_numbers_that_were_chosen_to_be_in_one_place_of_a_set_are_refused_at_once() -> None:
    text = ",".join([str(((1 << 61) - 1) * (number + 100)) for number in range(100_000)])
    started = process_time()
    with pytest.raises(RpcArgumentError, match="out of range"):
        get_format("json5np").arguments((set[int],)).decode(f"[{text}]".encode())
    assert process_time() - started < 2.0
