"""Properties of every format: round trips of generated values of generated types, and no surprise from any bytes."""

import math
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from refusion.rpc import RpcArgumentError, RpcProtocolError
from refusion.rpc.formats import RpcFormat, get_format
from refusion.rpc.protocol import MethodNames, RpcMessage

FORMATS = [pytest.param(get_format(key), id=key) for key in ("json5np", "json5", "msgpack6", "msgpack6c")]
NAMES = MethodNames()
NAMES.add("S.M:0")


class Leaf(msgspec.Struct, tag="leaf", rename="camel"):
    when_seen: timedelta
    some_name: str = ""


class Branch(msgspec.Struct, tag="branch"):
    children: "list[Leaf | Branch]" = []
    weight: float | None = None


class Row(NamedTuple):
    number: int
    label: str | None = None


@dataclass
class Card:
    title: str
    rows: list[Row]
    extra: dict[int, bytes]


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
spans = st.timedeltas(timedelta(days=-1_000_000), timedelta(days=1_000_000))
floats = st.floats(allow_nan=False, allow_infinity=False)
integers = st.integers(-(2**63), 2**64 - 1)
leaves = st.builds(Leaf, spans, texts)
trees = st.recursive(
    leaves, lambda inner: st.builds(Branch, st.lists(inner, max_size=3), st.none() | floats), max_leaves=8
)
rows = st.builds(Row, integers, st.none() | texts)
cards = st.builds(Card, texts, st.lists(rows, max_size=3), st.dictionaries(integers, st.binary(max_size=5), max_size=3))

SCALARS: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (int, integers),
    (float, floats),
    (str, texts),
    (bool, st.booleans()),
    (bytes, st.binary(max_size=20)),
    (timedelta, spans),
    (Leaf | Branch, trees),
    (Row, rows),
    (Card, cards),
    (Any, st.none() | texts | st.booleans()),
]
Typed = tuple[Any, st.SearchStrategy[Any]]


def containers(inner: st.SearchStrategy[Typed]) -> st.SearchStrategy[Typed]:
    return st.one_of(
        inner.map(lambda typed: (list[typed[0]], st.lists(typed[1], max_size=4))),  # type: ignore[name-defined]
        inner.map(lambda typed: (typed[0] | None, st.none() | typed[1]) if typed[0] is not Any else typed),
        inner.map(lambda typed: (dict[str, typed[0]], st.dictionaries(texts, typed[1], max_size=4))),  # type: ignore[name-defined]
        inner.map(lambda typed: (dict[int, typed[0]], st.dictionaries(integers, typed[1], max_size=4))),  # type: ignore[name-defined]
        st.tuples(inner, inner).map(lambda two: (tuple[two[0][0], two[1][0]], st.tuples(two[0][1], two[1][1]))),  # type: ignore[name-defined]
    )


types = st.recursive(st.sampled_from(SCALARS), containers, max_leaves=4)


@pytest.mark.parametrize("format_", FORMATS)
@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.data(), st.lists(types, max_size=4))
def test_generated_values_of_generated_types_travel(
    format_: RpcFormat, data: st.DataObject, typed: list[Typed]
) -> None:
    values = tuple(data.draw(strategy) for _, strategy in typed)
    codec = format_.arguments(tuple(type_ for type_, _ in typed))
    args = codec.encode(values)
    buffer = bytearray()
    format_.write(buffer, RpcMessage("S.M:0", 1, 0, args))
    ((message,), problem) = format_.read(bytes(buffer), NAMES)
    assert problem is None
    back = codec.decode(message.args)
    assert back == values
    # Reading patiently gives the same as reading fast.
    assert codec.decode(codec.encode(back)) == values


@pytest.mark.parametrize("format_", FORMATS)
@given(st.binary(max_size=300))
def test_reading_any_bytes_neither_raises_nor_hangs(format_: RpcFormat, data: bytes) -> None:
    messages, problem = format_.read(data, NAMES)
    assert len(messages) <= len(data)
    assert problem is None or isinstance(problem, RpcProtocolError)
    for decode in (format_.decode_handshake, format_.decode_error):
        try:
            decode(data)
        except RpcProtocolError:
            continue
    for args in [data, *[message.args for message in messages]]:
        for declared in ((), (int,), (Leaf | Branch, int), (Card,), (dict[int, bytes],), (Any, Any), (timedelta,)):
            try:
                format_.arguments(declared).decode(args)
            except RpcArgumentError:
                continue


pieces = st.sampled_from(
    [b'{"Method":"S.M:0"', b',"RelatedId":7', b',"Headers":["a","b"]', b"}", b"\n", b"\x1e", b"\x1f", b"[", b"5", b'"']
    + [
        b"\x00",
        b"\x01",
        b"\x07",
        b"\x7f",
        b"\x80",
        b"\xff",
        b"S.M:0",
        b"\x05S.M:0",
        b"\x00\x00\x00\x00",
        b"\xc0",
        b"\x91",
    ]
)


@pytest.mark.parametrize("format_", FORMATS)
@given(st.lists(pieces, max_size=30).map(b"".join))
def test_reading_what_looks_right_neither_raises_nor_hangs(format_: RpcFormat, data: bytes) -> None:
    messages, _ = format_.read(data, NAMES)
    for message in messages:
        assert 0 <= message.call_type <= 7
        assert 0 <= message.related_id < 2**64


@pytest.mark.parametrize("format_", FORMATS)
@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=5), st.integers(0, 7), st.data())
def test_cutting_a_frame_loses_what_is_behind_the_cut(
    format_: RpcFormat, ids: list[int], call_type: int, data: st.DataObject
) -> None:
    args = format_.arguments((list[int],)).encode(([1, 2, 3],))
    frame = bytearray()
    ends = []
    for number in ids:
        format_.write(frame, RpcMessage("S.M:0", number, call_type, args))
        ends.append(len(frame))
    cut = data.draw(st.integers(0, len(frame)))
    messages, problem = format_.read(bytes(frame[:cut]), NAMES)
    whole = sum(end <= cut for end in ends)
    assert [message.related_id for message in messages[:whole]] == ids[:whole]
    if not format_.is_text:
        assert len(messages) == whole
        assert (problem is None) == (cut in (0, *ends))


def test_numbers_that_only_binary_formats_know_travel_there() -> None:
    codec = get_format("msgpack6c").arguments((float, list[float]))
    nan, infinities = codec.decode(codec.encode((math.nan, [math.inf, -math.inf])))
    assert math.isnan(nan)
    assert infinities == [math.inf, -math.inf]
