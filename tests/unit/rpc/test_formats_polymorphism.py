"""Polymorphic values: a marker tells which type a value has where the declared one leaves it open."""

import abc
import inspect
from abc import ABC
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Generic, NewType, Protocol, TypeVar
from uuid import UUID

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refusion.rpc import RpcArgumentError, rpc_type
from refusion.rpc.formats import RpcFormat, get_format, is_polymorphic
from refusion.rpc.formats._msgpack_values import value_end
from refusion.rpc.formats._type_names import type_name_hash

from .test_golden_vectors import load, names_of

T = TypeVar("T")
JSON5, JSON5NP = get_format("json5"), get_format("json5np")
BINARY = get_format("msgpack6c")
MARKED = [pytest.param(get_format(key), id=key) for key in ("json5", "msgpack6", "msgpack6c")]


class Shape(ABC):
    @abc.abstractmethod
    def area(self) -> float: ...


@rpc_type(name="MyApp.Circle, MyApp.Contracts")
@dataclass
class Circle(Shape):
    Radius: float

    def area(self) -> float:
        return 3 * self.Radius**2


@rpc_type(name="MyApp.Square, MyApp.Contracts")
@dataclass
class Square(Shape):
    Side: int = 0
    Age: timedelta = timedelta(0)

    def area(self) -> float:
        return float(self.Side**2)


@dataclass
class Nameless(Shape):
    def area(self) -> float:
        return 0.0


@rpc_type(name="MyApp.Event, MyApp.Contracts")
@dataclass
class Event(ABC):  # it says so, which is what counts
    Name: str


@rpc_type(name="MyApp.Birthday, MyApp.Contracts")
@dataclass
class Birthday(Event):
    Age: int = 0


@rpc_type(name="MyApp.Point, MyApp.Contracts")
class Point(msgspec.Struct, rename="pascal"):
    x: int
    y: int = 0


@rpc_type(name="MyApp.Model, MyApp.Contracts")
class Model(pydantic.BaseModel):
    name: str
    photo: bytes = b""


@rpc_type(name="MyApp.Color, MyApp.Contracts")
class Color(Enum):
    RED = 1


@dataclass
class Round(ABC):
    Radius: int


class Named(Protocol):
    def name(self) -> str: ...


@rpc_type(name="MyApp.Cat, MyApp.Contracts")
@dataclass
class Cat(Named):
    Lives: int

    def name(self) -> str:
        return "cat"


class Meta(type(msgspec.Struct), abc.ABCMeta):  # type: ignore[misc]
    pass


class Node(msgspec.Struct, metaclass=Meta):
    @abc.abstractmethod
    def visit(self) -> None: ...


@rpc_type(name="MyApp.Leaf, MyApp.Contracts")
class Leaf(Node):
    value: int

    def visit(self) -> None:
        pass


@rpc_type(name="MyApp.Box`1[[System.Int32, System.Private.CoreLib]], MyApp")
@dataclass
class Box(ABC, Generic[T]):
    item: T


ShapeAlias = NewType("ShapeAlias", Shape)


@pytest.mark.parametrize(
    "declared",
    [
        object,
        Shape,
        Event,
        Named,
        Node,
        Box[int],
        Shape | None,
        Annotated[Shape, "x"],
        ShapeAlias,
        list[Shape],
        list[object],
        Sequence[Shape | None],
        tuple[Shape, ...],
        list[Shape] | None,
    ],
)
def test_what_leaves_open_what_a_value_is(declared: Any) -> None:
    assert is_polymorphic(declared)


@pytest.mark.parametrize(
    "declared",
    [
        Any,
        int,
        Circle,
        Birthday,
        Leaf,
        Model,
        Color,
        Sequence[int],
        Mapping[str, int],
        Sequence,
        dict[str, object],
        tuple[Shape, int],
        Circle | None,
        int | str,
        None,
        type(None),
        list[Circle],
        list[Any],
        Iterator[int],
        datetime,
    ],
)
def test_what_does_not(declared: Any) -> None:
    assert not is_polymorphic(declared)


VALUES: list[tuple[Any, Any]] = [
    (Shape, Circle(2.0)),
    (Shape, Square(3, timedelta(1))),
    (Shape | None, None),
    (Shape | None, Circle(1.0)),
    (Event, Event("plain")),
    (Event, Birthday("x", 5)),
    (Named, Cat(9)),
    (Node, Leaf(5)),
    (Box[int], Box(1)),
    (list[Shape], []),
    (list[Shape], [Circle(1.0), Circle(2.0)]),
    (tuple[Shape, ...], (Square(1), Square(2))),
    (Sequence[Shape], [Circle(1.0)]),
    (list[Shape | None], [None, Circle(1.0), None]),
    (list[Shape | None], [None, None]),
    (list[Shape] | None, None),
    (list[Event], [Event("a"), Event("b")]),
    (list[Event], []),
    (list[Event], [Birthday("a"), Birthday("b")]),
    (object, None),
    (object, True),
    (object, 5),
    (object, -(2**31) - 1),
    (object, 2**63),
    (object, 1.5),
    (object, "text"),
    (object, b"\x00\xff"),
    (object, datetime(2024, 1, 1, tzinfo=UTC)),
    (object, date(2024, 1, 1)),
    (object, time(1, 2, 3)),
    (object, timedelta(days=1)),
    (object, UUID(int=5)),
    (object, Decimal("1.50")),
    (object, Circle(1.0)),
    (object, Point(1, 2)),
    (object, Model(name="x", photo=b"\xff")),
    (object, Color.RED),
    (object, [1, 2]),
    (object, [1, 2**40]),
    (object, ["a", None]),
    (object, [Circle(1.0)]),
    (object, []),
    (object, [None]),
    (list[object], [1, 2]),
    (list[object], ["a", None]),
    (list[object], [timedelta(1)]),
    (tuple[object, ...], (1.5, 2.5)),
    (list[object], []),
]


@pytest.mark.parametrize("format_", MARKED)
@pytest.mark.parametrize(("declared", "value"), VALUES)
def test_a_polymorphic_value_travels_wherever_it_stands(format_: RpcFormat, declared: Any, value: Any) -> None:
    for types, values in (
        ((declared,), (value,)),
        ((int, declared), (1, value)),
        ((declared, int), (value, 1)),
        ((str, declared, Shape, int), ("a", value, Circle(1.0), 5)),
    ):
        codec = format_.arguments(types)
        data = codec.encode(values)
        assert repr(codec.decode(data)) == repr(values)
        # Surplus values are ignored here as well.
        surplus = b"\x1f5" if format_.is_text else b"\x05\xa1x"
        if declared is not object or value is not None:
            assert repr(codec.decode(data + surplus)) == repr(values)
    assert format_.result(declared).decode(format_.result(declared).encode((value,)))[0] == value


@pytest.mark.parametrize("format_", MARKED)
@pytest.mark.parametrize("declared", [Shape, int, object, Circle])
def test_items_and_batches_of_streams_travel(format_: RpcFormat, declared: Any) -> None:
    items = [1, 2] if declared is int else [Circle(1.0), Circle(2.0)]
    item, batch = format_.item(declared), format_.batch(declared)
    assert item.decode(item.encode((7, items[0]))) == (7, items[0])
    assert batch.decode(batch.encode((7, items))) == (7, items)


def hex_of(text: str) -> str:
    return text.encode().hex()


def test_markers_have_the_bytes_of_the_protocol() -> None:
    circle = "MyApp.Circle, MyApp.Contracts"
    marker = "1d00d482" + hex_of(circle)
    value = "81a6526164697573cb4000000000000000"
    assert BINARY.arguments((Shape,)).encode((Circle(2.0),)).hex() == marker + value
    assert BINARY.arguments((Shape | None,)).encode((None,)).hex() == "0100"
    assert BINARY.arguments((Event,)).encode((Event("x"),)).hex() == "000081a44e616d65a178"
    assert BINARY.item(Shape).encode((5, Circle(2.0))).hex() == "05" + marker + value
    array = "MyApp.Circle[], MyApp.Contracts"
    hashed = type_name_hash(array.encode()).hex()
    assert BINARY.batch(Shape).encode((5, [Circle(2.0)])).hex() == "051f00" + hashed + hex_of(array) + "91" + value
    integer = "System.Int32, System.Private.CoreLib"
    assert BINARY.arguments((object,)).encode((5,)).hex() == (
        "2400" + type_name_hash(integer.encode()).hex() + hex_of(integer) + "05"
    )


def test_markers_have_the_texts_of_the_protocol() -> None:
    assert JSON5.arguments((Shape,)).encode((Circle(2.0),)) == b'/* @=MyApp.Circle, MyApp.Contracts */{"Radius":2.0}'
    assert JSON5.arguments((Event,)).encode((Event("x"),)) == b'/* @= */{"Name":"x"}'
    assert JSON5.arguments((Shape | None,)).encode((None,)) == b"/* @=0 */"
    assert JSON5.arguments((object, int)).encode(("x", 1)) == b'/* @=System.String, System.Private.CoreLib */"x"\x1f1'
    assert JSON5.batch(Shape).encode((1, [Circle(2.0)])) == (
        b'1\x1f/* @=MyApp.Circle[], MyApp.Contracts */[{"Radius":2.0}]'
    )


def test_a_null_before_other_values_is_written_so_that_net_finds_them() -> None:
    codec = JSON5.arguments((object, Shape | None, int))
    assert codec.encode((None, None, 5)) == b"/* @= */null\x1f/* @= */null\x1f5"
    assert codec.decode(b"/* @= */null\x1f/* @= */null\x1f5") == (None, None, 5)
    # As .NET itself writes it.
    assert codec.decode(b"/* @=0 */\x1f/* @=0 */\x1f5") == (None, None, 5)


@pytest.mark.parametrize(
    "vector",
    [
        pytest.param(vector, id=f"{vector['format']}-{vector['name']}")
        for vector in load("dotnet-shaped.json")["vectors"]
        if "polymorphic" in vector
    ],
)
def test_markers_of_the_reference_are_read_and_written(vector: dict[str, Any]) -> None:
    format_ = get_format(vector["format"])
    messages = vector["decoded"]["messages"]
    (message,) = format_.read(bytes.fromhex(vector["bytesHex"]), names_of(messages)).messages
    kind = vector["polymorphic"]["marker"]

    if kind == "expected":
        assert format_.result(Round).decode(message.args) == (Round(2),)
        with pytest.raises(RpcArgumentError, match="nothing says what it is"):
            format_.result(Shape).decode(message.args)
    elif kind == "null":
        codec = format_.result(Shape | None)
        assert codec.decode(message.args) == (None,)
        assert codec.encode((None,)) == message.args
        with pytest.raises(RpcArgumentError, match="Expected `Shape`, got `null`"):
            format_.result(Shape).decode(message.args)
    else:
        codec = format_.result(Shape)
        assert codec.decode(message.args) == (Circle(2.0),)
        assert codec.decode(codec.encode((Circle(2.0),))) == (Circle(2.0),)
        name = vector["polymorphic"]["typeName"]
        head = f"/* @={name} */".encode() if format_.is_text else bytes.fromhex("1d00d482") + name.encode()
        assert message.args.startswith(head)
        assert codec.encode((Circle(2.0),)).startswith(head)


# What is refused


@pytest.mark.parametrize("format_", [*MARKED, pytest.param(JSON5NP, id="json5np")])
@pytest.mark.parametrize(
    ("declared", "value", "problem"),
    [
        (Shape, None, "Expected `Shape`, got `null`"),
        (Shape, 5, "Expected `Shape`, got `int`"),
        (Shape, Point(1), "Expected `Shape`, got `Point`"),
        (Shape, Nameless(), "`Nameless` has no name on the wire; give it one with rpc_type"),
        (object, Nameless(), "`Nameless` has no name on the wire"),
        (object, {"a": 1}, "`dict` has no name on the wire"),
        (object, [1, "a"], r"the items of one list are of one class, and there is a `str` at \[1\]"),
        (object, [[1]], "`list` has no name on the wire"),
        (list[Shape], Circle(1.0), "Expected `array`, got `Circle`"),
        (list[Shape], [Circle(1.0), Square()], r"there is a `Square` at \[1\] after a `Circle`"),
        (list[Shape], [None], r"Expected `Shape`, got `null` at \[0\]"),
        (list[Shape], [1], "Expected `Shape`, got `int`"),
        (list[Shape], None, "Expected `array`, got `null`"),
        (Named, Point(1), "Expected `Named`, got `Point`"),
    ],
)
def test_what_does_not_fit_is_not_written(format_: RpcFormat, declared: Any, value: Any, problem: str) -> None:
    with pytest.raises(RpcArgumentError, match=f"argument 1: .*(?:{problem})") as info:
        format_.arguments((int, declared)).encode((1, value))
    assert info.value.index == 1


def marked(format_: RpcFormat, name: str, value: Any) -> bytes:
    if format_.is_text:
        return f"/* @={name} */".encode() + msgspec.json.encode(value)
    data = name.encode()
    return len(data).to_bytes(2, "little") + type_name_hash(data) + data + msgspec.msgpack.encode(value)


CORE = "System.Private.CoreLib"


@pytest.mark.parametrize("format_", MARKED)
@pytest.mark.parametrize(
    ("declared", "name", "value", "problem"),
    [
        (Shape, "MyApp.Nope, MyApp", {}, "'MyApp.Nope, MyApp' isn't a type that is known here"),
        (Shape, "os.system", "ls", "isn't a type that is known here"),
        (object, "builtins.eval, x", "1", "isn't a type that is known here"),
        (object, "X" * 5_000, "1", "'X{100}' isn't a type that is known here"),
        (object, f"System.Int32[][], {CORE}", [[1]], "isn't a type that is known here"),
        (Shape, "MyApp.Point, MyApp.Contracts", {"X": 1}, "Expected `Shape`, got `Point`"),
        (Shape, f"System.Int32, {CORE}", 1, "Expected `Shape`, got `int`"),
        (Shape, "MyApp.Circle[], MyApp.Contracts", [], "one value is declared, got 'MyApp.Circle\\[\\]"),
        (list[Shape], "MyApp.Circle, MyApp.Contracts", {}, "an array is declared, got 'MyApp.Circle, "),
        (list[Shape], "MyApp.Point[], MyApp.Contracts", [], "Expected `Shape`, got `Point`"),
        (list[Shape], "MyApp.Circle[], MyApp.Contracts", [{}, {"Radius": "x"}], "required field `Radius` at \\[0\\]"),
        (list[Shape], "MyApp.Circle[], MyApp.Contracts", [None], "Expected `object`, got `null` at \\[0\\]"),
        (Shape, "MyApp.Circle, MyApp.Contracts", {"Radius": "x"}, "Expected `float`, got `str` at Radius"),
        (object, f"System.Byte, {CORE}", 300, "Expected `int` <= 255"),
        (object, f"System.Int32, {CORE}", 2**31, "Expected `int` <= 2147483647"),
        (object, f"System.Int32, {CORE}", "x", "Expected `int`, got `str`"),
        (object, "MyApp.Color, MyApp.Contracts", 5, "Invalid enum value 5"),
        (Shape, f"System.Object[], {CORE}", [1], "Expected `Shape`, got `list`"),
        (object, f"System.Object[][], {CORE}", [[1]], "isn't a type that is known here"),
    ],
)
def test_a_name_that_is_wrong_is_told_with_its_argument(
    format_: RpcFormat, declared: Any, name: str, value: Any, problem: str
) -> None:
    first = b"1\x1f" if format_.is_text else b"\x01"
    with pytest.raises(RpcArgumentError, match=f"argument 1: .*{problem}") as info:
        format_.arguments((int, declared)).decode(first + marked(format_, name, value))
    assert info.value.index == 1


@pytest.mark.parametrize("format_", MARKED)
def test_names_of_net_that_python_does_not_write_are_read(format_: RpcFormat) -> None:
    codec = format_.arguments((object,))
    for name, value in (("Int16", -5), ("UInt16", 5), ("SByte", -1), ("Byte", 1), ("UInt32", 1), ("Single", 1.5)):
        assert codec.decode(marked(format_, f"System.{name}, {CORE}", value)) == (value,)
    assert codec.decode(marked(format_, f"System.Object[], {CORE}", [1, "a", None])) == ([1, "a", None],)
    arrays = format_.arguments((tuple[object, ...],))
    assert arrays.decode(marked(format_, f"System.Object[], {CORE}", [1, "a"])) == ((1, "a"),)
    # A batch of nulls has the name of the declared class.
    events = format_.arguments((list[Event | None],))
    assert events.decode(marked(format_, "MyApp.Event[], MyApp.Contracts", [None])) == ([None],)


def test_a_name_with_another_hash_is_refused() -> None:
    data = bytearray(BINARY.arguments((Shape,)).encode((Circle(2.0),)))
    data[2] ^= 1
    with pytest.raises(RpcArgumentError, match="argument 0: the hash of its type's name is another one"):
        BINARY.arguments((Shape,)).decode(bytes(data))


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ("", "2 values are declared and 0 were sent"),
        ("00", "argument 0: the name of its type doesn't end"),
        ("1d00d4", "argument 0: the name of its type doesn't end"),
        ("ffff0000aabb", "argument 0: the name of its type doesn't end"),
        ("0100", "2 values are declared and 1 were sent"),
        ("010005", "argument 1: "),
        ("0000", "nothing says what it is"),
        ("01000100", "2 values"),
    ],
)
def test_a_damaged_marker_is_an_error(data: str, problem: str) -> None:
    types = (object, object) if data != "01000100" else (object, object, object)
    with pytest.raises(RpcArgumentError, match=problem if data != "01000100" else "3 values are declared and 2"):
        BINARY.arguments(types).decode(bytes.fromhex(data))


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"/* @=MyApp.Circle, MyApp.Contracts", "the name of its type doesn't end"),
        (b"/* @= */{}", "nothing says what it is"),
        (b'{"Radius":1}', "nothing says what it is"),
        (b"/* @=MyApp.Circle, MyApp.Contracts */", "Input data was truncated|truncated"),
        (b"/* @=0 */", "Expected `Shape`, got `null`"),
        (b"/* @= */null", "Expected `Shape`, got `null`"),
        (b"null", "Expected `Shape`, got `null`"),
        (b"/* @=\xff */1", "isn't a type that is known here"),
    ],
)
def test_a_damaged_comment_is_an_error(data: bytes, problem: str) -> None:
    with pytest.raises(RpcArgumentError, match=f"argument 0: .*(?:{problem})"):
        JSON5.arguments((Shape,)).decode(data)


def test_values_without_a_marker_are_read_from_peers_that_know_none() -> None:
    for format_ in (JSON5, JSON5NP):
        codec = format_.arguments((object, list[object], Event, object))
        assert codec.decode(b'{"a":1}\x1f[1,"a"]\x1f{"Name":"x"}\x1fnull') == ({"a": 1}, [1, "a"], Event("x"), None)


def test_without_markers_only_the_declared_class_is_written() -> None:
    assert JSON5NP.arguments((Event, object)).encode((Event("x"), None)) == b'{"Name":"x"}\x1fnull'
    for declared, value in ((Event, Birthday("x")), (object, 5), (Shape, Circle(1.0)), (list[Shape], [Circle(1.0)])):
        with pytest.raises(
            RpcArgumentError, match=r"argument 0: .* this format can't tell which type it is; use json5"
        ):
            JSON5NP.arguments((declared,)).encode((value,))
    assert JSON5NP.arguments((list[Shape],)).encode(([],)) == b"[]"


def test_a_class_that_is_abstract_inside_of_another_type_is_refused_when_it_is_declared() -> None:
    for format_ in (JSON5, JSON5NP, BINARY):
        for declared in (dict[str, Shape], set[Shape], tuple[Shape, int], dict[str, Node], list[list[Shape]]):
            with pytest.raises(TypeError, match="is abstract, and inside of another type nothing says which"):
                format_.arguments((declared,))


@pytest.mark.parametrize(
    "name", ["", "Circle", "MyApp.Circle", ", MyApp", "X[], MyApp", "A\n, B", "A */, B", "A, ", "A" * 70_000 + ", B"]
)
def test_a_name_needs_an_assembly(name: str) -> None:
    with pytest.raises(ValueError, match="a type is named with its assembly"):
        rpc_type(name=name)


def test_a_name_belongs_to_one_class_and_a_class_has_one_name() -> None:
    assert rpc_type(name="MyApp.Circle, MyApp.Contracts")(Circle) is Circle
    with pytest.raises(ValueError, match=r"is the name of .*Circle"):
        rpc_type(name="MyApp.Circle, MyApp.Contracts")(Square)
    with pytest.raises(ValueError, match=r"is the name of a type of \.NET"):
        rpc_type(name=f"System.Int32, {CORE}")(Square)
    with pytest.raises(ValueError, match=r"has the name 'MyApp\.Circle, MyApp\.Contracts' already"):
        rpc_type(name="MyApp.Other, MyApp.Contracts")(Circle)
    with pytest.raises(ValueError, match="isn't a class"):
        rpc_type(name="MyApp.Value, MyApp.Contracts")(5)  # type: ignore[type-var]
    assert inspect.isclass(Circle)


@given(st.binary(max_size=60))
def test_garbage_is_an_error_and_nothing_else(data: bytes) -> None:
    for format_ in (JSON5, JSON5NP, BINARY):
        for types in ((object,), (Shape, int), (list[Event], object), (int, tuple[object, ...])):
            for content in (data, b"/* @=" + data, b"/* @=MyApp.Circle, MyApp.Contracts */" + data):
                try:
                    format_.arguments(types).decode(content)
                except RpcArgumentError:
                    continue


msgpack_values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**64 - 1),
        st.floats(),
        st.text(max_size=40),
        st.binary(max_size=300),
        st.datetimes(timezones=st.just(UTC)),
        st.builds(msgspec.msgpack.Ext, st.integers(0, 100), st.binary(max_size=20)),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=20), st.dictionaries(st.text(max_size=5), inner, max_size=20)),
    max_leaves=30,
)


@given(msgpack_values, st.binary(max_size=5))
def test_the_end_of_a_value_is_where_it_is(value: Any, rest: bytes) -> None:
    data = msgspec.msgpack.encode(value)
    assert value_end(b"\x00" + data + rest, 1) == 1 + len(data)
    for cut in range(0, len(data), 7):
        with pytest.raises(RpcArgumentError, match="ends within a value"):
            value_end(data[:cut], 0)


def test_long_forms_end_where_they_end() -> None:
    for value in ("x" * 70_000, b"x" * 70_000, [0] * 70_000, dict.fromkeys(range(70_000), 0), b"x" * 300, "x" * 300):
        data = msgspec.msgpack.encode(value)
        assert value_end(data, 0) == len(data)
    for data in (b"\xd4\x01\x00", b"\xc9\x00\x00\x00\x01\x05\x00", b"\xdf\x00\x00\x00\x01\x00\x00"):
        assert value_end(data, 0) == len(data)
    with pytest.raises(RpcArgumentError, match="begins no value"):
        value_end(b"\xc1", 0)
    # A claim of four billion values costs nothing.
    with pytest.raises(RpcArgumentError, match="ends within a value"):
        value_end(b"\xdd\xff\xff\xff\xff", 0)
