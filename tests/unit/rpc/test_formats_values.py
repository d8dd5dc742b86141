"""Values of users' types in every format: there and back, and in the bytes that .NET has for them."""

import math
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, Flag, IntEnum
from ipaddress import IPv4Address
from typing import Annotated, Any, Generic, Literal, NamedTuple, Required, TypedDict, TypeVar
from uuid import UUID

import attrs
import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refusion.rpc import RpcArgumentError
from refusion.rpc.formats import RpcFormat, WireValue, get_format

T = TypeVar("T")
KEYS = ("json5np", "json5", "msgpack6", "msgpack6c", "msgpack6c-lz4")
FORMATS = [pytest.param(get_format(key), id=key) for key in KEYS]
JSON, BINARY = get_format("json5np"), get_format("msgpack6c")
BOTH = [pytest.param(JSON, id="json"), pytest.param(BINARY, id="msgpack")]


class Point(msgspec.Struct):
    x: int
    y: float = 0.5


class Pair(msgspec.Struct, array_like=True):
    key: str
    value: int | None = None


class Tree(msgspec.Struct):
    span: timedelta
    children: "list[Tree]" = []


class Cat(msgspec.Struct, tag="cat"):
    lives: int
    age: timedelta = timedelta(0)


class Dog(msgspec.Struct, tag="dog"):
    tricks: list[str]


class Row(msgspec.Struct, array_like=True, tag="row"):
    span: timedelta


class Cell(msgspec.Struct, array_like=True, tag="cell"):
    number: int


class Box(msgspec.Struct, Generic[T]):
    item: T


@dataclass
class Visit:
    place: str
    stay: timedelta = timedelta(hours=1)
    tags: list[str] = field(default_factory=list)


@dataclass
class Wrapper(Generic[T]):
    content: T


@attrs.define
class Order:
    number: int
    paid: Decimal = Decimal("0.00")


class Options(TypedDict, total=False):
    name: Required[str]
    limit: int


class Move(NamedTuple):
    piece: str
    square: int = 0


class Person(pydantic.BaseModel):
    name: str
    born: date | None = None
    photo: bytes = b""
    shift: timedelta = timedelta(0)
    height: float = 1.8
    address: IPv4Address | None = None
    friends: "list[Person]" = []
    shoe_size: int = pydantic.Field(default=40, alias="shoeSize")


class Photos(pydantic.RootModel[list[bytes]]):
    pass


class Color(Enum):
    RED = 1
    BLUE = 2


class Size(Enum):
    SMALL = "small"


class Level(IntEnum):
    HIGH = 3


class Access(Flag):
    READ = 1
    WRITE = 2


class Celsius(WireValue):
    def __init__(self, degrees: float) -> None:
        self.degrees = degrees

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Celsius) and self.degrees == other.degrees

    def to_wire(self, *, is_text: bool) -> Any:
        return f"{self.degrees} C" if is_text else [self.degrees]

    @classmethod
    def from_wire(cls, declared: Any, value: Any, *, is_text: bool) -> "Celsius":
        if is_text:
            return cls(float(value.removesuffix(" C")))
        (degrees,) = value
        return cls(float(degrees))


NOON = datetime(2024, 2, 29, 12, 30, 15, 250_000, tzinfo=UTC)
ID = UUID("deadbeef-0123-4567-89ab-cdef01234567")

VALUES: list[tuple[Any, Any]] = [
    (Point, Point(1, 2.5)),
    (Pair, Pair("a", None)),
    (Tree, Tree(timedelta(1), [Tree(timedelta(2)), Tree(timedelta(3), [Tree(timedelta(4))])])),
    (Cat | Dog, Cat(9, timedelta(days=400))),
    (list[Cat | Dog | None], [Dog(["sit"]), None, Cat(1)]),
    (list[Row | Cell], [Row(timedelta(1)), Cell(2)]),
    (Box[timedelta], Box(timedelta(1))),
    (Box[list[Box[int]]], Box([Box(1)])),
    (Visit, Visit("here", timedelta(minutes=5), ["a"])),
    (Wrapper[Color], Wrapper(Color.RED)),
    (Order, Order(1, Decimal("12.3400"))),
    (Options, {"name": "x", "limit": 5}),
    (Move, Move("king", 5)),
    (
        Person,
        Person(
            name="Ann",
            born=date(1990, 1, 2),
            photo=b"\x00\xff",
            shift=timedelta(hours=8),
            address=IPv4Address("10.0.0.1"),
            friends=[Person(name="Bob", photo=b"\xfe", shoeSize=41)],
            shoeSize=38,
        ),
    ),
    (list[Person | None], [None, Person(name="Cid", shift=timedelta(-1))]),
    (Photos, Photos([b"\x00\xff"])),
    (Color, Color.BLUE),
    (Size, Size.SMALL),
    (Level, Level.HIGH),
    (Access, Access.READ | Access.WRITE),
    (datetime, NOON),
    (datetime, datetime(2024, 2, 29, 12, 30)),  # noqa: DTZ001
    (datetime, datetime(1910, 1, 1, tzinfo=UTC)),
    (date, date(2024, 2, 29)),
    (time, time(12, 30, 15, 250_000)),
    (timedelta, timedelta(days=1, hours=2, microseconds=5)),
    (timedelta | None, None),
    (dict[str, timedelta], {"a": timedelta(-1)}),
    (dict[timedelta, int], {timedelta(1): 1}),
    (dict[date, int], {date(2024, 1, 1): 1}),
    (tuple[timedelta, ...], (timedelta(1),)),
    (tuple[str, timedelta], ("a", timedelta(1))),
    (frozenset[date], frozenset({date(2024, 1, 1)})),
    (set[int], {1, 2}),
    (Decimal, Decimal("0.1234567890123456789012345")),
    (list[Decimal], [Decimal("1E+3")]),
    (UUID, ID),
    (bytes, b"\x00\xff"),
    (dict[int, bytes], {1: b"a", -5: b""}),
    (dict[UUID, int], {ID: 1}),
    (Literal[1, "a"], "a"),
    (int | str | None, "a"),
    (Annotated[int, msgspec.Meta(ge=0)], 5),
    (Celsius, Celsius(21.5)),
    (list[Celsius], [Celsius(0.0)]),
    (dict[str, object], {"a": 1}),
    (int, 2**64 - 1),
    (int, -(2**63)),
]


def names(value: Any) -> str:
    return str(getattr(value[0], "__name__", value[0]))


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize(("type_", "value"), [pytest.param(*pair, id=names(pair)) for pair in VALUES])
def test_a_value_travels_alone_and_among_others(format_: RpcFormat, type_: Any, value: Any) -> None:
    for types, values in (((type_,), (value,)), ((int, type_, str), (1, value, "end")), ((list[type_],), ([value],))):
        codec = format_.arguments(types)
        back = codec.decode(codec.encode(values))
        assert back == values
        assert repr(back) == repr(values) or "Celsius" in repr(values)


@pytest.mark.parametrize(
    ("type_", "value", "binary", "text"),
    [
        (Point, Point(1, 2.5), "82a17801a179cb4004000000000000", '{"x":1,"y":2.5}'),
        (Pair, Pair("a"), "92a161c0", '["a",null]'),
        (Color, Color.BLUE, "02", "2"),
        (Size, Size.SMALL, "a5736d616c6c", '"small"'),
        (datetime, NOON, "d7ff3b9aca0065e078d7", '"2024-02-29T12:30:15.250000Z"'),
        (datetime, datetime(1970, 1, 1, tzinfo=UTC), "d6ff00000000", '"1970-01-01T00:00:00Z"'),
        (datetime, datetime(1970, 1, 1, 2, tzinfo=timezone(timedelta(hours=2))), "d6ff00000000", None),
        (date, date(1, 1, 1), "00", '"0001-01-01"'),
        (date, date(2024, 2, 29), "ce000b4680", '"2024-02-29"'),
        (time, time(0, 0, 1), "ce00989680", '"00:00:01"'),
        (timedelta, timedelta(0), "00", '"00:00:00"'),
        (timedelta, timedelta(microseconds=1), "0a", '"00:00:00.0000010"'),
        (timedelta, timedelta(hours=-1), "d3fffffff79e3b9800", '"-01:00:00"'),
        (timedelta, timedelta(days=2, hours=3, milliseconds=5), None, '"2.03:00:00.0050000"'),
        (Decimal, Decimal("1.50"), "a4312e3530", "1.50"),
        (UUID, ID, "d924" + str(ID).encode().hex(), f'"{ID}"'),
        (bytes, b"\x00\xff", "c40200ff", '"AP8="'),
        (dict[int, bytes], {1: b"a"}, "8101c40161", '{"1":"YQ=="}'),
        (set[int], {7}, "9107", "[7]"),
        (float, 1.0, "cb3ff0000000000000", "1.0"),
        (int, 2**32, "cf0000000100000000", "4294967296"),
        (Cat, Cat(9), None, '{"type":"cat","lives":9,"age":"00:00:00"}'),
    ],
)
def test_a_value_has_the_form_that_net_reads(type_: Any, value: Any, binary: str | None, text: str | None) -> None:
    if binary is not None:
        assert BINARY.arguments((type_,)).encode((value,)).hex() == binary
        assert BINARY.arguments((type_,)).decode(bytes.fromhex(binary)) == (value,)
    if text is not None:
        assert JSON.arguments((type_,)).encode((value,)).decode() == text
        assert JSON.arguments((type_,)).decode(text.encode()) == (value,)


def test_spans_and_dates_are_read_in_the_forms_of_msgspec_as_well() -> None:
    plain = (msgspec.json.encode, msgspec.msgpack.encode)
    for format_, encode in zip((JSON, BINARY), plain, strict=True):
        for value in (timedelta(days=-1, seconds=5), date(2024, 1, 1), time(1, 2, 3)):
            assert format_.arguments((type(value),)).decode(encode(value)) == (value,)


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("10675199.02:48:05.4775807", timedelta(days=10675199, hours=2, minutes=48, seconds=5, microseconds=477_581)),
        ("-10675199.02:48:05.4775808", -timedelta(days=10675199, hours=2, minutes=48, seconds=5, microseconds=477_581)),
        ("00:00:00.5", timedelta(milliseconds=500)),
        ("23:59:59", timedelta(hours=23, minutes=59, seconds=59)),
    ],
)
def test_the_longest_and_the_oddest_spans_of_net_are_read(text: str, span: timedelta) -> None:
    assert JSON.arguments((timedelta,)).decode(f'"{text}"'.encode()) == (span,)


@pytest.mark.parametrize("format_", BOTH)
def test_a_span_that_net_can_not_have_is_refused(format_: RpcFormat) -> None:
    with pytest.raises(RpcArgumentError, match=r"argument 1: .* longer than a TimeSpan") as info:
        format_.arguments((int, list[timedelta])).encode((1, [timedelta.max]))
    assert info.value.index == 1


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b'"24:00:00"', "Invalid ISO8601 duration"),
        (b'"1:00:00"', "Invalid ISO8601 duration"),
        (b'"1.5"', "Invalid ISO8601 duration"),
        (b"[]", "Expected `duration`, got `array`"),
        (b"true", "Expected `duration`, got `bool`"),
    ],
)
def test_what_is_no_span_is_refused(data: bytes, problem: str) -> None:
    with pytest.raises(RpcArgumentError, match=f"argument 0: {problem}"):
        JSON.arguments((timedelta,)).decode(data)


@given(st.timedeltas(timedelta(days=-10_000_000), timedelta(days=10_000_000)))
def test_every_span_travels(span: timedelta) -> None:
    for format_ in (JSON, BINARY):
        codec = format_.arguments((timedelta,))
        assert codec.decode(codec.encode((span,))) == (span,)


@given(st.dates(), st.times())
def test_every_date_and_time_of_day_travels(day: date, moment: time) -> None:
    for format_ in (JSON, BINARY):
        codec = format_.arguments((date, time))
        assert codec.decode(codec.encode((day, moment))) == (day, moment)


@pytest.mark.parametrize("value", [2**63, -1, -(2**70), True, 3.5, [], 10**9])
def test_ticks_and_days_out_of_range_are_refused(value: Any) -> None:
    types: list[Any] = [date] if value == 10**9 else [date, time] if value == -1 else [timedelta, date, time]
    data = msgspec.msgpack.encode(value if not isinstance(value, int) or value > -(2**63) else 2**64 - 1)
    for type_ in types:
        with pytest.raises(RpcArgumentError, match="argument 0: "):
            BINARY.arguments((type_,)).decode(data)


def test_types_that_all_travel_as_integers_are_not_one_union() -> None:
    with pytest.raises(TypeError, match="of int, timedelta, date and time a union may have one"):
        BINARY.arguments((list[int | timedelta],))
    # JSON tells them apart.
    codec = JSON.arguments((list[int | timedelta],))
    assert codec.decode(codec.encode(([1, timedelta(1)],))) == ([1, timedelta(1)],)


# Numbers


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    ("type_", "wrap"),
    [
        (float, lambda number: number),
        (list[float | None], lambda number: [None, number]),
        (Any, lambda number: {"a": [number]}),
        (Point, lambda number: Point(1, number)),
        (dict[str, Point], lambda number: {"p": Point(1, number)}),
        (Box[float], Box),
        (Decimal, Decimal),
        (Person, lambda number: Person(name="x", height=number)),
    ],
)
def test_json_refuses_numbers_that_it_does_not_know(number: float, type_: Any, wrap: Any) -> None:
    value = wrap(number)
    with pytest.raises(RpcArgumentError, match="isn't a number that JSON knows") as info:
        JSON.arguments((str, type_)).encode(("null", value))
    assert info.value.index == 1
    if type_ is not Person:
        codec = BINARY.arguments((type_,))
        assert repr(codec.decode(codec.encode((value,)))) == repr((value,))


def test_the_place_of_a_number_that_json_does_not_know_is_told() -> None:
    with pytest.raises(RpcArgumentError, match=r"nan isn't a number that JSON knows at p\[1\]\.y"):
        JSON.arguments((dict[str, list[Point]],)).encode(({"p": [Point(1), Point(1, math.nan)]},))


def test_nulls_beside_integers_that_only_json_knows_are_written() -> None:
    codec = JSON.arguments((Any,))
    assert codec.encode(([None, 2**70],)) == b"[null,1180591620717411303424]"


def test_a_model_may_have_types_that_only_pydantic_knows() -> None:
    class Host(pydantic.BaseModel):
        where: IPv4Address | datetime
        when: datetime | date | timedelta = timedelta(0)

    for format_ in (JSON, BINARY):
        codec = format_.arguments((Host,))
        assert codec.decode(codec.encode((Host(where=IPv4Address("10.0.0.1")),)))[0].where == IPv4Address("10.0.0.1")


def test_a_value_of_a_wire_value_is_written_once_in_the_usual_case() -> None:
    class Counted(Celsius):
        calls = 0

        def to_wire(self, *, is_text: bool) -> Any:
            Counted.calls += 1
            return None if is_text else [self.degrees]

    for format_ in (JSON, BINARY):
        Counted.calls = 0
        format_.arguments((Counted, int)).encode((Counted(1.0), 1))
        assert Counted.calls == 1


def test_nulls_beside_floats_are_written() -> None:
    codec = JSON.arguments((list[float | None], dict[str, Any]))
    values = ([None, 1.5], {"NaN": None, "Infinity": 1.5})
    assert codec.decode(codec.encode(values)) == values


@pytest.mark.parametrize("format_", BOTH)
@pytest.mark.parametrize("type_", [int, list[int], Literal[4], Level, int | None, dict[str, int], Point, Cell])
def test_only_integers_are_taken_from_floats(format_: RpcFormat, type_: Any) -> None:
    def wrap(number: float) -> Any:
        return {list[int]: [number], dict[str, int]: {"a": number}, Point: {"x": number}, Cell: ["cell", number]}.get(
            type_, number
        )

    number = {Literal[4]: 4.0, Level: 3.0}.get(type_, 9007199254740992.0)
    (value,) = format_.arguments((type_,)).decode(format_.arguments((Any,)).encode((wrap(number),)))
    assert "0.0" not in repr(value)
    for wrong in (1.5, 1e300, -1e19, 2.0**64):
        with pytest.raises(RpcArgumentError, match="argument 0: "):
            format_.arguments((type_,)).decode(format_.arguments((Any,)).encode((wrap(wrong),)))


@pytest.mark.parametrize("format_", BOTH)
def test_a_float_stays_one_where_it_may_be_one(format_: RpcFormat) -> None:
    # The second value makes msgspec complain, so that all are looked at again.
    types = (int | float, int, Any, dict[str, float])
    data = format_.arguments((float, float, Any, Any)).encode((2.0, 3.0, [4.0], {"a": 5.0}))
    assert repr(format_.arguments(types).decode(data)) == repr((2.0, 3, [4.0], {"a": 5.0}))


def test_a_decimal_is_read_exactly_also_when_something_else_has_to_be_forgiven() -> None:
    class Bill(msgspec.Struct):
        total: Decimal
        count: int
        rate: float
        notes: Any = None

    text = b'{"Total":0.1234567890123456789,"count":2.0,"rate":1.5,"notes":{"a":[1.5]}}'
    (bill,) = JSON.arguments((Bill,)).decode(text)
    assert bill == Bill(Decimal("0.1234567890123456789"), 2, 1.5, {"a": [1.5]})
    assert type(bill.rate) is float
    assert type(bill.notes["a"][0]) is float


@pytest.mark.parametrize("number", ["1e999999999", "-1e999999999", "1.5", "1e400"])
def test_a_number_with_a_huge_exponent_costs_nothing(number: str) -> None:
    class Bill(msgspec.Struct):
        total: Decimal
        count: int = 0
        rate: float = 0.0

    for field_name in ("count", "rate"):
        if (field_name, number) != ("rate", "1.5"):
            with pytest.raises(RpcArgumentError):
                JSON.arguments((Bill,)).decode(f'{{"Total":1,"{field_name}":{number}}}'.encode())


def test_a_number_with_too_many_digits_is_an_error() -> None:
    for text in (b"1" * 5_000, b'{"x":' + b"1" * 5_000 + b"}"):
        for type_ in (int, Point, Any, dict[str, int]):
            with pytest.raises(RpcArgumentError):
                JSON.arguments((type_,)).decode(text)


# Misfits


@pytest.mark.parametrize("format_", BOTH)
@pytest.mark.parametrize(
    ("type_", "value", "problem"),
    [
        (list[list[int]], [[1], [2, "x"]], r"Expected `int`, got `str` at \[1\]\[1\]$"),
        (dict[str, list[int]], {"a": ["x"]}, r"Expected `int`, got `str` at \[\.\.\.\]\[0\]$"),
        (dict[int, int], {"x": 1}, r"Expected `int`, got `str` \(a key\)$"),
        (list[dict[int, int]], [{"x": 1}], r"Expected `int`, got `str` \(a key\) at \[0\]$"),
        (Tree, {"span": "PT1S", "children": [{"span": []}]}, r"got `array` at children\[0\]\.span$"),
        (list[Cat | Dog], [{"type": "cow"}], r"Invalid value 'cow' at \[0\]\.type$"),
        (list[Cat | Dog], [{"type": "dog", "tricks": [1]}], r"Expected `str`, got `int` at \[0\]\.tricks\[0\]$"),
        (list[Cat | Dog], [{"type": "cat", "lives": "x"}], r"Expected `int`, got `str` at \[0\]\.lives$"),
        (list[Row | Cell], [["cell", "x"]], r"Expected `int`, got `str` at \[0\]\[1\]$"),
        (list[Person], [{"name": "a", "friends": [{"name": []}]}], r"valid string at \[0\]\.friends\[0\]\.name$"),
        (Box[Person], {"item": 5}, r"Input should be a valid dictionary.* at item$"),
        (Visit, {"place": "x", "tags": {}}, r"Expected `array`, got `object` at tags$"),
        (Order, {}, "missing required field `number`$"),
        (Options, {"limit": 1}, "missing required field `name`$"),
        (Literal[1, "a"], "b", "Invalid enum value 'b'$"),
        (Color, 5, "Invalid enum value 5$"),
        (Annotated[int, msgspec.Meta(ge=0)], -1, "Expected `int` >= 0$"),
        (UUID, "x", "Invalid UUID$"),
        (datetime, "x", "Invalid RFC3339 encoded datetime|Expected `datetime`"),
        (Celsius, {"a": 1}, "removesuffix|unpack|convert"),
    ],
)
def test_a_misfit_is_told_with_its_place(format_: RpcFormat, type_: Any, value: Any, problem: str) -> None:
    data = format_.arguments((int, Any)).encode((1, value))
    with pytest.raises(RpcArgumentError, match=f"^argument 1: .*(?:{problem})") as info:
        format_.arguments((int, type_)).decode(data)
    assert info.value.index == 1


@pytest.mark.parametrize("format_", BOTH)
def test_what_was_sent_is_not_taken_for_a_place_and_not_told_at_length(format_: RpcFormat) -> None:
    text = " - at `$[7].x`" * 100_000
    for type_, value in ((Size, text), (list[Size], [text]), (Person, {"name": "a", "born": text})):
        with pytest.raises(RpcArgumentError) as info:
            format_.arguments((type_,)).decode(format_.arguments((Any,)).encode((value,)))
        assert info.value.index == 0
        assert len(info.value.problem) < 400
        assert info.value.problem.endswith({Size: "…", Person: "at born"}.get(type_, "at [0]"))


@pytest.mark.parametrize("format_", BOTH)
@pytest.mark.parametrize("error", [KeyError("no"), ZeroDivisionError(), RuntimeError("no"), ValueError("no")])
def test_an_error_of_a_class_is_an_error_of_the_argument(format_: RpcFormat, error: Exception) -> None:
    class Strict(msgspec.Struct):
        x: int

        def __post_init__(self) -> None:
            raise error

    with pytest.raises(RpcArgumentError, match=r"no|ZeroDivisionError") as info:
        format_.arguments((Strict,)).decode(format_.arguments((Any,)).encode(({"x": 1},)))
    assert info.value.__cause__ is not None


@pytest.mark.parametrize("format_", BOTH)
@pytest.mark.parametrize("type_", [IPv4Address, list[IPv4Address], Box[IPv4Address], lambda: None])
def test_a_type_that_can_not_be_sent_is_refused_when_it_is_declared(format_: RpcFormat, type_: Any) -> None:
    with pytest.raises(TypeError, match=r"isn't a type that can be sent|not supported"):
        format_.arguments((type_,))


@pytest.mark.parametrize("format_", BOTH)
def test_values_nested_deeper_than_any_python_goes_are_an_error(format_: RpcFormat) -> None:
    nested: Any = []
    for _ in range(100_000):
        nested = [nested]
    with pytest.raises(RpcArgumentError, match="argument 1: a value can't be written"):
        format_.arguments((int, Any)).encode((1, nested))
    text = b"[" * 100_000 + b"]" * 100_000
    data = text if format_.is_text else b"\x91" * 100_000 + b"\xc0"
    for type_ in (Any, Tree, Person, list[timedelta], Decimal):
        with pytest.raises(RpcArgumentError, match=r"nested too deep|Expected|Input"):
            format_.arguments((type_,)).decode(data)


def test_names_that_are_no_text_are_an_error() -> None:
    for data in (b"\xa1\xff", b"\x81\xa1\xff\x01", b"\x91\xa1\xff"):
        for type_ in (str, Any, dict[str, int], Point, list[str], timedelta):
            with pytest.raises(RpcArgumentError):
                BINARY.arguments((type_,)).decode(data)
    for data in (b'"\xff"', b'{"\xff":1}'):
        for type_ in (str, Any, dict[str, int], list[str], timedelta):
            with pytest.raises(RpcArgumentError):
                JSON.arguments((type_,)).decode(data)


def test_pydantic_is_not_loaded_by_the_formats() -> None:
    import subprocess
    import sys

    code = (
        "import sys; from refusion.rpc.formats import get_format; "
        "c = get_format('json5').arguments((int, list[str])); c.decode(c.encode((1, ['a']))); "
        "print([name for name in ('pydantic', 'attrs', 'lz4', 'xxhash') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "[]\n"
